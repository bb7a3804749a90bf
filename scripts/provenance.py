"""What stands beside every number: the commit and the machine that made it."""

import os
import platform
import subprocess

import jax


def commit() -> str:
    """The checkout's commit, and whether its files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def machine() -> str:
    """Device, cores this process may use, Python."""
    device = jax.devices()[0].device_kind
    return f"{device}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
