"""Property probes: scores by hand, what they find and must not find, matching, and mistakes."""

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tiny import Dots, DotsConfig, dots

from slots.config import ConfigError, override
from slots.evaluation import probe_fitting
from slots.evaluation.evaluate import make_predict
from slots.evaluation.probe_fitting import Examples, ProbeConfig
from slots.evaluation.probe_reading import Seen, _by_masks, make_look
from slots.evaluation.probe_targets import Category, Number, as_values, known, r_squared, target
from slots.evaluation.probes import probe, probe_slots
from slots.experiment import build

NAN = math.nan


def column(*values):
    return np.array(values, np.float64)[:, None]


class TestScores:
    def test_r_squared_of_the_example(self):
        assert r_squared(column(1, 2, 3), column(1, 2, 2)) == 0.5

    @pytest.mark.parametrize(
        ("true", "told", "value"),
        [
            (column(1, 2, 3), column(2, 2, 2), 0),
            (column(1, 2, 3), column(3, 2, 1), -3),
            (column(5, 5, 5), column(5, 5, 5), NAN),
            (column(), column(), NAN),
            ([[1, 0], [2, 0], [3, 4]], [[1, 0], [2, 0], [2, 4]], 0.75),  # mean of 0.5 and 1
            ([[1, 7], [2, 7], [3, 7]], [[1, 0], [2, 0], [2, 9]], 0.5),  # without the constant
        ],
    )
    def test_r_squared(self, true, told, value):
        found = r_squared(np.array(true, float), np.array(told, float))
        assert found == pytest.approx(value, nan_ok=True)

    def test_an_object_without_a_slot_is_told_the_training_mean(self):
        number = Number.of(column(1, 3))
        assert (number.mean, number.scale) == (2, 1)
        found = number.score(column(1, 2, 3), column(-1, 0, 5), np.array([True, True, False]))
        assert found.values == {"r2": 0.5, "matched": pytest.approx(2 / 3)}
        assert (found.kind, found.size, found.objects) == ("numeric", 1, 3)

    def test_an_object_without_a_slot_is_wrong(self):
        """Told 1, -, 1, 2 of 1, 1, 2 and 3, which no training object was."""
        category = Category.of(np.array([1, 2, 2]))
        told = np.eye(2)[[0, 0, 0, 1]]
        found = category.score(np.array([1, 1, 2, 3]), told, np.array([True, False, True, True]))
        assert found.values == pytest.approx(
            {
                "accuracy": 1 / 4,
                "accuracy_matched": 1 / 3,
                "macro_f1": (2 / 4 + 0 + 0) / 3,
                "commonest": 1 / 4,
                "matched": 3 / 4,
            }
        )
        assert (found.kind, found.size, found.objects) == ("categorical", 2, 4)

    def test_classes_that_are_never_true_have_no_f1(self):
        found = Category.of(np.array([1, 2])).score(
            np.array([1, 1, 1]), np.eye(2)[[0, 0, 1]], np.ones(3, bool)
        )
        assert found.values["macro_f1"] == pytest.approx(2 * 2 / (3 + 2))

    def test_nothing_to_score(self):
        none = np.zeros(0, bool)
        values = Category.of(np.array([1])).score(none.astype(int), np.zeros((0, 1)), none).values
        assert all(map(math.isnan, values.values()))


class TestForms:
    """Which properties are classes, which are numbers, and what is not known of them."""

    def test_integers_are_classes_and_zero_is_unknown(self):
        values = np.array([[3, 0], [7, 3]], np.int32)
        assert as_values(values) is values
        np.testing.assert_array_equal(known(values), values > 0)
        found = target(values, np.array([[True, True], [False, True]]))
        assert found.classes.tolist() == [3]  # 7 belongs to no object
        np.testing.assert_array_equal(found.encode(values)[..., 0], values == 3)

    def test_yes_and_no_are_two_classes(self):
        values = as_values(np.array([[True, False]]))
        assert target(values, np.ones((1, 2), bool)).classes.tolist() == [1, 2]

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_vectors_are_numbers(self, dtype):
        values = as_values(np.arange(8).reshape(2, 2, 2).astype(dtype))
        found = target(values, np.array([[True, False], [True, False]]))
        np.testing.assert_allclose(found.mean, [2, 3])
        np.testing.assert_allclose(found.encode(values)[:, 0], [[-1, -1], [1, 1]])

    def test_numbers_that_are_not_finite_are_unknown(self):
        values = as_values(np.array([[1, np.nan, 3]], np.float32))
        np.testing.assert_array_equal(known(values), [[True, False, True]])
        assert np.isfinite(target(values, np.ones((1, 3), bool)).encode(values)).all()

    def test_of_no_object_nothing_is_asked(self):
        assert target(np.zeros((2, 2), np.int32), np.ones((2, 2), bool)) is None


