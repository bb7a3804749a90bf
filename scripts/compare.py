"""All slot modules on the same data, encoder, decoder and budget: one table and one figure.

    python scripts/compare.py                                    all of it, or what is still missing
    python scripts/compare.py --tasks tetrominoes --methods mesh slot_attention --seeds 3
    python scripts/compare.py --share 0 2                        every second run, for two cores

A row is one run of several seeds in `runs/compare/`; it goes on where it was stopped. One that is
finished leaves a record in `docs/results/compare/` and is read back from there: remove the record
(and the run) to repeat it. Table and figure, beside the records, hold what is finished.
"""

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib

from slots.conditions import Condition, cell, finished, table, train_missing, write_table
from slots.config import ConfigError
from slots.evaluation.evaluation import measured_by
from slots.experiment import build, parameter_table
from slots.training import use_compilation_cache

FOLDER = Path("runs/compare")


@dataclasses.dataclass(frozen=True)
class Task:
    """Data and budget, the same for all methods, and what is measured."""

    label: str
    settings: tuple[str, ...]
    metrics: dict[str, int]
    """Columns and their digits."""


DISCOVERY = {"fg_ari": 3, "ari": 3, "mbo": 3, "mse_mean": 4}
SETS = {"ap_inf": 3, "ap_1": 3, "ap_0.5": 3, "ap_0.25": 3, "ap_0.125": 3}
TASKS = {
    "tetrominoes": Task(
        "Tetrominoes",
        ("model.num_slots=4", "train.steps=8000", "eval.every=2000"),
        DISCOVERY,
    ),
    "multi_dsprites": Task(
        "Multi-dSprites",
        ("train.steps=5000", "eval.every=2500"),
        DISCOVERY,
    ),
    "shapes": Task(
        "Shapes, properties",
        (),
        SETS,
    ),
}
METHODS = {
    "slot_attention": "Slot Attention",
    "invariant_slot_attention": "Invariant (TS)",
    "slot_mixture": "Slot Mixture",
    "mesh": "MESH",
    "cosa": "CoSA",
}
"""Their presets `<method>/<task>_cpu` hold what each changes."""
DRAWN = {
    "fg_ari": "foreground ARI",
    "ari": "ARI, all pixels",
    "ap_0.5": "AP within 0.5",
    "ap_inf": "AP at any distance",
}
"""What the figure shows where a task has it."""
COLORS = ("#777777", "#009e73", "#d55e00", "#0072b2", "#cc79a7")


def condition(task: str, method: str, seeds: int, settings: list[str], out: Path) -> Condition:
    changes = (*TASKS[task].settings, f"train.seeds={seeds}", *settings)
    name = f"{task}-{method}"
    return Condition(f"{method}/{task}_cpu", changes, FOLDER / name, out / f"{name}.json")


def parameters(condition: Condition) -> str:
    """Numbers of one member."""
    return parameter_table(build(condition.config)).splitlines()[-1].removeprefix("total ")


def verdicts(result: dict[str, Any]) -> str:
    """On the health of the members' slots at the end."""
    counted = Counter(told["name"] for told in result.get("verdicts", ()))
    if len(counted) == 1:
        return next(iter(counted))
    return ", ".join(f"{number} {name}" for name, number in counted.items()) or "–"


def milliseconds(result: dict[str, Any], seeds: int) -> str:
    """Of an update of one member."""
    return f"{1000 / (result['steps_per_second'] * seeds):.0f}"


def tables(found: dict[tuple[str, str], tuple[Condition, dict[str, Any]]]) -> str:
    """One table per kind of task, for their metrics differ."""
    texts = []
    for names in dict.fromkeys(tuple(task.metrics) for task in TASKS.values()):
        heads = ["data", "slot module", *names, "slots", "parameters", "ms", "minutes"]
        heads += ["measured by", "commit"]
        rows = []
        for (task, method), (made, result) in found.items():
            metrics = TASKS[task].metrics
            if tuple(metrics) == names:
                rows.append(
                    [
                        TASKS[task].label,
                        METHODS[method],
                        *(cell(result.get(n), digits) for n, digits in metrics.items()),
                        verdicts(result),
                        parameters(made),
                        milliseconds(result, made.config.train.seeds),
                        f"{result['minutes']:.1f}",
                        measured_by(result, result["seeds"]),
                        result["commit"],
                    ]
                )
        if rows:
            texts.append(table(heads, rows))
    return "\n\n".join(texts)


def figure(found: dict[tuple[str, str], tuple[Condition, dict[str, Any]]], path: Path) -> None:
    """Two metrics of each task, mean ± std over seeds; dots are the seeds."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [task for task in TASKS if any(t == task for t, _ in found)]
    drawing, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 4.0), squeeze=False, layout="constrained"
    )
    for task, panel in zip(panels, axes[0], strict=True):
        shown = [m for m in METHODS if (task, m) in found]
        drawn = [metric for metric in DRAWN if metric in TASKS[task].metrics]
        for shift, metric in enumerate(drawn):
            style: dict[str, Any] = {"marker": "os"[shift]}
            style |= {"markerfacecolor": "white"} if shift else {}
            for place, method in enumerate(shown):
                value, x = found[task, method][1][metric], place + 0.36 * shift
                color, spread = COLORS[list(METHODS).index(method)], value.get("seeds_std") or 0
                panel.errorbar([x], [value["mean"]], [spread], color=color, capsize=4, **style)
                members = value.get("members", [])
                panel.plot([x + 0.12] * len(members), members, ".", color=color, ms=4, alpha=0.6)
            panel.plot([], [], color="#444444", linestyle="", label=DRAWN[metric], **style)
        ticks = [place + 0.18 for place in range(len(shown))]
        panel.set_xticks(ticks, [METHODS[m] for m in shown], rotation=35, ha="right", size=8)
        panel.set_title(TASKS[task].label, size=10)
        told = dict.fromkeys(
            measured_by(one, one["seeds"]) for _, one in (found[task, m] for m in shown)
        )
        panel.set_xlabel("\n".join(told), size=7)
        panel.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.08))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    drawing.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "OF"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/compare"))
    options = parser.parse_args()
    use_compilation_cache()
    conditions = {
        (task, method): condition(task, method, options.seeds, options.settings, options.out)
        for task in options.tasks
        for method in options.methods
    }
    try:
        train_missing(conditions.values(), *options.share)
        found = {key: (conditions[key], result) for key, result in finished(conditions).items()}
    except ConfigError as error:
        parser.error(str(error))
    if found:
        write_table(options.out / "table.md", tables(found))
        figure(found, options.out / "figure.png")


if __name__ == "__main__":
    main()
