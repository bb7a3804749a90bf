"""The measured numbers as Markdown."""

from collections.abc import Mapping
from typing import Any

from scripts.benchmark.timing import Result

LABELS = {
    "ours": "`slots`",
    "torch": "PyTorch eager",
    "torch.compile": "PyTorch `torch.compile`",
}


def label(side: str) -> str:
    name, _, devices = side.partition("/")
    return LABELS[name] + (f", {devices} virtual CPU devices" if devices else "")


def section(title: str, results: Mapping[str, Result], agreement: str) -> list[str]:
    """Heading and table of one case; our fastest side is what all times are divided by."""
    lines = [
        f"## {title}",
        "",
        agreement,
        "",
        "| | ms per step: median (range) | time, our best = 1 | memory, MiB | compile, s | |",
        "|---|---|---|---|---|---|",
    ]
    ours = [r.median for s, r in results.items() if s.startswith("ours") and r.seconds]
    best = min(ours, default=None)
    for side, result in results.items():
        if result.failure is not None:
            lines.append(f"| {label(side)} | not run: {result.failure} | | | | |")
            continue
        low, high = min(result.seconds), max(result.seconds)
        facts = result.facts
        ratio = "" if best is None else f"{result.median / best:.2f}"
        time = f"{1e3 * result.median:.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})"
        memory = f"{facts['memory']:.0f}"
        if "planned" in facts:
            memory += f" (XLA plans {facts['planned']:.0f})"
        compiling = f"{facts['compile']:.0f}" if facts["compile"] else ""
        device = "" if facts["device"] == "cpu" else facts["device"]
        note = ", ".join(filter(None, (facts.get("note"), device)))
        lines.append(f"| {label(side)} | {time} | {ratio} | {memory} | {compiling} | {note} |")
    return [*lines, ""]


def breakdown_section(found: Mapping[str, Any]) -> list[str]:
    """Where our step spends its time."""
    peak = found["peak"] / 1e9
    whole = found["parts"]["whole step"][1]
    lines = [
        "| of our step | forward, ms | with gradient, ms | share | GFLOP | GFLOP/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, (forward, both, count) in found["parts"].items():
        work = f"{count / 1e9:.2f} | {count / both / 1e9:.0f}" if count > 0 else "|"
        first = f"{1e3 * forward:.1f}" if forward else ""
        lines.append(f"| {name} | {first} | {1e3 * both:.1f} | {both / whole:.0%} | {work} |")
    return [*lines, "", f"A product of two 2048×2048 matrices runs at {peak:.0f} GFLOP/s here.", ""]
