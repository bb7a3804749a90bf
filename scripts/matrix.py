"""Takes a step with every slot module, encoder, decoder and initializer, and writes what works.

    python scripts/matrix.py --out docs/matrix.md

A step is the contract tests' (`check_step`): masks and attention that sum to one, a finite gradient
at every parameter that is to have one, and less loss after it.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from slots.conditions import table
from slots.provenance import commit, machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from contracts.small import small_model
from contracts.test_families import KINDS, check_step

TEXT = """\
# What goes with what

`{command}`, commit {commit}, {machine}.

Each ✓ is a model that took a gradient step on tiny pictures: masks and attention sum to one, every
parameter that is to have a gradient has one, and the loss is smaller afterwards. `pytest -m slow
tests/contracts` does it for every combination of all four families.

## Slot modules with encoders and decoders

{first}

## Slot modules with initializers

{second}
"""


def outcome(**parts: str) -> str:
    """✓, or in a word what went wrong."""
    try:
        check_step(small_model(**parts))
    except Exception as error:  # the table tells
        return f"✗ {type(error).__name__}"
    return "✓"


def rows(columns: list[dict[str, str]]) -> Iterator[list[str]]:
    for module in KINDS["module"]:
        cells = [outcome(module=module, **parts) for parts in columns]
        print(module, *cells, flush=True)
        yield [f"`{module}`", *cells]


def heads(columns: list[dict[str, str]]) -> list[str]:
    return ["", *(", ".join(f"`{kind}`" for kind in parts.values()) for parts in columns)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pairs = itertools.product(KINDS["encoder"], KINDS["decoder"])
    first = [{"encoder": encoder, "decoder": decoder} for encoder, decoder in pairs]
    second = [{"initializer": initializer} for initializer in KINDS["initializer"]]
    found = [table(heads(columns), list(rows(columns))) for columns in (first, second)]
    command = " ".join(["python", "scripts/matrix.py", *sys.argv[1:]])
    text = TEXT.format(
        command=command, commit=commit(), machine=machine(), first=found[0], second=found[1]
    )
    if options.out:
        options.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
