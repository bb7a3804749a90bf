"""Finding and loading presets: Python files with a function `config()`."""

import ast
import importlib.util
from pathlib import Path

from slots.config import ConfigError, nearest
from slots.experiment import ExperimentConfig


def preset_folder() -> Path:
    """`configs/` of the checkout, or the copy that the wheel carries."""
    package = Path(__file__).parent
    checkout = package.parent / "configs"
    return checkout if (checkout / "slot_attention").is_dir() else package / "configs"


def presets() -> dict[str, Path]:
    """Every preset's name (`slot_attention/tetrominoes`) and file."""
    folder = preset_folder()
    files = sorted(p for p in folder.glob("*/*.py") if not p.name.startswith("_"))
    return {str(p.relative_to(folder).with_suffix("")): p for p in files}


def promise(path: Path) -> str:
    """The first line of a preset's head, read without running it."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.splitlines()[0] if text else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def load(name: str) -> ExperimentConfig:
    """The settings of the preset called `name`, or of a Python file at that path.

    Raises:
        ConfigError: there is neither, or the file has no `config()` that returns settings.
    """
    known = presets()
    path = known.get(name, Path(name))
    if not _is_file(path):
        raise ConfigError(
            f"{name!r} is no preset, Python file or run folder{nearest(name, known) or ';'} "
            f"see them all with: slots list"
        )
    spec = importlib.util.spec_from_file_location("slots_preset", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file with a preset.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{path} is not valid Python: {error}.") from error
    function = getattr(module, "config", None)
    config = function() if callable(function) else None
    if not isinstance(config, ExperimentConfig):
        raise ConfigError(f"{path} has no function config() that returns an ExperimentConfig.")
    return config
