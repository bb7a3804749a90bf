"""Gives 12,000 bad inputs to what reads settings, runs, mask files and data.

    python scripts/fuzz.py --out docs/results/fuzz.md

The inputs and what is expected are those of tests/fuzz, where a few of them run with the tests.
"""

import argparse
import logging
import sys
from pathlib import Path

from slots.conditions import table
from slots.provenance import commit, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from fuzz import ALL
    from fuzz.campaign import GIBIBYTES, SECONDS, attempt

    logging.disable()  # what is passed over is not told twice
    found = []
    for target in ALL:
        found.append(attempt(target, round(options.inputs * target.share), options.seed))
        print(found[-1], flush=True)
    heads = ["what reads them", "inputs", "refused", "harmless", "longest, s", "memory, GiB"]
    numbers = [
        [r.name, r.inputs, r.refused, r.taken, f"{r.seconds:.2f}", f"{r.growth:.2f}"] for r in found
    ]
    total = [sum(row[i] for row in numbers) for i in (1, 2, 3)]
    text = table(heads, [*numbers, ["all", *total, "", ""]])
    print(text)
    if options.out:
        options.out.write_text(
            f"""# Bad inputs

`python scripts/fuzz.py --out {options.out}`, commit {commit()}, {machine()}.

Damaged bytes, wrong trees of JSON, archives with pickles, false headers and far too much in them
(tests/fuzz/damage.py), for everything that reads what others wrote. Each was refused by one
sentence, or was harmless: damage where nothing is read, settings that happen to be right, scores
that are undefined. None took more than {SECONDS} s, let memory grow by {GIBIBYTES:g} GiB, raised
another error or ran a pickle; the script ends with an error at the first that does. "Memory" is by
how much the most memory that was held grew after the first inputs.

{text}
"""
        )


if __name__ == "__main__":
    main()
