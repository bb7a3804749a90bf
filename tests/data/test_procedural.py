import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots.config import ConfigError, override
from slots.data import procedural
from slots.data.procedural import ProceduralConfig, ProceduralDataset, pack, unpack


class Noise(ProceduralDataset):
    """The least a data set can be: a random picture."""

    image_shape = (2, 2, 1)
    max_objects = 0

    def scene(self, key):
        return {"image": jax.random.uniform(key, (2, 2, 1))}


def noise(**settings):
    return Noise(ProceduralConfig(**settings))


def take(batches, count):
    return list(itertools.islice(batches, count))


def images(batches):
    return np.concatenate([b.image for b in batches])


@pytest.fixture(autouse=True)
def small_calls(monkeypatch):
    """Few scenes per call, so that short streams cross from one call to the next."""
    monkeypatch.setattr(procedural, "SCENES_PER_CALL", 8)


def test_a_scene_depends_on_its_number_alone(monkeypatch):
    whole = images(take(noise().train(8), 3))
    np.testing.assert_array_equal(images(take(noise().train(3), 8)), whole)
    monkeypatch.setattr(procedural, "SCENES_PER_CALL", 512)
    np.testing.assert_array_equal(images(take(noise().train(8), 3)), whole)
    assert len(np.unique(whole, axis=0)) == 24


@pytest.mark.parametrize("train_size", [None, 5, 50])
def test_resuming_continues_the_stream(train_size):
    data = noise(train_size=train_size, seed=3)
    stream = take(data.train(4), 45)
    for start in (1, 2, 7, 40):
        for there, here in zip(stream[start:], data.train(4, start=start), strict=False):
            np.testing.assert_array_equal(there.image, here.image)
            np.testing.assert_array_equal(there.index, here.index)


def test_the_seed_changes_training_only():
    first, same, other = noise(seed=1), noise(seed=1), noise(seed=2**32 - 1)
    np.testing.assert_array_equal(next(first.train(4)).image, next(same.train(4)).image)
    assert (next(first.train(4)).image != next(other.train(4)).image).all()
    for split in ("val", "test"):
        held_out = images(first.held_out(split, 8, 8))
        np.testing.assert_array_equal(held_out, images(other.held_out(split, 8, 8)))


@pytest.mark.parametrize("train_size", [None, 7])
def test_with_another_seed_it_is_the_data_set_of_that_seed(train_size):
    first = noise(seed=1, train_size=train_size)
    before = take(first.train(4), 5)
    other = first.with_seed(4)
    assert other.config == ProceduralConfig(seed=4, train_size=train_size)
    made = noise(seed=4, train_size=train_size)
    for one, two in zip(take(other.train(4), 5), made.train(4), strict=False):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.index, two.index)
    np.testing.assert_array_equal(images(take(first.train(4), 5)), images(before))


def test_the_scene_generator_is_compiled_once_for_all_seeds():
    traced = []

    class Counted(Noise):
        def scene(self, key):
            traced.append(key)
            return super().scene(key)

    data = Counted(ProceduralConfig(train_size=7))
    for seed in range(3):
        take(data.with_seed(seed).train(4), 5)
    assert len(traced) == 1


def test_splits_share_no_scene():
    data = noise(held_out_size=64)
    scenes = [images(take(data.train(64), 1))]
    scenes += [images(data.held_out(split, 64)) for split in ("val", "test")]
    assert len(np.unique(np.concatenate(scenes), axis=0)) == 3 * 64


def test_splits_share_no_key():
    keys = [jax.random.key_data(noise(seed=s)._key("train")) for s in range(8)]
    keys += [jax.random.key_data(noise()._key(split)) for split in ("val", "test")]
    assert len(np.unique(np.stack(keys), axis=0)) == 10


def test_another_default_generator_does_not_change_the_data():
    expected = next(noise().train(4)).image
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(next(noise().train(4)).image, expected)


