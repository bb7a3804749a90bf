"""`report.html`: a run, or two side by side, to look into with nothing but a browser."""

import base64
import html
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slots import visualize
from slots.config import leaves, to_data
from slots.evaluation.evaluation import METRICS, measured_by
from slots.figures import CURVES, HEALTH, seen
from slots.files import write_whole
from slots.metrics import Verdict
from slots.run_folder import read_config
from slots.runs import Run
from slots.training import read_records
from slots.visualize.gallery import gallery_body
from slots.visualize.page import page

REPORT = "report.html"


def write_report(run: Run, other: Run | None = None, *, count: int = 6) -> Path:
    """Writes the page of a run, or of two, into the first one's folder.

    Args:
        run: which; of several members, the scenes of the first and the rest of all.
        other: what it is compared with.
        count: of scenes in the gallery, the first of the evaluation split.

    Returns:
        `report.html`, or `report-<name of the other's folder>.html`.
    """
    runs = [run] if other is None else [run, other]
    parts = [
        _Part(one, name) for one, name in zip(runs, _names([r.folder for r in runs]), strict=True)
    ]
    galleries = [gallery(one, count, part.name) for one, part in zip(runs, parts, strict=True)]
    title = " and ".join(part.name for part in parts)
    body = "\n".join(
        [
            f"<h1>{html.escape(title)}</h1>",
            _list("quiet", (part.origin() for part in parts)),
            '<nav aria-label="Contents">'
            + "".join(f'<a href="#{name.lower()}">{name}</a>' for name in [*_SECTIONS, "Scenes"])
            + "</nav>",
            *(f'<h2 id="{n.lower()}">{n}</h2>\n{make(parts)}' for n, make in _SECTIONS.items()),
            f'<h2 id="scenes">Scenes</h2>\n{gallery_body(galleries)}',
        ]
    )
    path = run.folder / (REPORT if other is None else f"report-{other.folder.resolve().name}.html")
    write_whole(path, page(f"{title} – slots", body, [one.packed for one in galleries]))
    return path


def gallery(run: Run, count: int = 6, name: str = "run") -> visualize.Gallery:
    """Held-out scenes to look into; ends a notebook's cell as a widget.

    Args:
        run: what to look into; of several members, the first.
        count: of scenes, the first of the evaluation split; fewer where it holds fewer.
        name: of the run, where there are two.
    """
    run = run.member(0)
    batch, prediction, background = seen(run, count)
    grouping, drawn = prediction.grouping, prediction.reconstruction
    attention = grouping.diagnostics.get("attention_per_iteration", grouping.attention[:, None])
    grid = prediction.tokens.grid
    masks = grouping.attention.reshape(*grouping.attention.shape[:2], *grid)
    drawings: dict[str, Any] = {}
    if drawn is not None:
        masks = drawn.masks
        if drawn.parts is not None:
            drawings = {"parts": run.model.to_image(drawn.parts), "alphas": drawn.alphas}
    return visualize.slot_gallery(
        batch.pixels,
        masks,
        **drawings,
        attention=attention,
        grid=grid,
        segmentation=batch.segmentation,
        background=background,
        name=name,
    )


class _Part:
    """What the page says of one run; read from its folder's files."""

    def __init__(self, run: Run, name: str):
        self.run, self.name = run, name
        self.config = read_config(run.folder)
        self.records = read_records(run.folder / "metrics.jsonl")
        scored = [record for record in self.records if record["kind"] == "val"]
        self.scores: Mapping[str, Any] = scored[-1] if scored else {}

    def origin(self) -> str:
        config, seeds = self.config, self.config.train.member_seeds
        which = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        told = f"{self.name}: {config.name}, step {self.run.step:,} of {config.train.steps:,}"
        return f"{told}, {which}{_versions(self.run.folder)}"

    def measured(self) -> str:
        if not self.scores:
            return "not evaluated yet"
        told = measured_by(self.scores, self.config.train.member_seeds)
        return f"{told}, step {self.scores['step']:,}"


def _versions(folder: Path) -> str:
    """Package versions and devices, where the run says so."""
    try:
        found = json.loads((folder / "versions.json").read_text())
        names = ("slots", "jax", "flax", "python", "devices")
        return "".join(f", {name} {found[name]}" for name in names if name in found)
    except (OSError, ValueError, TypeError, RecursionError):
        return ""


