"""Pictures that vanish or break while they are trained on, and batches that hold a NaN."""

import itertools
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from scripts.campaign.compare import last_step, restored, saved
from scripts.campaign.programs import Place
from scripts.campaign.rows import Row
from slots.training import read_records

_PICTURES = 48


def lost_pictures(place: Place, times: int) -> Row:
    """A picture vanishes or is cut short while it is trained on; put back, training goes on."""
    row, pictures = Row("picture lost while training"), place.folder / "pictures"
    _draw(pictures)
    settings = ("data=folder", f"data.path={pictures}", "data.image_size=[35,35]", "eval.count=4")
    # So few pictures would be kept in memory and never read again.
    how = {"starter": ["unkept"]}
    whole = place.undisturbed("undisturbed-pictures", *settings, **how)
    for number in range(times):
        run = place.folder / f"pictures-{number}"
        program = place.start(run, *settings, **how)
        wanted = place.random.randint(10, place.steps // 4)
        program.until(lambda run=run, wanted=wanted: last_step(run) >= wanted)
        before = saved(run)
        victim = place.random.choice(sorted(pictures.glob("train/*.png")))
        kept = victim.read_bytes()
        if number % 2:
            # Its first half at most: without its last bytes, a PNG still has all of its pixels.
            victim.write_bytes(kept[: place.random.randrange(len(kept) // 2)])
        else:
            victim.unlink()
        program.end()
        victim.write_bytes(kept)
        row.hit["cut short" if number % 2 else "deleted"] += 1
        row.wrong += program.complaints(1, str(victim))
        if before and saved(run)[0] < before[0]:
            row.wrong.append(f"step {before[0]} was saved, {saved(run)[0]} is left")
        row.wrong += place.finish(run, *settings, **how)
        row.compare(run, whole)
    row.told = "exit status 1, one sentence names the file; read file by file, not kept in memory"
    return row


def poisoned(place: Place, times: int) -> Row:
    """Some batches hold a NaN; the run is killed besides."""
    row, run = Row("NaN in some batches, killed besides"), place.folder / "poisoned"
    bad = sorted(place.random.sample(range(place.steps - 1), max(3, place.steps // 20)))
    how = {"starter": [f"nan={','.join(map(str, bad))}"]}
    whole = place.undisturbed("undisturbed-poisoned", **how)
    for number in range(times):
        program = place.start(run, **how)
        wanted = bad[(number + 1) * len(bad) // (times + 1)]
        program.until(lambda wanted=wanted: last_step(run) >= wanted)
        time.sleep(place.random.uniform(0, 0.3))
        program.end(signal.SIGKILL)
        row.hit[program.stage()] += 1
    row.wrong += place.finish(run, **how)
    row.compare(run, whole)
    skipped = read_records(run / "metrics.jsonl")[-2]["skipped"]
    if skipped != len(bad):
        row.wrong.append(f"{skipped} updates were left out, not {len(bad)}")
    row.wrong += _not_finite(run)
    row.told = f"{len(bad)} updates left out and counted; every array of the state finite"
    return row


def all_poisoned(place: Place, times: int) -> Row:
    """Every batch holds a NaN: the run gives up, and goes on when they don't."""
    row, run = Row("NaN in every batch"), place.folder / "all-poisoned"
    for _ in range(times):
        shutil.copytree(place.half, run)
        program = place.start(run, starter=["nan=all"])
        row.wrong += program.complaints(1, "not finite", "train.max_skipped=20", "is saved")
        row.hit[program.stage()] += 1
        row.wrong += _not_finite(run)
        shutil.rmtree(run)
    row.told = "exit status 1, one sentence after `train.max_skipped`; every array finite"
    return row


def _not_finite(run: Path) -> list[str]:
    state, step = restored(run)
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(state))]
    numbers = [array for array in arrays if np.issubdtype(array.dtype, np.floating)]
    sound = all(np.isfinite(array).all() for array in numbers)
    return [] if sound else [f"step {step} was saved with numbers that are not finite"]


def _draw(folder: Path) -> None:
    """Pictures of one bright square each, for training and held out."""
    for name, number in itertools.product(("train", "val"), range(_PICTURES)):
        draw = np.random.default_rng((number, len(name)))
        picture = np.zeros((35, 35, 3), np.uint8)
        row, column = draw.integers(0, 20, 2).tolist()
        picture[row : row + 12, column : column + 12] = draw.integers(80, 255, 3)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name / f"{number:03}.png")
