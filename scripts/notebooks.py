"""Runs the notebooks in full and stores their outputs: notebooks/<name>.ipynb beside <name>.py.

python scripts/notebooks.py [NAME ...]
"""

import sys
from pathlib import Path

import jupytext
import nbclient
import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.py"))
    for name in names:
        notebook = jupytext.read(FOLDER / f"{name}.py")
        resources = {"metadata": {"path": str(FOLDER)}}
        nbclient.NotebookClient(notebook, timeout=3600, resources=resources).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                # Progress lines would fill the page.
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
                cell.metadata.pop("execution", None)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
