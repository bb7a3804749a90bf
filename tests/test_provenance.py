"""The commit that stands beside a result, and whether the code was as it says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from slots import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two files: this module and a page."""
    for name in ("slots/provenance.py", "docs/page.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "slots" / "provenance.py"))
    return tmp_path


def test_the_commit_of_the_checkout(checkout: Path) -> None:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True
    )
    assert provenance.commit() == found.stdout.strip()


def test_changed_code_is_told_and_changed_pages_are_not(checkout: Path) -> None:
    clean = provenance.commit()
    (checkout / "docs" / "page.md").write_text("two")
    assert provenance.commit() == clean
    (checkout / "slots" / "provenance.py").write_text("two")
    assert provenance.commit() == f"{clean} with changes"


def test_no_checkout(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    assert provenance.commit() == "unknown"


def test_the_machine() -> None:
    assert "cores" in provenance.machine()
    assert "Python 3." in provenance.machine()
