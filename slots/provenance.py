"""What stands beside every number: the commit and the machine that made it."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

_CODE = ("slots", "configs", "scripts", "pyproject.toml", "constraints.txt")
"""What decides a result; pages of documents do not."""


def commit() -> str:
    """The commit of the package's checkout, and whether its code differs from it.

    `unknown` where it was installed from something else.
    """
    git = ["git", "-C", str(Path(__file__).parents[1])]
    found = _output([*git, "rev-parse", "--short", "HEAD"])
    if not found or not _output([*git, "ls-files", "slots/provenance.py"]):
        return "unknown"
    changed = _output([*git, "status", "--porcelain", "-uno", "--", *_CODE])
    return found + (" with changes" if changed else "")


def machine() -> str:
    """The processor by its own name, the cores this process may use, GPUs, Python."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((li.split(":")[1].strip() for li in lines if li.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = ""
    if shutil.which("nvidia-smi"):  # asked like this, JAX takes no memory for it
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = "".join(f", {name}" for name in _output(query).splitlines())
    return f"{name}, {cores} cores{gpus}, Python {platform.python_version()}"


def _output(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
