"""Runs that are killed or stopped at random moments and started again, or started twice."""

import re
import signal
import time
from collections.abc import Callable

from scripts.campaign.compare import last_step, saved, unfinished
from scripts.campaign.programs import Place, Program
from scripts.campaign.rows import Row

STEPS_A_KILL = 30
"""A run that is killed n times is so many times n long: it must not end before."""


def killed(place: Place, times: int) -> Row:
    """SIGKILL: in turn at any moment, at a further step, and in the middle of a save."""
    row, run, steps = Row("SIGKILL"), place.folder / "killed", _long(place, times)
    moments = (_any_moment, _further_step, _in_a_save)
    for number in range(times):
        program = place.start(run, steps=steps)
        moments[number % len(moments)](place, program)
        program.end(signal.SIGKILL)
        row.hit[program.stage()] += 1
        row.wrong += program.complaints(-signal.SIGKILL)
    row.wrong += place.finish(run, steps=steps)
    name = "undisturbed" if steps == place.steps else "undisturbed-long"
    row.compare(run, place.undisturbed(name, steps=steps))
    left = [*unfinished(run), *run.glob("*.tmp")]
    row.told = f"no other line on stderr; {len(left)} temporary files left at the end"
    return row


def _long(place: Place, times: int) -> int:
    """Steps that are not made before the kills are."""
    return max(place.steps, STEPS_A_KILL * times)


def killed_at_first(place: Place) -> Row:
    """SIGKILL while a new run's settings are written, by what it leaves: too short to be met."""
    row, run = Row("SIGKILL while `config.json` is written"), place.folder / "at-first"
    run.mkdir()
    (run / "config.json.1.tmp").write_text('{"name": ')
    row.hit["starting"] += 1
    row.wrong += place.finish(run)
    row.compare(run, place.undisturbed("undisturbed"))
    row.told = "what it leaves was made by hand: the moment is too short to be met"
    return row


def stopped(place: Place, number: signal.Signals, times: int) -> Row:
    """SIGTERM or SIGINT while it trains: the step where it stops is saved, and none is repeated."""
    row, run, seen = Row(number.name), place.folder / f"stopped-{number.name}", 0
    for _ in range(times):
        program = place.start(run)
        wanted = seen + place.random.randint(1, max(1, place.steps // times - 10))
        there = program.until(lambda wanted=wanted: last_step(run) >= wanted)
        time.sleep(place.random.uniform(0, 0.05))
        if not there or last_step(run) >= place.steps:
            row.wrong.append("the run ended before it could be stopped")
            break
        program.end(number)
        row.hit[program.stage()] += 1
        row.wrong += program.complaints(128 + number, f"Stopped by {number.name} at step")
        step = re.search(r"at step ([\d,]+), which is saved", program.said)
        newest = saved(run)[0] if saved(run) else None
        if step is None or not int(step[1].replace(",", "")) == newest == last_step(run):
            row.wrong.append(f"stopped at step {last_step(run)}, saved at step {newest}")
        if seen and f"Going on from step {seen:,}." not in program.said:
            row.wrong.append(f"did not go on from step {seen}")
        seen = last_step(run)
    row.wrong += place.finish(run)
    row.compare(run, place.undisturbed("undisturbed"))
    row.told = f"exit status {128 + number}, one sentence; the step where it stopped is saved"
    return row


def stopped_early(place: Place, number: signal.Signals, times: int) -> Row:
    """The same signals while a program starts, restores or compiles: nothing is there to save."""
    row, run = Row(f"{number.name} at once"), place.folder / f"early-{number.name}"
    for _ in range(times):
        program = place.start(run)
        program.until(lambda program=program: "Training " in program.said)
        time.sleep(place.random.uniform(0, 1))
        program.end(number)
        row.hit[program.stage()] += 1
        if program.status == -number == -signal.SIGTERM:  # a shell shows 143 for both
            row.wrong += program.complaints(-number)
        else:
            row.wrong += program.complaints(128 + number, f"Stopped by {number.name}")
    row.wrong += place.finish(run)
    row.compare(run, place.undisturbed("undisturbed"))
    row.told = f"ended by the signal, or exit status {128 + number} and one sentence"
    return row


def started_twice(place: Place, times: int) -> Row:
    """The same command once more while a run is trained, which is held still for so long."""
    row, run = Row("the same command a second time"), place.folder / "twice"
    program = place.start(run)
    for _ in range(times):
        _step(program, place.random.randint(1, place.steps // (2 * times)))
        program.process.send_signal(signal.SIGSTOP)
        row.hit[program.stage()] += 1
        row.wrong += place.start(run).complaints(1, "Another process trains in")
        program.process.send_signal(signal.SIGCONT)
    row.wrong += program.complaints(0)
    row.compare(run, place.undisturbed("undisturbed"))
    row.told = "exit status 1, one sentence; the first goes on undisturbed"
    return row


def _any_moment(place: Place, program: Program) -> None:
    begun, first = time.monotonic(), last_step(program.run)
    delay = place.random.uniform(0, 4)
    bound = first + STEPS_A_KILL // 2  # where a start is quick
    program.until(lambda: time.monotonic() - begun > delay or last_step(program.run) > bound)


def _further_step(place: Place, program: Program) -> None:
    _step(program, place.random.randint(1, STEPS_A_KILL // 2))
    time.sleep(place.random.uniform(0, 0.02))


def _in_a_save(place: Place, program: Program) -> None:
    _step(program, 1)
    program.until(program.saves)
    # Within its first milliseconds, or anywhere in it: it takes some tenths of a second.
    time.sleep(place.random.uniform(0, place.random.choice((0.01, 0.3))))


def _step(program: Program, further: int) -> None:
    """Waits until it has made some steps of its own."""
    program.until(_told(program))
    wanted = last_step(program.run) + further - 1
    program.until(lambda: last_step(program.run) >= wanted)


def _told(program: Program) -> Callable[[], bool]:
    return lambda: program.stage() not in ("starting", "before the first step")
