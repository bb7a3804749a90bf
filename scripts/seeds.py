"""Trains a preset with several seeds, one after the other, and writes a table of the scores.

    python scripts/seeds.py slot_attention/tetrominoes_cpu --seeds 0 1 2 3 --out docs/results/x.md

Seed i trains with train.seed=i and data.seed=i; the held-out scenes are the same. Runs go to
`runs/seeds/<preset>-<seed>` and go on where they were stopped; the minutes are those of training,
compilation and evaluation included, and only measured where a run was not interrupted.

For scores with their spread, `slots train PRESET train.seeds=4` trains the same members as one run;
this is for what each seed takes by itself.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import slots
from slots import presets
from slots.config import override
from slots.provenance import commit, machine

METRICS = ("fg_ari", "ari", "mbo", "miou", "corloc", "mse_mean")


def run_seed(preset: str, seed: int, settings: list[str]) -> dict[str, float]:
    config = override(presets.load(preset), [*settings, f"train.seed={seed}", f"data.seed={seed}"])
    folder = Path("runs/seeds") / f"{preset.replace('/', '-')}-{seed}"
    note = folder / "minutes.json"
    fresh = not folder.exists()
    start = time.perf_counter()
    run = slots.train(config, folder)
    if fresh:
        note.write_text(json.dumps((time.perf_counter() - start) / 60))
    found = slots.evaluate(run).statistics
    minutes = json.loads(note.read_text()) if note.exists() else float("nan")
    return {name: found[name].mean for name in METRICS} | {"minutes": minutes}


def table(preset: str, rows: dict[int, dict[str, float]], command: str) -> str:
    names = [*METRICS, "minutes"]
    lines = [
        f"`{command}`, commit {commit()}, {machine()}.",
        "",
        f"| {preset}, seed | {' | '.join(names)} |",
        f"|{'---|' * (len(names) + 1)}",
    ]
    lines += [
        f"| {seed} | {' | '.join(cell(name, row[name]) for name in names)} |"
        for seed, row in rows.items()
    ]
    if len(rows) > 1:
        cells = []
        for name in names:
            values = [row[name] for row in rows.values()]
            spread = statistics.stdev(values)
            cells.append(f"{cell(name, statistics.mean(values))} ± {cell(name, spread)}")
        lines.append(f"| mean ± std (n = {len(rows)}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(name: str, value: float) -> str:
    digits = {"minutes": 1, "mse_mean": 5}.get(name, 4)
    return f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--out", type=Path, help="file for the table; default: print it")
    options = parser.parse_args()
    rows = {s: run_seed(options.preset, s, options.settings) for s in options.seeds}
    command = f"python scripts/seeds.py {options.preset} --seeds {' '.join(map(str, rows))}"
    if options.settings:
        command += f" --set {' '.join(options.settings)}"
    text = table(options.preset, rows, command)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
