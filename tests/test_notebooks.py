"""The notebooks run from top to bottom, shortened by one variable, and their two forms agree."""

from pathlib import Path

import jupytext
import nbclient
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
SLOW = ("slot_frames", "swap_modules")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Where compiled programs are kept, as a kernel compiles some of them twice."""
    return tmp_path_factory.mktemp("programs")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
        for path in NOTEBOOKS
    ],
)
@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_notebook_runs(path, monkeypatch, programs):
    monkeypatch.setenv("SLOTS_SHORT", "1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(programs))
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    assert not any(o.output_type == "error" for o in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_belong_to_the_text(path):
    text = jupytext.read(path)
    stored = jupytext.read(path.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in stored.cells] == [
        (c.cell_type, c.source) for c in text.cells
    ]
