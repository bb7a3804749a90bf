"""Mask files: read back, scored as the arrays are, refused in one sentence where they are bad."""

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from slots.config import ConfigError
from slots.evaluation import mask_files, protocol
from slots.evaluation.mask_files import read_masks, score_masks, write_masks

HOUSE = protocol("house/image")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "masks": draw.dirichlet(np.ones(3), (7, 4, 4)).transpose(0, 3, 1, 2).astype(np.float32),
        "attention": draw.random((7, 3, 2, 2)).astype(np.float32),
        "segmentation": draw.integers(0, 4, (7, 8, 8)).astype(np.uint8),
        "ignore": draw.random((7, 8, 8)) < 0.1,
        "semantic": draw.integers(0, 3, (7, 8, 8)).astype(np.int64),
        "index": np.array([9, 2, 3, 4, 5, 6, 7]),
    }


def saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


class TestScores:
    def test_neither_batches_nor_the_file_change_a_bit(self, tmp_path, arrays):
        file = read_masks(saved(tmp_path / "m.npz", arrays))
        whole, parts = score_masks(file, HOUSE, 64), score_masks(file, HOUSE, 3)
        assert whole.statistics == parts.statistics
        assert {"mbo", "mbo_class", "recall", "mbo_attention"} <= set(whole.statistics)
        np.testing.assert_array_equal(whole.per_example["index"], sorted(arrays["index"]))

    def test_hard_masks_are_soft_ones_of_zero_and_one(self, tmp_path, arrays):
        labels = arrays["segmentation"].astype(np.int64) % 3
        soft = np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, 1)
        truth = {n: arrays[n] for n in ("segmentation", "ignore", "semantic")}
        hard = read_masks(saved(tmp_path / "h.npz", {**truth, "labels": labels}))
        other = read_masks(saved(tmp_path / "s.npz", {**truth, "masks": soft}))
        assert score_masks(hard, HOUSE).statistics == score_masks(other, HOUSE).statistics

    def test_clips(self, tmp_path):
        # Example 2 of the metrics' sheet, once as a clip and once frame by frame.
        given = {
            "labels": np.array([[[[0, 0, 1, 1]], [[1, 1, 0, 0]]]]),
            "segmentation": np.array([[[[1, 1, 2, 2]], [[1, 1, 2, 2]]]]),
        }
        file = read_masks(saved(tmp_path / "c.npz", given))
        assert score_masks(file, HOUSE).statistics["fg_ari"].mean == pytest.approx(-1 / 6)
        each = protocol("fg-ari/videosaur-frame")
        assert score_masks(file, each).statistics["fg_ari"].mean == 1

    def test_the_truth_of_another_file_is_looked_up_by_number(self, tmp_path, arrays):
        whole = score_masks(read_masks(saved(tmp_path / "w.npz", arrays)), HOUSE)
        order = np.random.default_rng(1).permutation(7)
        truth = {n: arrays[n][order] for n in ("segmentation", "ignore", "semantic", "index")}
        masks = {n: arrays[n] for n in ("masks", "attention", "index")}
        saved(tmp_path / "t.npz", truth)
        file = read_masks(saved(tmp_path / "m.npz", masks), tmp_path / "t.npz")
        assert score_masks(file, HOUSE).statistics == whole.statistics

    def test_hard_masks_of_another_size(self, tmp_path, arrays):
        given = {"labels": np.zeros((7, 4, 4), int), "segmentation": arrays["segmentation"]}
        file = read_masks(saved(tmp_path / "m.npz", given))
        with pytest.raises(ConfigError, match=r"labels in .* are \(4, 4\), the truth \(8, 8\)"):
            score_masks(file, HOUSE)

    def test_attention_that_is_not_there(self, tmp_path, arrays):
        del arrays["attention"]
        file = read_masks(saved(tmp_path / "m.npz", arrays))
        with pytest.raises(ConfigError, match=r"scores attention, which .* has not"):
            score_masks(file, protocol("mbo/lsd"))


