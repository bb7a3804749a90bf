"""Starts the command `slots` with one thing made to go wrong in it.

python -m scripts.campaign.starter file_limit=20000 -- train RUN
python -m scripts.campaign.starter nan=17,18 -- train RUN
python -m scripts.campaign.starter unkept -- train RUN
"""

import itertools
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

from slots import figures, report
from slots.cli import main
from slots.data import folder
from slots.data.procedural import ProceduralDataset
from slots.types import Batch


def limit_files(size: str) -> None:
    """No file may have more bytes; Python ignores SIGXFSZ, so that writing fails with EFBIG."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), hard))


def poison(steps: str) -> None:
    """The first picture of these steps' batches (`all` for every step) holds a NaN."""
    bad = None if steps == "all" else set(map(int, steps.split(",")))
    whole: Callable[..., Iterator[Batch]] = ProceduralDataset.train

    def train(self: Any, batch_size: int, *, start: int = 0, **how: Any) -> Iterator[Batch]:
        batches = whole(self, batch_size, start=start, **how)
        for step, batch in zip(itertools.count(start), batches, strict=False):
            if bad is None or step in bad:
                broken = batch.pixels.at[0, 0, 0, 0].set(float("nan"))
                batch = Batch(**{**vars(batch), "image": broken})
            yield batch

    ProceduralDataset.train = train  # type: ignore[method-assign]


def keep_nothing(_: str) -> None:
    """Folders of pictures are read file by file, as those are that do not fit into memory."""
    folder.CACHE_BYTES = 0


def draw_nothing(_: str) -> None:
    """A run ends without figures and report, and some seconds earlier."""
    figures.write_figures = lambda *_, **__: []
    report.write_report = lambda run: run.folder


HARMS = {
    "file_limit": limit_files,
    "nan": poison,
    "unkept": keep_nothing,
    "no_figures": draw_nothing,
}


if __name__ == "__main__":
    end = sys.argv.index("--")
    for word in sys.argv[1:end]:
        name, _, value = word.partition("=")
        HARMS[name](value)
    raise SystemExit(main(sys.argv[end + 1 :]))
