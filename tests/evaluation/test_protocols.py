"""Protocols: ids, what they ask of data, and each field's effect on values worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots.config import ConfigError
from slots.evaluation import PROTOCOLS, Accumulator, Protocol, protocol
from slots.evaluation.evaluation import METRICS, conclude, measured_by, merge
from slots.evaluation.explain import explain
from slots.evaluation.protocols import EXPLAINED
from slots.evaluation.scoring import ATTENTION, Sizes, mask_scores, truth
from slots.types import Batch

HOUSE = protocol("house/image")

# Example 1 of the metrics' sheet: four quarters of 2×2, two halves as slots, two classes.
TRUE = np.kron(np.array([[0, 1], [2, 3]]), np.ones((2, 2), int)).astype(np.int32)
PRED = np.repeat([[0], [0], [1], [1]], 4, axis=1).astype(np.int32)
CLASS = np.kron(np.array([[0, 1], [1, 2]]), np.ones((2, 2), int)).astype(np.int32)
EMPTY = np.zeros((4, 4), np.int32)
# Example 2: a clip of two frames whose slots change places.
CLIP = np.array([[[1, 1, 2, 2]], [[1, 1, 2, 2]]], np.int32)
SWAPPED = np.array([[[0, 0, 1, 1]], [[1, 1, 0, 0]]], np.int32)


def soft(labels: np.ndarray, count: int = 2) -> np.ndarray:
    """Masks [*,K,h,w] of label maps [*,h,w]."""
    return np.moveaxis(np.eye(count, dtype=np.float32)[labels], -1, -3)


def known(true: np.ndarray, semantic: np.ndarray | None = None) -> Batch:
    given = {"segmentation": true, "semantic": semantic}
    return Batch(**{name: jnp.asarray(x) for name, x in given.items() if x is not None})


def scores(
    by: Protocol,
    true: np.ndarray,
    pred: np.ndarray,
    *,
    attention: np.ndarray | None = None,
    semantic: np.ndarray | None = None,
    objects: int = 3,
) -> dict[str, float]:
    """Means over examples [n,...]; `pred` are label maps or soft masks."""
    masks = pred if pred.dtype == np.float32 else soft(pred)
    sources = {"": jnp.asarray(masks)}
    if attention is not None:
        sources[ATTENTION] = jnp.asarray(attention)
    batch = truth(known(true, semantic), by)
    values, rows = mask_scores(sources, batch, Sizes(objects, 2), by)
    found = Accumulator()
    found.add(np.arange(len(true)), *jax.device_get((values, rows)))
    return {name: s.mean for name, s in conclude(found, by).statistics.items()}


def by(**fields: object) -> Protocol:
    return dataclasses.replace(HOUSE, **fields)  # type: ignore[arg-type]


class TestFields:
    def test_the_house(self):
        found = scores(HOUSE, TRUE[None], PRED[None], semantic=CLASS[None])
        wanted = {"fg_ari": 0.521739, "ari": 0.444444, "mbo": 0.5, "miou": 1 / 3}
        wanted |= {"mbo_class": (4 / 12 + 4 / 8) / 2, "recall": 1.0, "corloc": 1.0}
        # Classes 1 and 2 have their best slots apart: 4/12 (or 4/12) and 4/8.
        wanted["miou_class"] = (4 / 12 + 4 / 8) / 2
        assert {n: found[n] for n in wanted} == pytest.approx(wanted, abs=1e-6)

    def test_background(self):
        found = scores(by(background=True), TRUE[None], PRED[None])
        assert found["mbo"] == pytest.approx(0.5)
        assert found["miou"] == pytest.approx(0.25)

    def test_denominator(self):
        found = scores(by(denominator="either"), TRUE[None], PRED[None])
        assert found["miou"] == pytest.approx(0.25)

    def test_strict(self):
        found = scores(by(strict=True), TRUE[None], PRED[None])
        assert (found["recall"], found["corloc"]) == (0, 0)

    @pytest.mark.parametrize(
        ("rule", "ari", "mbo"),
        [("skip", 0.521739, 0.5), ("one", 0.760870, 0.75), ("zero", 0.260870, 0.25)],
    )
    def test_empty(self, rule, ari, mbo):
        true, pred = np.stack([TRUE, EMPTY]), np.stack([PRED, PRED])
        found = scores(by(empty=rule), true, pred)
        assert (found["fg_ari"], found["mbo"]) == pytest.approx((ari, mbo), abs=1e-6)

    def test_average(self):
        # Three objects of 0.5 in one picture, one of 1 in the other.
        one = np.where(PRED == 1, 1, 0).astype(np.int32)
        true, pred = np.stack([TRUE, one]), np.stack([PRED, PRED])
        assert scores(HOUSE, true, pred)["mbo"] == pytest.approx(0.75)
        found = scores(by(average="per_object"), true, pred)
        assert found["mbo"] == pytest.approx((3 * 0.5 + 1) / 4)
        assert found["fg_ari"] == pytest.approx((0.521739 + 1) / 2, abs=1e-6)

    def test_average_over_classes(self):
        true, pred = np.stack([TRUE, TRUE]), np.stack([PRED, PRED])
        semantic = np.stack([CLASS, np.where(PRED == 1, 1, 0).astype(np.int32)])
        found = scores(by(average="per_object"), true, pred, semantic=semantic)
        assert found["mbo_class"] == pytest.approx((4 / 12 + 4 / 8 + 1) / 3)

    @pytest.mark.parametrize(
        ("frames", "ari", "mbo"),
        [("all", -0.166667, 1 / 3), ("each", 1, 1), ("from_second", 1, 1)],
    )
    def test_frames(self, frames, ari, mbo):
        found = scores(by(frames=frames), CLIP[None], SWAPPED[None])
        assert (found["fg_ari"], found["mbo"]) == pytest.approx((ari, mbo), abs=1e-6)

    def test_masks(self):
        other = soft(TRUE, 4)[None]
        found = scores(HOUSE, TRUE[None], PRED[None], attention=other)
        assert (found["mbo"], found["mbo_attention"]) == (0.5, 1)
        found = scores(by(masks="attention"), TRUE[None], PRED[None], attention=other)
        assert (found["mbo"], "mbo_attention" in found) == (1, False)

    def test_better_of_both_is_chosen_by_metric(self):
        true = np.stack([TRUE, TRUE])
        right, wrong = soft(TRUE, 4), np.zeros((4, 4, 4), np.float32)
        wrong[0] = 1
        drawn, attention = np.stack([right, right]), np.stack([right, wrong])
        for pair in ((drawn, attention), (attention, drawn)):
            found = scores(by(masks="better_of_both"), true, pair[0], attention=pair[1])
            assert (found["fg_ari"], found["mbo"]) == (1, 1)

    def test_resize(self):
        # A column of a 2-column mask at 0.6 : 0.4; bilinear moves the edge, nearest does not.
        masks = np.zeros((1, 2, 1, 2), np.float32)
        masks[0, 0, 0], masks[0, 1, 0] = [0.9, 0.4], [0.1, 0.6]
        true = np.zeros((1, 1, 8), np.int32)
        true[0, 0, 4:] = 1
        assert scores(by(resize="nearest"), true, masks)["mbo"] == 1
        # 0.9 - 0.5 t is ½ at t = 0.8, beyond the middle between the centres 1.5 and 5.5.
        assert scores(HOUSE, true, masks)["mbo"] == pytest.approx(3 / 4)
        with pytest.raises(ConfigError, match=r"resizes nothing, but masks are \(1, 2\)"):
            scores(by(resize="none"), true, masks)

    def test_size_cuts_the_truth_in_the_middle(self):
        true = np.zeros((1, 4, 8), np.int32)
        true[0, :, :2], true[0, :, 2:4], true[0, :, 4:] = 3, 1, 2
        found = truth(known(true), by(size=(2, 2)))
        np.testing.assert_array_equal(found.segmentation[0], [[1, 2], [1, 2]])

    def test_panoptic_quality(self):
        # One of three objects found at IoU ½ by one slot, the other holds the background.
        found = scores(protocol("pq/cycle"), TRUE[None], soft(PRED)[None])
        # Slot 0 has IoU ½ with the background; slot 1 reaches ½ with object 2: 0.5 / (1 + ½·2).
        assert found["pq"] == pytest.approx(0.5 / 2)

    def test_average_precision_of_slots(self):
        # Slot 0 holds the background; slot 1 finds one object of three, and is the only detection.
        found = scores(protocol("ap50/cycle"), TRUE[None], soft(PRED)[None])
        assert found["ap50"] == pytest.approx(1 / 3)


class TestRecords:
    def test_ids_are_their_names(self):
        assert all(name == p.id == protocol(name).id for name, p in PROTOCOLS.items())

    def test_every_one_is_for_a_metric_there_is(self):
        known = {*METRICS, "pq", "ap50", "ap", "transfer"}
        assert {p.metric for p in PROTOCOLS.values()} <= known

    def test_what_is_unknown_is_a_field(self):
        names = {field.name for field in dataclasses.fields(Protocol)}
        assert all(set(p.unknown) <= names for p in PROTOCOLS.values())
        assert set(EXPLAINED) < names

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(ConfigError, match=r"no protocol 'fg-ari/sav'; did you mean 'fg-ari/sa"):
            protocol("fg-ari/sav")

    def test_data_that_read_the_truth_otherwise_are_refused(self):
        @dataclasses.dataclass(frozen=True)
        class Data:
            crowd: str = "ignore"
            overlaps: str = "ignore"
            label_size: tuple[int, int] | None = None

        with pytest.raises(ConfigError, match=r"say data.crowd=object data.label_size=\(320,320\)"):
            protocol("mbo-i/dinosaur-320").check(Data())
        protocol("mbo-i/dinosaur-320").check(Data("object", "ignore", (320, 320)))
        protocol("mbo-i/dinosaur-320").check(object())  # data without such settings


class TestEvaluation:
    def evaluation(self, protocol: Protocol, values: list[float], count: int = 2):
        found = Accumulator()
        rows = {"objects": np.arange(1, count + 1)}
        found.add(np.arange(count), {"mbo": np.array(values)}, rows)
        return conclude(found, protocol)

    def test_says_how_many_of_how_many(self):
        assert self.evaluation(HOUSE, [0, 1]).items == "2 examples"
        asked = self.evaluation(protocol("fg-ari/slot-attention"), [0, 1])
        assert asked.items == "2 examples (the protocol asks for 320)"

    def test_says_what_measured_a_record(self):
        record = {"step": 7, "protocol": "mbo/lsd", "ari": {"mean": 0.5, "count": 1200}, "loss": 1}
        assert measured_by(record, (3, 4)) == "protocol mbo/lsd, n = 1,200, seeds 3, 4"

    def test_members_keep_their_weights(self):
        both = [self.evaluation(by(average="per_object"), v) for v in ([0, 1], [1, 0])]
        found = merge(both)
        assert found.statistics["mbo"].members == pytest.approx((2 / 3, 1 / 3))


class TestExplain:
    def test_one_field_after_the_other(self):
        true = np.stack([TRUE, np.where(PRED == 1, 1, 0).astype(np.int32), EMPTY])
        pred = np.stack([PRED, PRED, PRED])
        asked = []

        def score(protocol: Protocol):
            asked.append(protocol)
            masks = {"": jnp.asarray(soft(pred))}
            values, rows = mask_scores(masks, known(true), Sizes(3), protocol)
            found = Accumulator()
            found.add(np.arange(3), *jax.device_get((values, rows)))
            return conclude(found, protocol)

        other = by(background=True, average="per_object", empty="one", id="other")
        path = explain(score, HOUSE, other)
        assert [switch.field for switch in path] == ["", "background", "empty", "average"]
        assert (path[1].before, path[1].after) == (False, True)
        means = [switch.evaluation.statistics["mbo"].mean for switch in path]
        # With the background the empty picture is defined: its one segment has an IoU of ½.
        wanted = [0.75, (0.5 + 1 + 0.5) / 3, (0.5 + 1 + 0.5) / 3, (4 * 0.5 + 2 + 0.5) / 7]
        assert means == pytest.approx(wanted)
        assert dataclasses.replace(asked[-1], id="other") == other

    def test_nothing_to_explain(self):
        same = TestEvaluation().evaluation(HOUSE, [0, 1])
        path = explain(lambda _: same, HOUSE, HOUSE)
        assert [switch.field for switch in path] == [""]
