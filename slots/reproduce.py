"""A paper's row run again: its settings, seeds and protocol, and a card of what came of it."""

import dataclasses
import hashlib
import json
import math
import resource
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slots import presets, runs, visualize
from slots.config import ConfigError, nearest, override, replace
from slots.data import Dataset
from slots.evaluation import Evaluation, protocol
from slots.evaluation.evaluation import counted, measured_by
from slots.experiment import ExperimentConfig
from slots.files import finite_or_none, write_whole
from slots.models import Definition, count_parameters
from slots.provenance import commit, machine
from slots.published import ROWS, Row
from slots.training import read_records

CARD, CURVES = "card.json", "curves.png"


def reproduce(
    row: Row,
    folder: Path,
    *,
    full: bool = False,
    settings: Sequence[str] = (),
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains, evaluates and writes `card.json` and `curves.png`; goes on where it was stopped.

    Args:
        row: which one.
        folder: for the run and the card.
        full: the paper's own size in place of the compact one.
        settings: further `key=value`, such as `data.path=DIR`.
        command: words that the card repeats.

    Returns:
        The card.

    Raises:
        ConfigError: the row has no compact form, or the settings do not work.
    """
    name = row.preset if full else row.compact
    if name is None:
        raise ConfigError(f"{row.name} has no compact form; say --full and data.path=DIR.")
    wanted = protocol(row.protocol)
    seeds = wanted.seeds or 3
    config = override(presets.load(name), [f"train.seeds={seeds}", *settings])
    run = runs.train(config, folder / "run")
    result = runs.evaluate(_by(run, row.protocol))
    card = _card(row, config, run, result, full) | {"command": shlex.join(command)}
    records = read_records(run.folder / "metrics.jsonl")
    measured = [record for record in records if record["kind"] == "val"]
    told = f"scores: {measured_by(measured[-1], run.seeds)}" if measured else ""
    figure = visualize.training_curves(records, _shown(result), caption=told)
    figure.savefig(folder / CURVES, dpi=100)
    write_whole(folder / CARD, json.dumps(card, indent=2) + "\n")
    return card


def verdict(ours: float, spread: float, theirs: float, their_spread: float | None) -> str:
    """Our mean ± std over seeds beside a published one, in words.

    `within the spread` are differences of at most two of their joint standard deviations, or, of
    numbers without a spread on one side, 0.01.
    """
    if not math.isfinite(ours):
        return "undefined"
    known = [s for s in (spread, their_spread) if s is not None and math.isfinite(s)]
    margin = max(2 * math.sqrt(sum(s * s for s in known)), 0.01 if len(known) < 2 else 0.0)
    difference = f"{'above' if ours > theirs else 'below'} by {abs(ours - theirs):.3f}"
    return difference + (", within the spread" if abs(ours - theirs) <= margin else "")


def fingerprint(dataset: Dataset, split: str, count: int, batch_size: int = 64) -> str:
    """SHA-256 of the held-out examples that are scored, and of the first that is trained on."""
    digest = hashlib.sha256()
    batches = [*dataset.held_out(split, batch_size, count), next(dataset.train(batch_size))]
    for batch in batches:
        for leaf in jax.tree.leaves(jax.device_get(batch)):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _by(run: runs.Run, name: str) -> runs.Run:
    """The run, to be scored under another protocol on as many examples as it has."""
    experiment = run.experiment
    config = replace(experiment.config, eval__protocol=name)
    return dataclasses.replace(run, experiment=dataclasses.replace(experiment, config=config))


def _card(
    row: Row, config: ExperimentConfig, run: runs.Run, result: Evaluation, full: bool
) -> dict[str, Any]:
    records = read_records(run.folder / "metrics.jsonl")
    rates = [r["steps_per_second"] for r in records if r["kind"] == "train"]
    dataset = run.experiment.dataset
    scored = len(result.per_example["index"])
    compared = {}
    for name, (theirs, their_spread) in row.values.items():
        found = result.statistics.get(name)
        ours, spread = (found.mean, found.seeds_std) if found else (math.nan, math.nan)
        compared[name] = {
            "ours": ours,
            "ours_std": spread,
            "paper": theirs,
            "paper_std": their_spread,
            "verdict": verdict(ours, spread, theirs, their_spread),
        }
    card = {
        "row": row.name,
        "size": "full" if full else "compact",
        "preset": config.name,
        "note": "" if full else row.difference,
        "commit": commit(),
        "hardware": machine(),
        "protocol": result.protocol.id,
        "items": {"scored": scored, "asked": result.protocol.items},
        "seeds": list(run.seeds),
        "steps": run.step,
        "parameters": _parameters(config, dataset),
        "steps_per_second": statistics.median(rates) if rates else None,
        "peak_memory_mib": _peak_memory(),
        "data_sha256": fingerprint(dataset, config.eval.split, scored),
        "values": compared,
        "all": {n: [s.mean, s.seeds_std] for n, s in result.statistics.items()},
        "verdicts": [str(told) for told in result.verdicts],
    }
    return dict(finite_or_none(card))


def _parameters(config: ExperimentConfig, dataset: Dataset) -> int:
    definition = Definition.of(config.model, dataset.image_shape)
    return count_parameters(jax.eval_shape(definition.init, jax.random.key(0))[0])


def _peak_memory() -> float:
    """MiB that this process, or its device, has held at most."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return float(device.memory_stats()["peak_bytes_in_use"]) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _shown(result: Evaluation) -> list[str]:
    return [
        "loss",
        *(n for n in ("fg_ari", "ari", "mbo", "ap_inf", "ap_0.5") if n in result.statistics),
    ]


def find(name: str) -> Row:
    """The row called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in ROWS:
        hint = nearest(name, ROWS) or "; `slots reproduce` lists them."
        raise ConfigError(f"There is no row {name!r}{hint}")
    return ROWS[name]


def card_lines(card: Mapping[str, Any]) -> list[str]:
    """A card in words."""
    items = card["items"]
    lines = [
        f"{card['row']}, {card['size']}: {card['preset']}, {card['steps']:,} steps, "
        f"{card['parameters']:,} parameters",
        f"  protocol {card['protocol']}, {counted(**items)}, "
        f"seeds {', '.join(map(str, card['seeds']))}",
    ]
    for name, value in card["values"].items():
        ours = "undefined" if value["ours"] is None else f"{value['ours']:.4f}"
        spread = "" if value["ours_std"] is None else f" ± {value['ours_std']:.4f}"
        theirs = f"{value['paper']:.4f}"
        theirs += "" if value["paper_std"] is None else f" ± {value['paper_std']:.4f}"
        lines.append(f"  {name:<8} {ours}{spread}, paper {theirs}: {value['verdict']}")
    if card["note"]:
        lines.append(f"  {card['note']}")
    return lines