class TestWriting:
    def test_comes_back(self, tmp_path, arrays):
        parts = [{n: x[rows] for n, x in arrays.items()} for rows in (slice(0, 4), slice(4, 7))]
        write_masks(tmp_path / "new" / "m.npz", parts, 7, {"run": "here"})
        found = read_masks(tmp_path / "new" / "m.npz").arrays
        assert str(found["about"]) == '{"run": "here"}'
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        assert [f.name for f in (tmp_path / "new").iterdir()] == ["m.npz"]

    def test_an_error_leaves_the_old_file(self, tmp_path, arrays):
        path = saved(tmp_path / "m.npz", arrays)
        before = path.read_bytes()

        def broken():
            yield arrays
            raise OSError("No space left on device")

        with pytest.raises(OSError, match="No space"):
            write_masks(path, broken(), 14, {})
        assert path.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_another_ending(self, tmp_path, arrays):
        with pytest.raises(ConfigError, match=r"should end in \.npz"):
            write_masks(tmp_path / "m.npy", [arrays], 7, {})


class TestBadFiles:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"masks": None, "attention": None}, "has none of the arrays masks"),
            ({"segmentation": None}, "say truth=FILE"),
            (
                {"mask": np.zeros(3)},
                "an array 'mask', which no mask file has; did you mean 'masks'",
            ),
            ({"segmentation": np.zeros((8, 8), int)}, r"segmentation in .* is \(8, 8\)"),
            ({"segmentation": np.zeros((0, 8, 8), int)}, r"segmentation in .* is \(0, 8, 8\)"),
            ({"segmentation": np.zeros((7, 8, 8))}, "segmentation in .* numbers of type float64"),
            ({"masks": np.zeros((6, 3, 4, 4))}, "masks in .* has 6 examples, segmentation 7"),
            ({"masks": np.zeros((7, 4, 4))}, r"masks in .* is \(7, 4, 4\)"),
            ({"masks": np.full((7, 3, 4, 4), np.nan)}, "masks in .* not finite"),
            ({"labels": np.full((7, 8, 8), -1)}, "labels in .* has numbers below 0"),
            ({"ignore": np.zeros((7, 8, 9), bool)}, r"ignore in .* is \(7, 8, 9\)"),
            ({"index": np.zeros(7, int)}, "index in .* has a number twice"),
            ({"index": np.int64(3)}, "index in .* has no examples"),
            ({"about": np.array(["a"], object)}, "about in .* numbers of type object"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, arrays, changes, reason):
        given = {n: x for n, x in (arrays | changes).items() if x is not None}
        with pytest.raises(ConfigError, match=reason):
            read_masks(saved(tmp_path / "m.npz", given))

    def test_nothing_is_executed(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "executed",))

        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.array([Trap()], object), allow_pickle=True)
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
            archive.writestr("masks.npy", stream.getvalue())
        with pytest.raises(ConfigError, match=r"masks in .* numbers of type object"):
            read_masks(tmp_path / "m.npz")
        assert not (tmp_path / "executed").exists()
        (tmp_path / "p.npz").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ConfigError, match=r"is no sound \.npz file"):
            read_masks(tmp_path / "p.npz")
        assert not (tmp_path / "executed").exists()

    def test_a_header_that_promises_more_than_there_is(self, tmp_path):
        stream = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(stream, header)
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
            archive.writestr("masks.npy", stream.getvalue() + bytes(64))
        with pytest.raises(ConfigError, match="masks ends before its last number"):
            read_masks(tmp_path / "m.npz")

    def test_more_bytes_than_anyone_wants(self, tmp_path, arrays, monkeypatch):
        monkeypatch.setattr(mask_files, "LARGEST", 100)
        with pytest.raises(ConfigError, match=r"unpacks to 1,472 bytes or more, too many"):
            read_masks(saved(tmp_path / "m.npz", arrays))

    @pytest.mark.parametrize("keep", [0, 10, 200, 1500, -30])
    def test_cut_off(self, tmp_path, arrays, keep):
        path = saved(tmp_path / "m.npz", arrays)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ConfigError, match=r"is no sound \.npz file"):
            read_masks(path)

    def test_bits_flipped(self, tmp_path, arrays):
        path = saved(tmp_path / "m.npz", arrays)
        whole = path.read_bytes()
        draw = np.random.default_rng(0)
        for place in draw.integers(0, len(whole), 200):
            broken = bytearray(whole)
            broken[place] ^= 1 << int(draw.integers(8))
            path.write_bytes(bytes(broken))
            with contextlib.suppress(ConfigError):  # anything else is a failure
                read_masks(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_masks(tmp_path / "none.npz")

    def test_a_number_the_truth_has_not(self, tmp_path, arrays):
        truth = {n: arrays[n][1:] for n in ("segmentation", "index")}
        saved(tmp_path / "t.npz", truth)
        with pytest.raises(ConfigError, match="has no example 9"):
            read_masks(saved(tmp_path / "m.npz", arrays), tmp_path / "t.npz")
