"""The campaign of kills and harms: its short version holds, and what is broken makes it fail."""

import functools
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `scripts` is no package of the distribution

from scripts.campaign import __main__ as program  # noqa: E402
from scripts.campaign import damage, data, disk, kills  # noqa: E402
from scripts.campaign.compare import differences, restored, saved  # noqa: E402
from scripts.campaign.programs import Place, Program  # noqa: E402
from scripts.campaign.rows import Row  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Runs without figures, whose programs compile fast."""
    made = Place(tmp_path_factory.mktemp("campaign"), steps=60, figures=False)
    made.undisturbed("undisturbed")  # first: the programs that it compiles are kept for the others
    return made


def holds(row: Row, times: int) -> None:
    assert not row.wrong, row.cells()
    assert row.times == times


class TestShortVersion:
    def test_killed_at_any_moment_at_a_step_and_in_a_save(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kills, "STEPS_A_KILL", 20)
        holds(kills.killed(place, 3), 3)

    def test_stopped_and_saved(self, place: Place) -> None:
        holds(kills.stopped(place, signal.SIGTERM, 1), 1)

    @pytest.mark.slow
    def test_files_that_may_not_grow(self, place: Place) -> None:
        holds(disk.file_limit(place, 1), 1)

    def test_damaged_checkpoints(self, place: Place) -> None:
        row = damage.damaged_read(place, 3)
        holds(row, 3)
        assert row.hit["emptied, noticed"] == 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "hazard",
        [
            kills.killed_at_first,
            functools.partial(kills.stopped_early, number=signal.SIGINT, times=1),
            functools.partial(kills.started_twice, times=1),
            functools.partial(damage.damaged_programs, times=1),
            functools.partial(damage.damaged_cache, times=1),
            functools.partial(data.lost_pictures, times=1),
            functools.partial(data.poisoned, times=1),
            functools.partial(data.all_poisoned, times=1),
        ],
        ids=lambda hazard: getattr(hazard, "func", hazard).__name__,
    )
    def test_the_other_hazards(self, place: Place, hazard: Callable[[Place], Row]) -> None:
        holds(hazard(place), 1)

    @pytest.mark.slow
    def test_a_full_disk_or_why_there_is_none(self, place: Place) -> None:
        row = disk.full_disk(place, 3)
        holds(row, 0 if "mounting was refused" in row.told else 3)


class TestWhatIsBroken:
    @pytest.mark.slow
    def test_a_run_that_goes_on_with_another_seed(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Resuming that is broken on purpose: the settings are changed behind the run's back."""
        run = tmp_path / "run"
        shutil.copytree(place.half, run)
        settings = json.loads((run / "config.json").read_text())
        settings["train"]["seed"] += 1
        (run / "config.json").write_text(json.dumps(settings))
        monkeypatch.setattr(place.random, "random", lambda: 0.0)  # `slots train RUN`
        row = Row("broken", Counter(training=1), wrong=place.finish(run))
        row.compare(run, place.undisturbed("undisturbed"))
        first, second = row.wrong
        assert first.endswith(" ended otherwise")
        assert second.startswith("metrics.jsonl differs at step")
        assert row.cells()[-1].startswith("FAIL: ")

    def test_records_that_are_missing_doubled_or_others(self, place: Place, tmp_path: Path) -> None:
        run = tmp_path / "run"
        shutil.copytree(place.half, run)
        assert differences(run, place.half) == []
        records = run / "metrics.jsonl"
        lines = records.read_text().splitlines(keepends=True)
        for other in (lines[:5] + lines[6:], lines[:6] + lines[5:]):
            records.write_text("".join(other))
            assert differences(run, place.half) == ["metrics.jsonl has other steps"]
        changed = json.loads(lines[5])
        changed["loss"] += 1e-9
        records.write_text("".join([*lines[:5], json.dumps(changed) + "\n", *lines[6:]]))
        assert differences(run, place.half) == [f"metrics.jsonl differs at step {changed['step']}"]

    def test_states_of_other_bits(self, place: Place, tmp_path: Path) -> None:
        run = tmp_path / "run"
        shutil.copytree(place.half, run)
        newest, older = saved(run)[:2]
        shutil.rmtree(run / "checkpoints" / str(newest))
        found = differences(run, place.half)
        assert found[0] == f"it ended at step {older}, not {newest}"
        assert restored(run)[1] == older

    def test_what_programs_should_not_say(self, tmp_path: Path) -> None:
        sentence = "slots: The disk is full."
        assert said(tmp_path, 1, sentence).complaints(1, "full") == []
        assert said(tmp_path, 1, sentence).complaints(1, "empty") == [
            f"'empty' is not in: {sentence}"
        ]
        assert said(tmp_path, 0, sentence).complaints(1, "full") == [
            f"exit status 0 in place of 1: {sentence}"
        ]
        assert said(tmp_path, 0, sentence).complaints(0) == [sentence]
        assert said(tmp_path, 1, "").complaints(1, "full") == ["0 sentences in place of one"]
        traceback = f"Traceback (most recent call last):\n  File x\nOSError: full\n{sentence}"
        assert said(tmp_path, 1, traceback).complaints(1, "full") == [
            "it also said: Traceback (most recent call last):"
        ]

    def test_a_run_that_is_over_before_it_is_stopped(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(place, "folder", tmp_path)
        monkeypatch.setattr(place, "start", lambda run: said(tmp_path, 0, "The run is in X"))
        row = kills.stopped(place, signal.SIGTERM, 1)
        assert row.wrong[0] == "the run ended before it could be stopped"
        assert "has no checkpoints" in row.wrong[1]

    def test_makes_the_exit_status_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good, bad = Row("rain", Counter(roof=2)), Row("snow", Counter(road=1), wrong=["it melted"])
        out = tmp_path / "page.md"
        for found, status in (([good], 0), ([good, bad], 1)):
            wanted = [lambda place, row=row: row for row in found]
            monkeypatch.setattr(program, "hazards", lambda *_, wanted=wanted, **__: wanted)
            monkeypatch.setattr(sys, "argv", ["campaign", "--out", str(out)])
            assert program.main() == status
        text = out.read_text()
        assert "`python -m scripts.campaign --out" in text
        assert "| rain | 2 | 2 roof |  | the same |" in text
        assert "| snow | 1 | 1 road |  | FAIL: it melted |" in text
        assert "FAIL  snow" in capsys.readouterr().out


def said(folder: Path, status: int, text: str) -> Program:
    """A program that ended so and wrote this."""
    err = folder / "err"
    err.write_text(text)
    ended = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({status})"])
    return Program(folder, ended, err)
