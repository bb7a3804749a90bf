"""The checks in order."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from slots import presets
from slots.config import override
from slots.experiment import build
from slots.processes import first_says, is_first, joined, meet
from slots.selftest import checks, programs
from slots.selftest.outcome import Outcome


def selftest(target: str, settings: Sequence[str] = ()) -> Iterator[Outcome]:
    """Makes every check and gives its outcome as it comes; before JAX is first used.

    One of several processes makes those that all make together, in a folder below the current one,
    which all must see. A lone one also kills a run and starts two processes.

    Args:
        target: a preset, by name or file.
        settings: overrides.

    Raises:
        ConfigError: the experiment can't be built here.
    """
    if not any(setting.startswith("mesh.cpu_devices=") for setting in settings):
        settings = ["mesh.cpu_devices=2", *settings]  # or a CPU would be compared with itself
    config = override(presets.load(target), settings)
    config.mesh.prepare()
    if not joined():
        yield programs.check_restart(target, settings)
        yield programs.check_pair(target, settings)
    experiment = build(config)
    yield checks.check_gradients(experiment)
    yield checks.check_data(experiment)
    yield checks.check_parameters(experiment)
    folder = first_says(tempfile.mkdtemp(prefix=".slots-selftest-", dir=".") if is_first() else "")
    try:
        yield checks.check_checkpoint(experiment, Path(folder) / "checkpoints")
        meet("the checkpoint was read")
    finally:
        if is_first():
            shutil.rmtree(folder, ignore_errors=True)
    yield checks.check_memory(experiment)