QUICK = ProbeConfig(steps=300, batch=32)
PLAN = np.random.default_rng(7).normal(size=(6, 3))


def made(tell, seed, pictures=256, slots=4, objects=3):
    """Pictures whose objects lie in slots at random, one in six without any, some not there."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(pictures, slots, 6))
    order = np.argsort(rng.random((pictures, max(slots, objects))), axis=1)[:, :objects]
    own = np.take_along_axis(vectors, np.minimum(order, slots - 1)[..., None], axis=1)
    lost = (rng.random(order.shape) < 1 / 6) | (order >= slots)
    return Seen(
        slots=(1000 + 50 * vectors).astype(np.float32),
        slot=np.where(lost, -1, order).astype(np.int32),
        objects=rng.random(order.shape) < 0.9,
        properties={name: as_values(x) for name, x in tell(own).items()},
    )


def linear(own):
    return {"class": (own @ PLAN).argmax(axis=-1) + 1, "number": (own @ PLAN).astype(np.float32)}


def crossed(own):
    """As in an exclusive or, no line tells one from the other."""
    return {"class": 1 + (own[..., 0] * own[..., 1] > 0)}


def scores(tell, config=QUICK, **sizes):
    found = probe_slots(made(tell, 0, 512, **sizes), made(tell, 1, **sizes), config)
    return {name: one.values for name, one in found.items()}


def test_what_is_linear_is_found():
    found = scores(linear)
    assert found["class"]["accuracy_matched"] > 0.9
    assert found["class"]["matched"] == pytest.approx(5 / 6, abs=0.03)
    assert found["class"]["accuracy"] == pytest.approx(
        found["class"]["accuracy_matched"] * found["class"]["matched"]
    )
    assert found["number"]["r2"] == pytest.approx(found["number"]["matched"], abs=0.04)


def test_what_is_not_in_the_slots_is_not_found():
    def shuffled(own):
        rng = np.random.default_rng(len(own))
        return {name: rng.permutation(x) for name, x in linear(own).items()}

    found = scores(shuffled)
    assert found["class"]["accuracy_matched"] < found["class"]["commonest"] + 0.1
    assert found["number"]["r2"] < 0.05


def test_only_the_mlp_sees_what_is_crossed():
    straight = scores(crossed)["class"]["accuracy_matched"]
    bent = scores(crossed, dataclasses.replace(QUICK, kind="mlp"))["class"]["accuracy_matched"]
    assert straight < 0.6
    assert bent > 0.9


def test_linear_is_what_others_find():
    """Logistic regression and least squares on the same objects."""
    noise = np.random.default_rng(3)

    def tell(own):
        noisy = own @ PLAN + noise.normal(0, 2, (*own.shape[:-1], 3))
        return {"class": noisy.argmax(axis=-1) + 1, "number": noisy[..., :1].astype(np.float32)}

    train, test = made(tell, 0, 512), made(tell, 1)
    config = dataclasses.replace(QUICK, steps=1000, l2=0.0)
    found = probe_slots(train, test, config)

    def rows(seen, name):
        here = seen.objects & (seen.slot >= 0)
        own = np.take_along_axis(seen.slots, np.maximum(seen.slot, 0)[..., None], axis=1)
        return ((own - 1000) / 50)[here], seen.properties[name][here]

    theirs = LogisticRegression().fit(*rows(train, "class")).score(*rows(test, "class"))
    assert 0.4 < theirs < 0.8
    assert found["class"].values["accuracy_matched"] == pytest.approx(theirs, abs=0.03)
    x, y = rows(train, "number")
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    x, y = rows(test, "number")
    error = np.square(y - np.c_[x, np.ones(len(x))] @ weights).sum()
    test_objects = test.properties["number"][test.objects]
    lost = np.square(test_objects - train.properties["number"][train.objects].mean()).sum()
    error += lost - np.square(y - train.properties["number"][train.objects].mean()).sum()
    r2 = 1 - error / np.square(test_objects - test_objects.mean()).sum()
    assert found["number"].values["r2"] == pytest.approx(r2, abs=0.02)


class TestMatching:
    LOSS = dataclasses.replace(QUICK, matching="loss")

    def test_by_loss_needs_no_masks(self):
        """Slots are told wrong: by masks nothing is found, by loss everything."""

        def misled(seed):
            seen = made(linear, seed, 512)
            return dataclasses.replace(seen, slot=(seen.slot + 1) % seen.slots.shape[1])

        by = {c.matching: probe_slots(misled(0), misled(1), c) for c in (QUICK, self.LOSS)}
        assert by["masks"]["number"].values["r2"] < 0.05
        assert by["loss"]["number"].values["r2"] > 0.95
        assert by["loss"]["class"].values["accuracy"] > 0.9
        assert by["loss"]["class"].values["matched"] == 1

    def test_by_loss_every_object_has_a_slot_while_there_are_slots(self):
        config = dataclasses.replace(self.LOSS, steps=1)
        found = scores(linear, config, slots=2, objects=5)
        assert 0.3 < found["class"]["matched"] < 0.6
        assert scores(linear, config, slots=4, objects=3)["class"]["matched"] == 1

    @pytest.mark.parametrize(("slots", "objects"), [(4, 3), (3, 4), (2, 5)])
    def test_the_least_loss_of_all_assignments(self, slots, objects):
        rng = np.random.default_rng(slots)
        losses = rng.random((20, objects, slots, 2)).astype(np.float32)
        there = rng.random((20, objects)) < 0.7
        losses[~there] = 0
        given = Examples(*[jnp.zeros(0)] * 2, jnp.asarray(there), *[jnp.zeros(0)] * 2)
        found = np.asarray(probe_fitting._matched(jnp.asarray(losses), given, self.LOSS))
        for slot, cost, real in zip(found, losses.sum(-1), there, strict=True):
            rows, most = np.flatnonzero(real), min(real.sum(), slots)
            taken = [(m, slot[m]) for m in range(objects) if slot[m] >= 0]
            assert {m for m, _ in taken} <= set(rows)
            assert len({k for _, k in taken}) == len(taken) == most
            least = min(
                sum(cost[m, k] for m, k in zip(some, order, strict=True))
                for some in itertools.combinations(rows, most)
                for order in itertools.permutations(range(slots), int(most))
            )
            assert sum(cost[pair] for pair in taken) == pytest.approx(least, rel=1e-5)


def test_repeated_it_is_the_same_to_the_bit():
    config = dataclasses.replace(QUICK, steps=20)
    first = scores(linear, config)
    assert scores(linear, config) == first
    assert scores(linear, dataclasses.replace(config, seed=1)) != first


def test_a_probe_that_diverges_is_refused():
    with pytest.raises(ConfigError, match=r"diverged; learning_rate=1e\+38 is too high"):
        scores(linear, dataclasses.replace(QUICK, learning_rate=1e38))


def test_properties_that_no_training_object_has():
    def tell(own):
        return {**linear(own), "nothing": np.zeros(own.shape[:-1], np.int32)}

    assert list(scores(tell, dataclasses.replace(QUICK, steps=2))) == ["class", "number"]
    with pytest.raises(ConfigError, match="No property is known"):
        scores(lambda own: {"nothing": np.zeros(own.shape[:-1], np.int32)})


class TestSettings:
    def test_are_overridden_by_key(self):
        found = override(ProbeConfig(), ["kind=mlp", "train=10", "properties=[x,y]", "l2=0"])
        assert found == ProbeConfig(kind="mlp", train=10, properties=("x", "y"), l2=0.0)

    @pytest.mark.parametrize(
        "words", ["steps=0", "kind=cnn", "learning_rate=0", "l2=-1", "seed=-1", "stps=2"]
    )
    def test_senseless_ones_are_refused(self, words):
        with pytest.raises(ConfigError, match=words.split("=")[0]):
            override(ProbeConfig(), [words])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThingsConfig(DotsConfig):
    """Dots with properties."""

    named: bool = True
    visible: bool = True
    finite: int | None = None

    def make(self):
        return Things(self)


class Things(Dots):
    def __init__(self, config):
        super().__init__(config)
        self.max_objects = 1

    def size(self, split):
        return self.config.finite if split == "train" else super().size(split)

    def _batch(self, index, seed):
        batch, config = super()._batch(index, seed), self.config
        brightest = batch["image"].max(axis=(1, 2))
        if config.named:
            properties = {
                "hue": brightest.argmax(axis=-1)[:, None] + 1,
                "color": brightest[:, None],
            }
            batch["properties"] = {"hue": properties["hue"].astype(np.int32), **properties}
            batch["properties"]["hue"] = batch["properties"]["hue"].astype(np.int32)
        if config.visible:
            batch["visibility"] = np.ones((len(index), 1), bool)
        return batch


def run_of(*seeds, **changes):
    """What `probe` wants of a run, without a folder."""
    config = dataclasses.replace(dots("eval.batch_size=8"), data=ThingsConfig(**changes))
    built = build(config)
    state = built.trainer.init()
    states = [
        dataclasses.replace(state, params=jax.tree.map(lambda x, s=seed: x + 0.1 * s, state.params))
        for seed in seeds
    ]

    def member(number):
        one = (seeds[number],)
        own = SimpleNamespace(experiment=built, state=states[number], seeds=one)
        own.member = lambda _: own
        return own

    return SimpleNamespace(experiment=built, state=tuple(states), seeds=seeds, member=member)


SMALL = ProbeConfig(train=20, test=100, steps=5, batch=4)


class TestRuns:
    def test_reports_what_it_did(self):
        found = probe(run_of(0, label_size=10), SMALL)
        assert (found.train, found.test, found.split) == (20, 16, "val")
        data = found.as_data()
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert data["examples"] == {"train": 20, "test": 16, "shared": 0}
        assert data["settings"]["matching"] == "masks"
        assert data["properties"]["hue"]["objects"] == 16
        color = data["properties"]["color"]
        assert (color["kind"], color["size"]) == ("numeric", 3)
        assert color["metrics"]["r2"]["std"] is None
        first, *rows = found.lines()
        assert first == (
            "linear probe, slots matched by decoder masks: 20 examples of the training stream, "
            "16 of val, none in both"
        )
        assert [row.split()[:2] for row in rows] == [["color", "r2"], ["hue", "accuracy"]]
        assert probe(run_of(0, label_size=10), SMALL) == found

    def test_members_are_probed_one_by_one(self):
        both = probe(run_of(0, 1, label_size=10), SMALL)
        alone = [probe(run_of(seed, label_size=10), SMALL) for seed in (0, 1)]
        assert both.seeds == (0, 1)
        assert both.members == tuple(one.members[0] for one in alone)
        values = [one.members[0]["color"].values["r2"] for one in alone]
        assert values[0] != values[1]
        r2 = both.as_data()["properties"]["color"]["metrics"]["r2"]
        assert r2["members"] == values
        assert r2["mean"] == pytest.approx(np.mean(values))
        assert r2["std"] == pytest.approx(np.std(values, ddof=1))
        assert f"r2 {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in list(both.lines())[1]

    def test_a_small_training_set_is_taken_once(self):
        assert probe(run_of(0, label_size=10, finite=9), SMALL).train == 9

    def test_some_properties(self):
        run = run_of(0, label_size=10)
        only = dataclasses.replace(SMALL, properties=("color",))
        assert list(probe(run, only).members[0]) == ["color"]
        wrong = dataclasses.replace(SMALL, properties=("colour",))
        with pytest.raises(ConfigError, match="no 'colour'; did you mean 'color'"):
            probe(run, wrong)

    def test_without_properties(self):
        with pytest.raises(ConfigError, match="no properties"):
            probe(run_of(0, label_size=10, named=False), SMALL)

    def test_without_label_maps(self):
        run = run_of(0)
        with pytest.raises(ConfigError, match=r"no label maps .* say matching=loss"):
            probe(run, SMALL)
        by_loss = dataclasses.replace(SMALL, matching="loss")
        assert probe(run, by_loss).members[0]["hue"].values["matched"] == 1
        with pytest.raises(ConfigError, match="do not say which objects"):
            probe(run_of(0, visible=False), by_loss)

    def test_slots_that_are_not_finite(self):
        run = run_of(0, label_size=10)
        run.member(0).state.params["encoder"] = jax.tree.map(
            lambda x: x * jnp.nan, run.member(0).state.params["encoder"]
        )
        with pytest.raises(ConfigError, match="not finite"):
            probe(run, SMALL)


@pytest.fixture(scope="module")
def seen():
    """A batch, and what an untrained model with 3 slots and a background makes of it."""
    run = run_of(0, label_size=10)
    state = run.member(0).state
    batch = next(run.experiment.dataset.held_out("val", 4))
    predict = make_predict(run.experiment.definition, 0)
    prediction = jax.jit(lambda *given: predict(*given)[1])(state.params, state.variables, batch)
    assert prediction.reconstruction.masks.shape[1] == 4
    return prediction, batch


class TestSlotsOfObjects:
    def by_masks(self, seen, owner, config=SMALL):
        """Where the objects belong to component `owner` and the rest to the next one."""
        prediction, batch = seen
        labels = jnp.where(batch.segmentation > 0, owner, (owner + 1) % 3)
        masks = jax.nn.one_hot(labels, 4, axis=1)
        drawn = dataclasses.replace(prediction.reconstruction, masks=masks)
        made = dataclasses.replace(prediction, reconstruction=drawn)
        return _by_masks(made, batch, 1, config).tolist()

    @pytest.mark.parametrize("owner", [0, 2])
    def test_the_one_whose_mask_covers_it(self, seen, owner):
        assert self.by_masks(seen, owner) == [[owner]] * 4

    def test_the_background_is_no_slot(self, seen):
        assert self.by_masks(seen, 3) == [[-1]] * 4

    def test_of_two_alike_the_first(self, seen):
        prediction, batch = seen
        true = np.asarray(batch.segmentation) > 0
        half = np.cumsum(true.reshape(4, -1), axis=1).reshape(true.shape) * true
        labels = np.where(half > true.sum((1, 2), keepdims=True) / 2, 1, 2)
        labels = np.where(true, labels, 0)
        drawn = jax.nn.one_hot(labels, 4, axis=1)
        made = dataclasses.replace(
            prediction, reconstruction=dataclasses.replace(prediction.reconstruction, masks=drawn)
        )
        assert _by_masks(made, batch, 1, SMALL).tolist() == [[1]] * 4

    def test_attention_is_another_choice(self, seen):
        attention = dataclasses.replace(SMALL, masks="attention")
        assert self.by_masks(seen, 3, attention) != [[-1]] * 4

    def test_a_model_that_draws_no_masks(self, seen):
        prediction, batch = seen
        bare = dataclasses.replace(prediction, reconstruction=None)
        with pytest.raises(ConfigError, match="draws no masks; say masks=attention"):
            _by_masks(bare, batch, 1, SMALL)

    def test_an_object_that_no_pixel_shows_is_none(self, seen):
        batch = dataclasses.replace(
            seen[1], segmentation=seen[1].segmentation.at[1].set(0), visibility=None
        )
        run = run_of(0, label_size=10)
        state = run.member(0).state
        found = jax.jit(make_look(run.experiment, SMALL))(state.params, state.variables, batch)
        assert found["objects"].tolist() == [[True], [False], [True], [True]]
        assert found["slot"].tolist()[1] == [-1]
