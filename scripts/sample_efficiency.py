"""Slot Attention against Invariant Slot Attention with few and with unlimited training scenes.

    python scripts/sample_efficiency.py                       all of it, or what is still missing
    python scripts/sample_efficiency.py --data tetrominoes --methods slot_attention isa_ts
    python scripts/sample_efficiency.py --share 0 2           every second condition, for two cores

A condition is one run of several seeds in `runs/sample_efficiency/`; it goes on where it was
stopped. One that is finished leaves a record in `docs/results/sample_efficiency/` and is read back
from there: remove the record (and the run) to repeat it. Table and figure hold what is finished.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from slots.conditions import Condition, cell, finished, table, train_missing, write_table
from slots.config import ConfigError
from slots.evaluation.evaluation import measured_by
from slots.training import use_compilation_cache

DATA = {"tetrominoes": "Tetrominoes", "multi_dsprites": "Multi-dSprites"}
SLOTS = {"tetrominoes": 4, "multi_dsprites": 6}
"""Of all methods: one more than there are objects, which takes the ground."""
STEPS = {"tetrominoes": 8000, "multi_dsprites": 3000}
RHYTHM = ["eval.every=2500", "checkpoint.every=1000", "log.every=500"]
METHODS = {
    "slot_attention": ("Slot Attention", "slot_attention", []),
    "isa_t": ("ISA-T", "invariant_slot_attention", ["model.module.variant=t"]),
    "isa_ts": ("ISA-TS", "invariant_slot_attention", ["model.module.variant=ts"]),
    "isa_tsr": ("ISA-TSR", "invariant_slot_attention", ["model.module.variant=tsr"]),
}
SHOWN = {"fg_ari": 3, "ari": 3, "mbo": 3, "mse_mean": 4}
"""Metrics of the table and their digits."""
FOLDER = Path("runs/sample_efficiency")
COLORS = ("#777777", "#56b4e9", "#009e73", "#d55e00")


@dataclasses.dataclass(frozen=True)
class Point:
    """One method on one data set with so many training scenes (None: without end)."""

    data: str
    method: str
    scenes: int | None

    def condition(self, seeds: int, settings: list[str], out: Path) -> Condition:
        """Its run."""
        _, system, changes = METHODS[self.method]
        scenes = "null" if self.scenes is None else self.scenes
        together = (
            f"model.num_slots={SLOTS[self.data]}",
            f"data.train_size={scenes}",
            f"train.seeds={seeds}",
            f"train.steps={STEPS[self.data]}",
            *RHYTHM,
            *changes,
            *settings,
        )
        name = f"{self.data}-{self.method}-{self.scenes or 'unlimited'}"
        return Condition(f"{system}/{self.data}_cpu", together, FOLDER / name, out / f"{name}.json")


def rows(found: dict[Point, dict[str, Any]]) -> list[list[Any]]:
    return [
        [
            DATA[point.data],
            point.scenes or "unlimited",
            METHODS[point.method][0],
            *(cell(result[name], digits) for name, digits in SHOWN.items()),
            f"{result['minutes']:.1f}",
            measured_by(result, result["seeds"]),
            result["commit"],
        ]
        for point, result in found.items()
    ]


def figure(found: dict[Point, dict[str, Any]], path: Path) -> None:
    """Foreground ARI against the number of scenes, mean ± std over seeds; dots are the seeds."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = [*sorted({c.scenes for c in found if c.scenes}), None]
    panels = [d for d in DATA if any(c.data == d for c in found)]
    drawing, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 3.6), squeeze=False, layout="constrained"
    )
    for data, panel in zip(panels, axes[0], strict=True):
        for number, (method, (label, _, _)) in enumerate(METHODS.items()):
            points = [
                (place, found[c]["fg_ari"])
                for place, scenes in enumerate(sizes)
                if (c := Point(data, method, scenes)) in found
            ]
            if not points:
                continue
            x = np.array([place for place, _ in points]) + 0.05 * (number - 1.5)
            means = [value["mean"] for _, value in points]
            spreads = [value.get("seeds_std") or 0 for _, value in points]
            color = COLORS[number]
            panel.errorbar(x, means, spreads, color=color, label=label, marker="o", capsize=3)
            for place, (_, value) in zip(x, points, strict=True):
                members = value.get("members", [])
                panel.plot([place] * len(members), members, ".", color=color, ms=4, alpha=0.5)
        panel.set_title(DATA[data], size=10)
        panel.set_xticks(range(len(sizes)), [f"{s:,}" if s else "unlimited" for s in sizes])
        told = dict.fromkeys(
            measured_by(found[c]).replace("`", "") for c in found if c.data == data
        )
        panel.set(xlabel="\n".join(["training scenes", *told]), ylabel="foreground ARI")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    drawing.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scenes", type=int, nargs="+", default=[512, 0], help="0: unlimited")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "OF"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/sample_efficiency"))
    options = parser.parse_args()
    use_compilation_cache()
    conditions = {
        (point := Point(data, method, scenes or None)): point.condition(
            options.seeds, options.settings, options.out
        )
        for data in options.data
        for scenes in options.scenes
        for method in options.methods
    }
    try:
        train_missing(conditions.values(), *options.share)
        found = finished(conditions)
    except ConfigError as error:
        parser.error(str(error))
    if found:
        heads = ["data", "training scenes", "method", *SHOWN, "minutes"]
        heads += ["measured by", "commit"]
        write_table(options.out / "table.md", table(heads, rows(found)))
        figure(found, options.out / "figure.png")


if __name__ == "__main__":
    main()
