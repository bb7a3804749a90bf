"""Two processes train what one does; one killed, the job goes on to the same bits."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import OVERRIDES, PRESET, arrays, same_bits

import slots
from slots.cli import main
from slots.processes import _part, launched, shard
from slots.selftest.programs import free_port
from slots.training import MeshConfig, read_records
from slots.training.mesh import batch_sharding

STEPS = 8
WORDS = (
    "optimizer.epsilon=0.001",  # or Adam makes rounding errors as large as gradients
    f"train.steps={STEPS}",
)


def start(run: Path, number: int, port: int, *words: str) -> subprocess.Popen[str]:
    """Process `number` of two, with two devices each."""
    pair = (f"coordinator=localhost:{port}", "processes=2", f"process={number}")
    settings = (*OVERRIDES, *WORDS, "mesh.cpu_devices=2", f"run={run}", *words, *pair)
    return subprocess.Popen(
        [sys.executable, "-m", "slots", "train", PRESET, *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def both(run: Path, *words: str) -> list[subprocess.Popen[str]]:
    port = free_port()
    return [start(run, number, port, *words) for number in range(2)]


def finished(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What they said; fails unless both ended well."""
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


def until_step(run: Path, step: int) -> None:
    """Waits until the run has reported `step`."""
    for _ in range(1200):
        records = read_records(run / "metrics.jsonl")
        if any(record["step"] >= step for record in records):
            return
        time.sleep(0.1)
    raise AssertionError(f"{run} did not get to step {step}")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two processes."""
    run = tmp_path_factory.mktemp("processes") / "pair"
    first, second = finished(both(run))
    assert "The run is in" in first
    assert "step 8/8" in first
    assert "step" not in second  # one speaks
    return run


class TestPair:
    def test_equals_one_process(self, pair: Path, tmp_path: Path) -> None:
        words = [*OVERRIDES, *WORDS, "mesh.cpu_devices=4"]
        subprocess.run(
            [sys.executable, "-m", "slots", "train", PRESET, *words, f"run={tmp_path / 'one'}"],
            check=True,
            capture_output=True,
        )
        one, two = slots.restore(tmp_path / "one"), slots.restore(pair)
        for a, b in zip(arrays(one.params), arrays(two.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        ours, theirs = (read_records(r / "metrics.jsonl") for r in (pair, tmp_path / "one"))
        assert [r["step"] for r in ours] == [r["step"] for r in theirs]
        np.testing.assert_allclose(
            [r["loss"] for r in ours if r["kind"] == "train"],
            [r["loss"] for r in theirs if r["kind"] == "train"],
            rtol=1e-5,
        )
        (own,), (alone,) = ([r for r in found if r["kind"] == "val"] for found in (ours, theirs))
        assert set(own) == set(alone)
        for name in ("fg_ari", "mbo", "mse_mean"):
            assert own[name]["count"] == alone[name]["count"]
            assert own[name]["mean"] == pytest.approx(alone[name]["mean"], rel=1e-4)

    def test_writes_every_record_once(self, pair: Path) -> None:
        records = read_records(pair / "metrics.jsonl")
        assert [r["step"] for r in records if r["kind"] == "train"] == [*range(1, STEPS + 1)]
        assert sum(r["kind"] == "val" for r in records) == 1

    # JAX misses the first process, who keeps the list, at once, and others after half a minute.
    @pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
    def test_killed_and_started_again_it_ends_with_the_same_bits(
        self, pair: Path, tmp_path: Path, victim: int
    ) -> None:
        run = tmp_path / "killed"
        processes = both(run, f"train.steps={STEPS}")
        until_step(run, 3)
        processes[victim].send_signal(signal.SIGKILL)
        survivor = processes[1 - victim].communicate(timeout=200)[0]
        assert processes[1 - victim].returncode != 0
        assert "Start all of them again" in survivor.splitlines()[-1]
        processes[victim].communicate()
        finished(both(run))
        one, two = slots.restore(run), slots.restore(pair)
        assert same_bits(one.state, two.state)

    @pytest.mark.slow
    def test_a_signal_to_one_stops_both_at_the_same_step(self, tmp_path: Path) -> None:
        run = tmp_path / "stopped"
        processes = both(run, "train.steps=100000")
        until_step(run, 3)
        processes[1].send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=200)[0] for process in processes]
        assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, said
        assert "Stopped by SIGTERM" in said[0]
        step = slots.restore(run).step
        assert step == read_records(run / "metrics.jsonl")[-1]["step"]


class TestParts:
    @pytest.mark.parametrize("fsdp", [1, 2, 8])
    def test_one_process_reads_all(self, fsdp: int) -> None:
        mesh = MeshConfig(fsdp=fsdp).make()
        assert shard(batch_sharding(mesh), 16) == (0, 1)

    @pytest.mark.parametrize(("rows", "wanted"), [((4, 8), (1, 4)), ((8, 16), (1, 2))])
    def test_rows_of_other_processes_are_left_to_them(
        self, rows: tuple[int, int], wanted: tuple[int, int]
    ) -> None:
        middle = sum(rows) // 2
        assert _part([slice(rows[0], middle), slice(middle, rows[1])], 16) == wanted


class TestLaunched:
    @pytest.mark.parametrize(
        ("environment", "several"),
        [
            ({}, False),
            ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, False),  # in the job's script
            ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),
            ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, True),
            ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
            ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ],
        ids=str,
    )
    def test_a_step_of_several_tasks_is_recognised(
        self, environment: dict[str, str], several: bool
    ) -> None:
        assert launched(environment) == several


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["processes=2", "process=0"], "coordinator= is missing: processes started by hand"),
            (["coordinator=localhost:1", "process=0"], "processes= is missing"),
            (["coordinator=localhost:1", "processes=2"], "process= is missing"),
            (
                ["coordinator=localhost:1", "processes=2", "process=2"],
                "process=2 should be from 0 to 1.",
            ),
            (["coordinator=localhost:1", "processes=x", "process=0"], "processes='x' should be a"),
        ],
        ids=str,
    )
    def test_words_that_do_not_fit(
        self, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", PRESET, *words]) == 1
        assert text in capsys.readouterr().err
