"""What all published sets share: ranges, filters, filling up, order, shards, and mistakes."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from slots.config import ConfigError
from slots.data import kept as kept_module
from slots.data.pictures import BadFile
from slots.data.stored import Example, Source, StoredConfig, StoredDataset
from slots.types import Batch


class Numbered(Source):
    """Examples whose grey says their number; number i has i % 4 objects in its top rows."""

    max_objects = 3
    classes = ("odd", "even")

    def __init__(self, where: Path, count: int):
        self.where = where
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        objects = index % 4
        labels = np.zeros((8, 12), np.int32)
        for label in range(1, objects + 1):
            labels[label - 1, : 3 * label] = label
        return Example(
            image=np.full((8, 12, 1), index, np.uint8),
            segmentation=labels,
            properties={"weight": 10.0 * np.arange(1, objects + 1, dtype=np.float32)},
            boxes=np.array(
                [[i, 0, i + 1, 3 * (i + 1)] for i in range(objects)], np.float64
            ).reshape(-1, 4),
            visibility=np.ones(objects, bool),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedConfig(StoredConfig):
    train: str = "all[10:]"
    val: str = "all[0:10]"
    image_size: tuple[int, int] = (8, 12)
    count: int = 30

    def open(self, name: str) -> Source:
        return Numbered(Path(self.path), self.count)


@pytest.fixture
def make(tmp_path: Path):
    def make(**changes: object) -> StoredDataset:
        return NumberedConfig(path=str(tmp_path), **changes).make()  # type: ignore[arg-type]

    return make


def numbers(batch: Batch) -> list[int]:
    assert batch.image is not None
    return np.asarray(batch.image)[:, -1, 0, 0].tolist()


def held(data: StoredDataset, split: str = "val") -> list[int]:
    return [n for batch in data.held_out(split, 3) for n in numbers(batch)]


def first(stream: Iterator[Batch]) -> Batch:
    return next(iter(stream))


class TestSplits:
    def test_are_ranges_of_what_is_stored(self, make):
        data = make(test="all[29:]")
        assert data.splits == ("train", "val", "test")
        assert [data.size(split) for split in data.splits] == [20, 10, 1]
        assert held(data) == list(range(10))
        assert held(data, "test") == [29]
        seen = [n for batch in itertools.islice(data.train(5), 4) for n in numbers(batch)]
        assert sorted(seen) == list(range(10, 30))
        assert seen != sorted(seen)

    def test_scenes_with_more_objects_are_left_out_of_the_range(self, make):
        data = make(scene_objects=1, val="all[2:8]")
        assert held(data) == [4, 5]
        assert data.size("train") == sum(n % 4 <= 1 for n in range(10, 30))

    @pytest.mark.parametrize(
        "text", ["all[3:3]", "all[5:2]", "all[1]", "all[", "[0:3]", "all[-1:]"]
    )
    def test_a_range_that_cannot_be(self, make, text):
        with pytest.raises(ConfigError, match="should be a stored name with a range"):
            make(val=text)

    def test_a_range_past_the_end(self, make, tmp_path):
        with pytest.raises(ConfigError, match=f"{tmp_path} holds 30 examples of 'all'"):
            make(val="all[0:31]").size("val")

    def test_nothing_left(self, make):
        with pytest.raises(ConfigError, match=r"data.val='all\[1:2\]' holds no example"):
            make(val="all[1:2]", scene_objects=0).size("val")

    def test_no_such_split(self, make):
        with pytest.raises(ConfigError, match="has no split 'test'; it has train, val"):
            make().size("test")

    def test_no_such_path(self):
        with pytest.raises(ConfigError, match=r"data.path=.*/nowhere does not exist"):
            NumberedConfig(path="/tmp/nowhere").make()
        with pytest.raises(ConfigError, match=r"data.path is empty"):
            NumberedConfig().make()


class TestBatches:
    def test_objects_are_filled_up_with_zeros(self, make):
        batch = first(make(max_objects=5).held_out("val", 4))
        assert (batch.image.shape, batch.image.dtype) == ((4, 8, 12, 3), np.uint8)
        assert batch.num_objects.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(batch.visibility[2], [True, True, False, False, False])
        np.testing.assert_array_equal(batch.properties["weight"][2], [10, 20, 0, 0, 0])
        np.testing.assert_allclose(batch.properties["box"][1, 0], [0, 0, 1 / 8, 3 / 12])
        np.testing.assert_array_equal(batch.properties["box"][1, 1:], 0)
        assert batch.ignore is batch.semantic is batch.label is None

    def test_sizes_come_from_the_settings_and_the_source(self, make):
        data = make(image_size=(4, 6), label_size=(16, 24), channels=1)
        batch = first(data.held_out("val", 2))
        assert (batch.image.shape, batch.segmentation.shape) == ((2, 4, 6, 1), (2, 16, 24))
        assert (data.image_shape, data.max_objects, data.semantic_classes) == ((4, 6, 1), 3, 2)

    def test_visible_is_what_the_framed_map_holds_where_the_set_does_not_say(self, make):
        class Silent(Numbered):
            def __getitem__(self, index: int) -> Example:
                return dataclasses.replace(super().__getitem__(index), visibility=None)

        data = make(crop=(1, 0, 7, 12), image_size=(7, 12))
        data._source = lambda name: Silent(Path(), 30)
        batch = first(data.held_out("val", 4))
        np.testing.assert_array_equal(batch.visibility[3], [False, True, True])
        assert batch.num_objects.tolist() == [0, 0, 1, 2]

    def test_a_label_too_many(self, make):
        with pytest.raises(BadFile, match=r"example 3 has label 3, data.max_objects=2"):
            list(make(max_objects=2).held_out("val", 4))

    def test_too_small_for_the_crop(self, make):
        with pytest.raises(BadFile, match=r"example 0 is 12x8 pixels, too small for data.crop"):
            list(make(crop=(0, 0, 9, 9)).held_out("val", 1))

    def test_mirrored_boxes_go_with_the_labels(self, make):
        data = make(flip=True)
        for batch in itertools.islice(data.train(20), 2):
            for row in range(20):
                for label in range(1, int(batch.num_objects[row]) + 1):
                    columns = np.nonzero(np.asarray(batch.segmentation[row]) == label)[1]
                    box = np.asarray(batch.properties["box"][row, label - 1])
                    np.testing.assert_allclose(
                        box[[1, 3]] * 12, [columns.min(), columns.max() + 1], atol=1e-5
                    )
                padding = np.asarray(batch.properties["box"])[row, int(batch.num_objects[row]) :]
                np.testing.assert_array_equal(padding, 0)
        assert np.asarray(batch.segmentation)[:, 0, -1].any()  # some were mirrored
        assert np.asarray(batch.segmentation)[:, 0, 0].any()

    def test_windows_are_drawn_in_training_only(self, make):
        data = make(fit="random", image_size=(8, 8), train="all", val="all")
        label_ends = {
            int((np.asarray(batch.segmentation) == 3).sum(axis=(1, 2)).max())
            for batch in itertools.islice(data.train(30), 10)
        }
        assert len(label_ends) >= 1
        widths = [(np.asarray(b.segmentation)[3] == 3).sum() for b in data.held_out("val", 30)]
        assert widths == [9 - 2]  # columns 2 to 9 of 12 stay, the object ends at 9
        one = [np.asarray(b.segmentation) for b in itertools.islice(data.train(30), 3)]
        assert len({(m == 3).sum() for m in one}) > 1


class TestOrder:
    def test_resumes_exactly(self, make):
        data = make(flip=True, fit="random", image_size=(8, 8))
        whole = list(itertools.islice(data.train(6), 9))
        rest = list(itertools.islice(data.train(6, start=5), 4))
        for one, other in zip(whole[5:], rest, strict=True):
            jax.tree.map(np.testing.assert_array_equal, one, other)

    @pytest.mark.parametrize("processes", [2, 3])
    def test_shards_are_the_parts_of_one_batch(self, make, processes):
        data = make(flip=True)
        parts = [data.train(6, shard=(p, processes)) for p in range(processes)]
        for whole, *shards in itertools.islice(zip(data.train(6), *parts, strict=True), 8):
            together = jax.tree.map(lambda *x: np.concatenate(x), *shards)
            jax.tree.map(np.testing.assert_array_equal, whole, together)

    def test_a_batch_without_equal_parts(self, make):
        with pytest.raises(ConfigError, match=r"train.batch_size=7 can't be shared by 2 processes"):
            next(make().train(7, shard=(0, 2)))

    def test_seeds_share_what_is_open(self, make):
        data = make()
        other = data.with_seed(1)
        assert other._source is data._source
        assert numbers(next(data.train(20))) != numbers(next(other.train(20)))


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"image_size": (0, 4)}, "data.image_size"),
            ({"crop": (0, 0, 0, 4)}, "data.crop"),
            ({"channels": 2}, "data.channels"),
            ({"max_objects": -1}, "data.max_objects"),
        ],
    )
    def test_what_cannot_be(self, make, changes, word):
        with pytest.raises(ConfigError, match=word):
            make(**changes)


class TestKept:
    """Examples that were read once are kept, and are what they were when read."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Numbers of the examples in the order in which the source was asked for them."""
        seen: list[int] = []
        read = Numbered.__getitem__

        def counted(self: Numbered, index: int) -> Example:
            seen.append(index)
            return read(self, index)

        monkeypatch.setattr(Numbered, "__getitem__", counted)
        return seen

    def test_the_same_batches_as_without(self, make, monkeypatch):
        kept = [*itertools.islice(make(flip=True).train(7), 9)]
        monkeypatch.setattr(kept_module, "CACHE_BYTES", 0)
        read = [*itertools.islice(make(flip=True).train(7), 9)]
        for one, other in zip(kept, read, strict=True):
            jax.tree.map(np.testing.assert_array_equal, one, other)
            assert one.segmentation.dtype == np.int32

    def test_no_second_reading(self, make, reads):
        data = make()
        first = [*data.held_out("val", 4)]
        assert set(reads) == set(range(10))
        before = len(reads)
        again = [*data.held_out("val", 4)]
        other = [*data.with_seed(1).held_out("val", 4)]
        assert len(reads) == before
        for one, *others in zip(first, again, other, strict=True):
            for it in others:
                jax.tree.map(np.testing.assert_array_equal, one, it)

    def test_within_the_room_there_is(self, make, monkeypatch, reads):
        example = 8 * 12 * 3 + 8 * 12 + 3 * (4 + 4 * 4 + 1) + 4  # picture, map, rows, their number
        monkeypatch.setattr(kept_module, "CACHE_BYTES", 15 * example)
        data = make()
        next(iter(data.train(4)))  # 20 examples, too many
        for _ in range(2):
            reads.clear()
            assert len([*data.held_out("val", 5)]) == 2
        assert reads == []
        for _ in range(2):
            reads.clear()
            data.read("train", np.arange(3, dtype=np.int32))
            assert reads == [10, 11, 12]

    def test_not_where_every_visit_is_cut_anew(self, make, reads):
        data = make(fit="random", image_size=(8, 8))
        index, left, right = np.arange(2, dtype=np.int32), np.zeros(2), np.full(2, 0.99)
        data.read("train", index, left)
        reads.clear()
        one, other = data.read("train", index, left), data.read("train", index, right)
        assert reads == [10, 11, 10, 11]
        assert (one["segmentation"] != other["segmentation"]).any()

    def test_fields_of_all_examples_are_those_of_the_first(self, make, monkeypatch):
        read = Numbered.__getitem__
        monkeypatch.setattr(
            Numbered,
            "__getitem__",
            lambda self, i: dataclasses.replace(read(self, i), label=i if i > 15 else None),
        )
        data = make()
        data.read("train", np.arange(3, dtype=np.int32))
        with pytest.raises(BadFile, match="has label in some examples only, see 17"):
            data.read("train", np.array([7, 8], np.int32))
