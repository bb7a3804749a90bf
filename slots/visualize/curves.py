"""How a run went: losses, scores and learning rates over the steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from slots.visualize.canvas import TEXT, plain_style
from slots.visualize.colors import slot_colors

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_SPREADS = ("seeds_std", "std", "stderr")
"""What a band shows, the first that is there."""
_COLORS, _LINES = slot_colors(7)[[4, 5, 2, 6]], ("-", "--", "-.", ":")
_DENSE = 100
"""Curves of more points than this are drawn pale, with their moving average over them."""


def training_curves(
    records: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
    names: Sequence[str] | None = None,
    *,
    caption: str = "",
) -> "matplotlib.figure.Figure":
    """A panel for each quantity over the step; losses are logarithmic where all are positive.

    A quantity may be missing from some records. Its value is a number, or a group with `mean` and
    `seeds_std`, `std` or `stderr`, which becomes a band of that half-width: over seeds where there
    are several. Other groups are named `outer/inner`. A number called `<name>_stderr` or
    `<name>_std` is the band of `<name>`. Points that are not finite are gaps; text and lists are
    passed over.

    Args:
        records: each with an integer `step`, as the lines of a run's `metrics.jsonl`; of several
            runs by their names, which stand in a legend.
        names: quantities to draw, in order. None: all, losses first and learning rates last.
        caption: a line under the panels, such as what scores were measured by.

    Raises:
        ValueError: no records, one without a step, or a name that none of them has.
    """
    from matplotlib.figure import Figure

    runs = records if isinstance(records, Mapping) else {"": records}
    curves: dict[str, dict[str, np.ndarray]] = {}
    for run, own in runs.items():
        for name, points in _curves(own).items():
            curves.setdefault(name, {})[run] = np.array(points, float)
    if names is None:
        names = sorted(curves, key=lambda name: 2 * _is_rate(name) - ("loss" in name))
    for name in names:
        if name not in curves:
            raise ValueError(f"no record has {name!r}; they have {', '.join(curves)}.")
    styles = {run: (_COLORS[i % 4], _LINES[i % 4]) for i, run in enumerate(runs)}
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with plain_style():
        size = (3.3 * columns, 2.2 * rows + (0.3 if caption else 0.1))
        figure = Figure(figsize=size, facecolor="white", dpi=100, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for i, cell in enumerate(axes.flat):
            if i < len(names):
                _draw(cell, names[i], curves[names[i]], styles)
            else:
                cell.remove()
        for i in range(columns):
            axes.flat[len(names) - 1 - i].set_xlabel("step", color=TEXT, size=9)
        if caption:
            figure.supxlabel(caption, x=0.01, ha="left", color=TEXT, size=7)
        return figure


def _is_rate(name: str) -> bool:
    return "learning_rate" in name or name.split("/")[-1] == "lr"


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float, float]]]:
    """(step, mean, spread) by name, in the order of first appearance."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for i, record in enumerate(records):
        if "step" not in record:
            raise ValueError(f"record {i} has no `step`; it has {', '.join(record)}.")
        points = dict(_points("", {k: v for k, v in record.items() if k != "step"}))
        for name, (mean, spread) in points.items():
            base, _, kind = name.rpartition("_")
            if kind in _SPREADS and base in points:
                continue
            for kind in _SPREADS:
                spread = points.get(f"{name}_{kind}", (spread, 0.0))[0]
            curves.setdefault(name, []).append((float(record["step"]), mean, spread))
    if not curves:
        raise ValueError("`records` hold no numbers to draw.")
    return curves


def _points(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Every quantity of a record as (name, (mean, spread))."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if "mean" in value:
                spread = next((value[kind] for kind in _SPREADS if kind in value), 0.0)
                yield name, (_number(value["mean"]), _number(spread))
            else:
                yield from _points(f"{name}/", value)
        elif isinstance(value, str | bool) or value is None:
            continue
        elif (number := np.asarray(value)).ndim == 0 and np.issubdtype(number.dtype, np.number):
            yield name, (float(number), 0.0)


def _number(value: Any) -> float:
    """JSON has no NaN: what is undefined stands as null, and leaves a gap in the curve."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _draw(
    axes: "matplotlib.axes.Axes",
    name: str,
    runs: Mapping[str, np.ndarray],
    styles: Mapping[str, tuple[Any, str]],
) -> None:
    """One panel; each run's points [n, 3] hold step, mean and spread."""
    from matplotlib.ticker import MaxNLocator

    means = np.concatenate([points[:, 1] for points in runs.values()])
    positive = means[np.isfinite(means)] > 0
    logarithmic = bool("loss" in name and positive.size and positive.all())
    if logarithmic:
        axes.set_yscale("log")
    for run, points in runs.items():
        _draw_run(axes, run, points, *styles[run], logarithmic=logarithmic)
    if "" not in runs:
        axes.legend(fontsize=7, frameon=False)
    axes.set_title(name.replace("_", " "), size=10, color=TEXT)
    axes.grid(color="#e6e6e6", lw=0.6)
    axes.tick_params(labelsize=8, colors=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _draw_run(
    axes: "matplotlib.axes.Axes",
    run: str,
    points: np.ndarray,
    color: Any,
    line: str,
    *,
    logarithmic: bool,
) -> None:
    steps, means, spreads = points[np.argsort(points[:, 0], kind="stable")].T
    means = np.where(np.isfinite(means), means, np.nan)
    spreads = np.where(np.isfinite(spreads), spreads, 0.0)
    if logarithmic:
        # A band that reaches zero would stretch a logarithmic axis without end.
        spreads = np.minimum(spreads, 0.9 * np.where(np.isfinite(means), means, 1.0))
    if spreads.any():
        axes.fill_between(steps, means - spreads, means + spreads, color=color, alpha=0.2, lw=0)
    dense = len(steps) > _DENSE
    style = {"color": color, "ls": line, "marker": "o" if len(steps) <= 20 else "", "ms": 3}
    axes.plot(steps, means, lw=1.3, alpha=0.3 if dense else 1, label="" if dense else run, **style)
    if dense:
        average = _moving_average(means, len(steps) // 40)
        axes.plot(steps, average, lw=1.5, label=run, **style)


def _moving_average(values: np.ndarray, half: int) -> np.ndarray:
    """Mean over up to `half` neighbours on either side, NaN left out; NaN where all are."""
    finite = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(finite, values, 0.0), kernel, mode="full")[half:-half]
    count = np.convolve(finite.astype(float), kernel, mode="full")[half:-half]
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