def _names(folders: Sequence[Path]) -> list[str]:
    """What tells the folders apart: their own names, or as much of the way there as that takes."""
    ways = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, ways))):
        names = ["/".join(way[-length:]) for way in ways]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _scores(parts: Sequence[_Part]) -> str:
    names = [n for n in METRICS if any(_statistic(part.scores.get(n)) for part in parts)]
    others = [
        name
        for part in parts
        for name, value in part.scores.items()
        if name not in METRICS and not name.startswith("health/") and _statistic(value)
    ]
    rows = [
        [f"<code>{html.escape(name)}</code>", *(_cell(part.scores.get(name)) for part in parts)]
        for name in dict.fromkeys([*names, *others])
    ]
    told = _list("quiet", (f"{part.name}: {part.measured()}" for part in parts))
    if not rows:
        return told
    return told + _table(["metric", *(html.escape(part.name) for part in parts)], rows)


def _health(parts: Sequence[_Part]) -> str:
    told = []
    for part in parts:
        seeds = part.config.train.member_seeds
        verdicts = part.scores.get("verdicts") or []
        for seed, verdict in zip(seeds, verdicts, strict=False):
            told.append(f"{part.name}, seed {seed}: {Verdict(**verdict)}")
    return _list("", told) + _figures(parts, [f"health/{name}" for name in HEALTH])


def _curves(parts: Sequence[_Part]) -> str:
    evaluated = [
        [f"{record['step']:,}", html.escape(part.name), *(_cell(record.get(n)) for n in shown)]
        for shown in [[n for n in METRICS if any(n in part.scores for part in parts)]]
        for part in parts
        for record in part.records
        if record["kind"] == "val"
    ]
    heads = ["step", "run", *(n for n in METRICS if any(n in part.scores for part in parts))]
    table = _table(heads, evaluated) if evaluated else ""
    return f"{_figures(parts, CURVES)}\n<details><summary>Numbers</summary>{table}</details>"


def _settings(parts: Sequence[_Part]) -> str:
    found = [{key: json.dumps(to_data(v)) for key, v in leaves(part.config)} for part in parts]
    keys = list(dict.fromkeys(key for settings in found for key in settings))
    rows = {
        key: [
            f"<code>{html.escape(key)}</code>",
            *(f"<code>{html.escape(settings.get(key, '–'))}</code>" for settings in found),
        ]
        for key in keys
    }
    heads = ["setting", *(html.escape(part.name) for part in parts)]
    apart = [rows[key] for key in keys if len({settings.get(key) for settings in found}) > 1]
    whole = (
        f"<details><summary>All settings</summary>{_table(heads, list(rows.values()))}</details>"
    )
    if len(parts) == 1:
        return whole
    told = _table(heads, apart) if apart else "<p>Both runs have the same settings.</p>"
    return f"<p>What is set differently:</p>{told}{whole}"


_SECTIONS = {"Scores": _scores, "Curves": _curves, "Health": _health, "Settings": _settings}


def _figures(parts: Sequence[_Part], wanted: Sequence[str]) -> str:
    """A picture for each of the quantities that the records have."""
    records: Any = {part.name: part.records for part in parts if part.records}
    there = {name for own in records.values() for name in visualize.quantities(own)}
    shown = [name for name in wanted if name in there]
    if len(records) == 1:
        (records,) = records.values()
    pictures = []
    for name in shown:
        file = io.BytesIO()
        figure = visualize.training_curves(records, [name])
        figure.savefig(file, format="svg", metadata={"Date": None})
        data = base64.b64encode(file.getvalue()).decode()
        last = ", ".join(f"{part.name} {_last(part, name)}" for part in parts)
        alt = html.escape(f"{name} over steps; at the end: {last}")
        pictures.append(f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">')
    return f'<div class="curves">{"".join(pictures)}</div>'


def _last(part: _Part, name: str) -> str:
    values = [record[name] for record in part.records if name in record]
    if not values:
        return "none"
    value = values[-1].get("mean") if isinstance(values[-1], Mapping) else values[-1]
    return f"{value:.4g}" if isinstance(value, int | float) else "undefined"


def _statistic(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("mean"), int | float)


def _cell(value: Any) -> str:
    """Mean, spread over seeds or error over examples, and count."""
    if not _statistic(value):
        return "–"
    members = value.get("members")
    spread = value.get("seeds_std" if members else "stderr")
    told = f"<span class='number'>{value['mean']:.4f}"
    if isinstance(spread, float) and math.isfinite(spread):
        told += f" ± {spread:.4f}"
    over = f"{len(members)} seeds, " if members else ""
    count = html.escape(str(value.get("count")))
    return f"{told}</span> <span class='quiet'>({over}n = {count})</span>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of cells that are HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'


def _list(style: str, lines: Iterator[str] | Sequence[str]) -> str:
    return "".join(f'<p class="{style}">{html.escape(line)}</p>' for line in lines)
