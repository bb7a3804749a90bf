"""TFRecord framing: check sums, compression of the whole file, random access, damage."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from slots.data.pictures import BadFile
from slots.data.tfrecord import RecordFiles, compression_of, iterate, masked_crc, parse

from .records import example, frame, write_records

RECORDS = [b"", b"a", b"records" * 1000, bytes(range(256))]


def test_check_sum_is_crc32c():
    # The CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4 gives others of its kind).
    crc = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert ((crc << 15 | crc >> 17) & 0xFFFFFFFF) == 0xE3069283
    zeros = (masked_crc(bytes(32)) - 0xA282EAD8) & 0xFFFFFFFF
    assert ((zeros << 15 | zeros >> 17) & 0xFFFFFFFF) == 0x8A9136AA


@pytest.mark.parametrize("compression", ["none", "gzip", "zlib"])
def test_records_come_back(tmp_path: Path, compression):
    path = write_records(tmp_path / "r", RECORDS, compression)
    assert compression_of(path) == compression
    assert list(iterate(path)) == RECORDS


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_file_of_many_chunks(tmp_path: Path, compression):
    records = [np.random.default_rng(n).bytes(2**20 + n) for n in range(4)]
    assert list(iterate(write_records(tmp_path / "r", records, compression))) == records


def test_who_stops_early_leaves_no_file_open(tmp_path: Path, monkeypatch):
    opened = []
    real = Path.open
    path = write_records(tmp_path / "r", RECORDS)
    monkeypatch.setattr(Path, "open", lambda *words: opened.append(real(*words)) or opened[-1])
    records = iterate(path)
    next(records)
    assert opened
    assert all(file.closed for file in opened)


def test_several_gzip_members_are_one_stream(tmp_path: Path):
    whole = frame(RECORDS)
    (tmp_path / "r").write_bytes(gzip.compress(whole[:2000]) + gzip.compress(whole[2000:]))
    assert list(iterate(tmp_path / "r")) == RECORDS


def test_a_plain_file_may_begin_as_zlib_does(tmp_path: Path):
    record = bytes(0x9C78)  # the length's first bytes are those of a zlib stream
    assert compression_of(write_records(tmp_path / "r", [record])) == "none"
    assert RecordFiles([tmp_path / "r"])[0] == record


def test_random_access_over_files(tmp_path: Path):
    one = write_records(tmp_path / "1", RECORDS[:3])
    other = write_records(tmp_path / "2", RECORDS[3:])
    files = RecordFiles([one, other])
    assert len(files) == 4
    assert [files[i] for i in (3, 0, 2)] == [RECORDS[3], RECORDS[0], RECORDS[2]]


def test_no_random_access_in_what_is_compressed(tmp_path: Path):
    with pytest.raises(BadFile, match="is compressed as a whole"):
        RecordFiles([write_records(tmp_path / "r", RECORDS, "gzip")])


class TestDamage:
    @pytest.mark.parametrize("compression", ["none", "gzip", "zlib"])
    @pytest.mark.parametrize("missing", [1, 6, 20, 300])
    def test_cut_off(self, tmp_path: Path, compression, missing):
        path = write_records(tmp_path / "r", RECORDS, compression)
        path.write_bytes(path.read_bytes()[: -min(missing, path.stat().st_size - 3)])
        with pytest.raises(BadFile, match=r"ends in the middle of record|is damaged"):
            list(iterate(path))
        if compression == "none":
            with pytest.raises(BadFile, match=r"ends in the middle of a record|is damaged"):
                RecordFiles([path])

    def test_no_records(self, tmp_path: Path):
        (tmp_path / "r").write_bytes(b"GIF89a and more than twelve bytes")
        for read in (lambda: list(iterate(tmp_path / "r")), lambda: RecordFiles([tmp_path / "r"])):
            with pytest.raises(BadFile, match="is no TFRecord"):
                read()

    def test_a_length_beyond_reason(self, tmp_path: Path):
        header = (2**60).to_bytes(8, "little")
        (tmp_path / "r").write_bytes(header + masked_crc(header).to_bytes(4, "little") + bytes(9))
        with pytest.raises(BadFile, match=r"it says that it has 1,152,921,504,606,846,976 bytes"):
            list(iterate(tmp_path / "r"))

    def test_no_file(self, tmp_path: Path):
        with pytest.raises(BadFile, match="cannot be read"):
            list(iterate(tmp_path / "r"))

    def test_cut_after_it_was_opened(self, tmp_path: Path):
        files = RecordFiles([write_records(tmp_path / "r", RECORDS)])
        (tmp_path / "r").write_bytes(b"")
        with pytest.raises(BadFile, match="became shorter"):
            files[2]


class TestParse:
    def test_three_kinds_of_lists(self):
        made = example(
            {
                "bytes": np.array([7, 255], np.uint8),
                "text": [b"hello"],
                "float": np.array([0.5, -2], np.float32),
                "int": np.array([-1, 2**40]),
            }
        )
        found = parse(made, Path("x"))
        assert (found["bytes"], found["text"]) == ([b"\x07", b"\xff"], [b"hello"])
        np.testing.assert_array_equal(found["float"], np.array([0.5, -2], np.float32))
        np.testing.assert_array_equal(found["int"], [-1, 2**40])

    @pytest.mark.parametrize(
        "values", [[], [b"a"], [b"\x00", b"\x01", b"\xff"], [b"", b"ab"], [b"abc"]]
    )
    def test_joined_bytes(self, values):
        found = parse(example({"x": values}), Path("x"), join=True)["x"]
        assert isinstance(found, np.ndarray)
        assert found.tobytes() == b"".join(values)

    def test_no_example(self):
        with pytest.raises(BadFile, match=r"x holds a record that is no tf.train.Example"):
            parse(b"\xff\xff\xff", Path("x"))