def test_index_counts_scenes():
    batches = take(noise().train(4, start=1), 3)
    np.testing.assert_array_equal(np.concatenate([b.index for b in batches]), np.arange(4, 16))
    assert batches[0].index.dtype == np.int32
    assert batches[0].image.devices() == {jax.devices()[0]}


@pytest.mark.parametrize(("train_size", "batch_size"), [(1, 4), (6, 4), (37, 12)])
def test_a_finite_set_is_visited_once_per_epoch(train_size, batch_size):
    data = noise(train_size=train_size)
    assert data.size("train") == train_size
    batches = take(data.train(batch_size), -(-5 * train_size // batch_size))
    epochs = np.concatenate([b.index for b in batches])[: 5 * train_size].reshape(5, train_size)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(train_size), (5, 1)))
    if train_size >= 10:
        assert len(np.unique(epochs, axis=0)) == 5
        other = next(noise(train_size=train_size, seed=1).train(batch_size))
        assert (other.index != batches[0].index).any()


def test_a_finite_set_holds_the_first_scenes_of_the_endless_one():
    endless = images(take(noise(seed=4).train(6), 1))
    finite = next(noise(seed=4, train_size=6).train(6))
    np.testing.assert_array_equal(finite.image, endless[finite.index])


def test_held_out_batches_come_in_order_with_a_smaller_last_one():
    data = noise(held_out_size=11)
    assert data.size("val") == data.size("test") == 11
    assert data.size("train") is None
    batches = list(data.held_out("val", 4))
    assert [len(b.image) for b in batches] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([b.index for b in batches]), np.arange(11))
    np.testing.assert_array_equal(images(data.held_out("val", 5, 7)), images(batches)[:7])
    assert list(data.held_out("val", 4, 0)) == []
    larger = images(noise(held_out_size=20).held_out("val", 11, 11))
    np.testing.assert_array_equal(larger, images(batches))


@pytest.mark.parametrize(
    ("split", "count", "message"),
    [
        ("val", 321, "val holds 320 scenes .*321"),
        ("test", -1, "test holds 320 scenes .*-1"),
        ("train", None, "'train' is not held out"),
        ("valid", None, "split='valid' should be one of train, val, test"),
    ],
)
def test_a_wrong_request_fails_where_it_is_made(split, count, message):
    with pytest.raises(ConfigError, match=message):
        noise(train_size=5).held_out(split, 4, count)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("seed", -1), ("seed", 2**32), ("held_out_size", 0), ("train_size", 0)],
)
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"data.{setting}={value} should be"):
        ProceduralConfig(**{setting: value})


def test_settings_are_typed():
    config = override(ProceduralConfig(), ["train_size=512", "held_out_size=1000", "seed=5"])
    assert dataclasses.astuple(config) == (5, 1000, 512)
    assert override(config, ["train_size=null"]).train_size is None


def test_unpack_reverses_pack():
    colors = jnp.array([[1, 2, 3], [255, 128, 0]], jnp.uint32)
    image, labels = unpack(jnp.append(pack(colors), jnp.uint32(0)).reshape(1, 3))
    np.testing.assert_array_equal(image, [[[1, 2, 3], [255, 128, 0], [0, 0, 0]]])
    np.testing.assert_array_equal(labels, [[1, 2, 0]])
    assert (image.dtype, labels.dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("train_size", [None, 5])
@pytest.mark.parametrize("processes", [2, 3])
def test_shards_are_the_parts_of_one_batch(train_size, processes):
    data = noise(train_size=train_size)
    parts = [data.train(6, start=3, shard=(p, processes)) for p in range(processes)]
    for whole, *shards in itertools.islice(zip(data.train(6, start=3), *parts, strict=True), 3):
        together = jax.tree.map(lambda *x: np.concatenate(x), *shards)
        jax.tree.map(np.testing.assert_array_equal, whole, together)


def test_a_batch_without_equal_parts():
    with pytest.raises(ConfigError, match=r"train.batch_size=7 can't be shared by 2 processes"):
        next(noise().train(7, shard=(0, 2)))
