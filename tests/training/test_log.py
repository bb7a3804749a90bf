"""What a run writes: records that resume cleanly, and a progress line."""

import contextlib
import json
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slots.config import ConfigError
from slots.files import finite_or_none, write_whole, writing
from slots.training import LogConfig, read_records
from slots.training.log import MetricsLog, Progress, clock

PLAIN = LogConfig(tensorboard=False)
NAN = float("nan")


def write(folder: Path, *steps: int, start: int = 0) -> None:
    """One session that writes a record per step."""
    log = MetricsLog(folder, PLAIN, step=start)
    for step in steps:
        log.write(step, "train", {"loss": step / 2})
    log.close()


def events(path: Path) -> Iterator[Any]:
    """What TensorBoard finds in a file."""
    from tensorboardX.proto.event_pb2 import Event

    data = path.read_bytes()
    while data:
        (size,) = struct.unpack("Q", data[:8])
        yield Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


class TestRecords:
    def test_are_one_object_a_line(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path, PLAIN, step=0)
        log.write(3, "val", {"ari": {"mean": 0.5, "stderr": NAN, "count": 1}, "loss": NAN})
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # already on disk
        log.close()
        assert json.loads(line) == {
            "step": 3,
            "kind": "val",
            "ari": {"mean": 0.5, "stderr": None, "count": 1},
            "loss": None,
        }

    def test_past_the_restored_step_are_dropped(self, tmp_path: Path) -> None:
        write(tmp_path, 1, 2, 3, 4)
        write(tmp_path, 3, 4, 5, start=2)
        assert [r["step"] for r in read_records(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]

    def test_cut_short_are_left_out(self, tmp_path: Path) -> None:
        write(tmp_path, 1, 2)
        path = tmp_path / "metrics.jsonl"
        path.write_text(path.read_text() + '{"step": 3, "lo')
        assert [r["step"] for r in read_records(path)] == [1, 2]
        write(tmp_path, 3, start=2)
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]

    def test_are_none_where_there_is_no_file(self, tmp_path: Path) -> None:
        assert read_records(tmp_path / "metrics.jsonl") == []

    def test_of_several_members(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path, LogConfig(), step=0)
        log.write(1, "train", {"loss": {"mean": NAN, "std": NAN, "members": [0.5, NAN]}})
        log.close()
        (record,) = read_records(tmp_path / "metrics.jsonl")
        assert record["loss"] == {"mean": None, "std": None, "members": [0.5, None]}
        (events,) = (tmp_path / "tensorboard").iterdir()
        data = events.read_bytes()
        assert b"train/loss/0" in data
        assert b"train/loss/1" not in data

    def test_go_to_tensorboard_too(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path, LogConfig(), step=0)
        log.write(1, "train", {"loss": 0.5, "ari": {"mean": 0.1}, "undefined": None})
        log.close()
        (events,) = (tmp_path / "tensorboard").iterdir()
        data = events.read_bytes()
        assert b"train/loss" in data
        assert b"train/ari" in data
        assert b"train/undefined" not in data

    def test_past_the_restored_step_are_hidden_in_tensorboard(self, tmp_path: Path) -> None:
        MetricsLog(tmp_path, LogConfig(), step=7).close()
        (path,) = (tmp_path / "tensorboard").iterdir()
        _, started = list(events(path))
        assert started.step == 8
        assert started.HasField("session_log")

    @pytest.mark.parametrize(("value", "wanted"), [(NAN, None), (float("inf"), None), (1.5, 1.5)])
    def test_undefined_numbers_become_null(self, value: float, wanted: float | None) -> None:
        assert finite_or_none(value) == wanted


class TestProgress:
    def test_a_line_per_report_where_nobody_watches(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        progress = Progress(1000, 8, start=0)
        rates = progress.show(500, 0.25)
        progress.say("hello")
        line, said = capsys.readouterr().err.splitlines()
        assert line.startswith("step 500/1,000 | loss 0.25000 | ")
        assert line.endswith(" left")
        assert said == "hello"
        assert rates["images_per_second"] == pytest.approx(8 * rates["steps_per_second"])

    def test_of_several_members(self, capsys: pytest.CaptureFixture[str]) -> None:
        Progress(1000, 24, start=0).show(500, 0.25, 0.125)
        assert "| loss 0.25000 ± 0.12500 |" in capsys.readouterr().err

    def test_stays_in_place_on_a_terminal(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        progress = Progress(10, 8, start=0)
        progress.show(5, 0.25)
        progress.show(6, 0.25)
        shown = capsys.readouterr().err
        assert shown.count("\r") == 2
        assert "\n" not in shown
        progress.say("hello")
        assert capsys.readouterr().err == "\nhello\n"

    def test_a_pause_counts_only_what_happens_inside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: now)
        progress = Progress(100, 8, start=0)
        now = 3.0  # three seconds of steps, seven of evaluation, one of steps
        with progress.paused():
            now = 10.0
        now = 11.0
        assert progress.show(8, 0.25)["steps_per_second"] == pytest.approx(2)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.0, "59:59"), (3661.0, "1:01:01")],
    )
    def test_clock(self, seconds: float, text: str) -> None:
        assert clock(seconds) == text


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may have more than 4096 bytes, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestFullDisk:
    def test_is_called_so_with_the_file(self) -> None:
        with (
            pytest.raises(OSError, match=r"^/dev/full could not be written: the disk is full\.$"),
            writing(Path("/dev/full")),
            Path("/dev/full").open("w") as file,
        ):
            file.write("text")

    @pytest.mark.usefixtures("small_files")
    def test_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        write_whole(path, "old")
        with pytest.raises(OSError, match=r"config\.json could not be written: File too large\.$"):
            write_whole(path, 5000 * "x")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.usefixtures("small_files")
    @pytest.mark.parametrize(("tensorboard", "name"), [(False, "metrics"), (True, "events.out")])
    def test_records_and_curves_say_which_file(
        self, tmp_path: Path, tensorboard: bool, name: str
    ) -> None:
        log = MetricsLog(tmp_path, LogConfig(tensorboard=tensorboard), step=0)

        def fill() -> None:
            for step in range(1000):
                # Their names make curves' file the larger one.
                long = {f"{'long' * 300}{i}": 0.5 for i in range(2)} if tensorboard else {}
                log.write(step % 2, "train", {"loss": 0.5, **long})
                if tensorboard:
                    log._file.truncate(0)  # type: ignore[union-attr]

        with pytest.raises(OSError, match=rf"{name}.* could not be written: File too large\.$"):
            fill()
        with contextlib.suppress(OSError):  # what could not be written can't be now
            log.close()


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"log\.every=0"):
        LogConfig(every=0)
