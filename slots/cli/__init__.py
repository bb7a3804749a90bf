"""The command `slots`: parse, call, say what went wrong in one sentence."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from slots.cli import listing, running, scoring
from slots.config import ConfigError, nearest

USAGE = """slots: object-centric learning in JAX

  slots train CONFIG [key=value ...]   train a preset, or go on with a run folder
  slots eval RUN [--json] [--references] [key=value ...]   score a run on its held-out split
  slots eval RUN --explain A B         what separates two protocols on the run's masks
  slots score FILE.npz ... [protocol=ID] [truth=FILE.npz]   score masks from any model
  slots probe RUN [key=value ...]      what slots tell of their objects' properties
  slots show RUN [key=value ...]       write its figures to RUN/figures
  slots show RUN [OTHER] --html        write RUN/report.html, or two runs side by side
  slots reproduce [ROW] [--full] [out=DIR] [key=value ...]   run a paper's row; no ROW lists them
  slots sweep CONFIG out=DIR [key=a key=b ...] [list=FILE] [by=METRIC] [--slurm]   train a grid
  slots sweep DIR [task=I]             go on with a sweep, or with one point of it
  slots selftest [CONFIG] [--json] [key=value ...]   what a machine should show before long training
  slots data check PATH [--quick]      which published set is there, whether it is whole
  slots data show PRESET [key=value ...]   draw scenes as a preset would get them
  slots list                           presets and everything that can be plugged in

CONFIG is a preset as `slots list` prints it, a Python file with a function config(), or a run
folder. Settings are given by their full path: model.module.num_iterations=5, data=folder
data.path=DIR, train.steps=1000, run=PATH (the run folder). train.seeds=5 trains five members, each
with a seed of its own, as one program. For eval and show, step=best or step=N chooses a checkpoint
(default: the newest), member=I one member (default: eval scores all, show draws the scenes of the
first). protocol=ID scores by a paper's rules, masks=FILE.npz saves the masks that were scored;
--references adds what segmentations without learning score; --traceback shows where an error came
from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in words
    words = [w for w in words if w != "--traceback"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("slots").setLevel(logging.INFO)
    from jax.errors import JaxRuntimeError

    from slots.processes import joined, leave, lost
    from slots.training import Interrupted, RunError, use_compilation_cache

    use_compilation_cache()
    try:
        status = _dispatch(words[0], words[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, RunError, OSError, JaxRuntimeError) as error:
        if traceback or (isinstance(error, JaxRuntimeError) and not joined()):
            raise
        print(f"slots: {lost(error) if joined() else error}", file=sys.stderr)
        if isinstance(error, Interrupted):
            return error.code
        return leave(1) if joined() else 1
    except KeyboardInterrupt:  # Ctrl-C where nothing is there to save yet, or a second time
        print("slots: Stopped by SIGINT at once; what was saved before is safe.", file=sys.stderr)
        return leave(130) if joined() else 130


def _dispatch(command: str, words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": running.train,
        "eval": scoring.evaluate,
        "score": scoring.score,
        "probe": scoring.probe,
        "show": running.show,
        "reproduce": running.reproduce,
        "sweep": running.sweep,
        "selftest": running.selftest,
        "data": listing.data,
        "list": listing.everything,
    }
    if command not in commands:
        raise ConfigError(
            f"{command!r} is no command{nearest(command, commands) or ';'} "
            f"there are {', '.join(commands)}."
        )
    if {"-h", "--help"} & set(words):
        print(USAGE)
        return 0
    return commands[command](words)
