"""The direction of imports, and what importing the package must not load."""

import ast
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "slots"
FAMILIES = {"modules", "initializers", "encoders", "decoders", "temporal"}
LAYERS = (
    {"types", "files", "provenance", "published"},
    {"config"},
    {"processes"},
    {"properties"},
    {"nn"},
    FAMILIES | {"metrics", "visualize", "data"},
    {"models"},
    {"objectives"},
    {"evaluation"},
    {"training"},
    {"experiment"},
    {"run_folder"},
    {"presets", "runs"},
    {"figures", "conditions", "rescoring", "scores"},
    {"reproduce", "report", "sweep", "selftest"},
    {"cli"},
    {"__init__"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# fmt: off
HEAVY = (
    "tensorflow", "tensorflow_datasets", "torch", "matplotlib", "orbax", "grain", "PIL", "cv2",
    "sklearn", "tensorboardX", "h5py", "pycocotools", "array_record",
)
# fmt: on


def imported(source, package):
    """Dotted names of this package's modules that `source` imports, anywhere in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            # `from slots import data` names a room, `from slots.data import X` a thing inside it
            names = [f"{base}.{a.name}" for a in node.names] if base == "slots" else [base]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "slots")


def broken_rules(relative, source):
    """What a file imports against the direction, as sentences."""
    path = Path(relative)
    room = path.parts[0].removesuffix(".py")
    if room not in LEVEL:
        yield f"slots/{relative}: the room {room!r} has no place in the order of imports"
        return
    for name in imported(source, ("slots", *path.parts[:-1])):
        _, *rest = name.split(".")
        target = rest[0] if rest else "__init__"
        inside = rest[1] if len(rest) > 1 else None
        if target == room:
            continue
        if target not in LEVEL:
            target = "__init__"  # a public name of the package
        if LEVEL[target] >= LEVEL[room]:
            yield f"slots/{relative} imports {name}, which stands beside or above {room}"
        elif room in ("models", "objectives") and target in FAMILIES and inside != "base":
            yield f"slots/{relative} imports {name}; {room} see only `base` of a family"


FILES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("relative", FILES)
def test_imports_point_one_way(relative):
    broken = list(broken_rules(relative, (PACKAGE / relative).read_text()))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("relative", "source"),
    [
        ("nn/conv.py", "from slots.modules import SlotAttention"),
        ("decoders/mlp.py", "import slots.encoders.base"),
        ("metrics/ari.py", "def f():\n    from slots.visualize import grid"),
        ("metrics/ari.py", "from slots import visualize"),
        ("metrics/ari.py", "from ..data import base"),
        ("types.py", "from slots.config import Component"),
        ("models/image.py", "from slots.modules import SlotAttentionConfig"),
        ("models/image.py", "from slots.modules.slot_attention import SlotAttention"),
        ("models/image.py", "from slots.objectives.base import ObjectiveConfig"),
        ("training/step.py", "from slots.experiment import build"),
        ("modules/mesh.py", "from slots import Slots"),
        ("helpers.py", ""),
    ],
)
def test_the_check_finds_what_is_wrong(relative, source):
    assert len(list(broken_rules(relative, source))) == 1


@pytest.mark.parametrize(
    ("relative", "source"),
    [
        ("nn/conv.py", "import jax\nfrom slots.nn.initial import glorot\nfrom . import mlp"),
        ("models/image.py", "from slots.modules.base import SlotModuleConfig"),
        ("objectives/base.py", "from slots.models.base import Model"),
        ("cli.py", "from slots import presets"),
    ],
)
def test_the_check_lets_pass_what_is_right(relative, source):
    assert not list(broken_rules(relative, source))


def test_importing_the_package_loads_nothing_heavy(record_property):
    program = textwrap.dedent(f"""
        import sys
        import slots
        print([name for name in {HEAVY!r} if name in sys.modules])
    """)
    start = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    record_property("seconds", time.perf_counter() - start)
    assert found.stdout.strip() == "[]"


def test_public_names():
    import slots

    assert sorted(slots.__all__) == sorted(
        {
            *("ExperimentConfig", "build", "train", "evaluate", "restore"),
            *("Batch", "Tokens", "Slots", "Grouping", "Reconstruction", "Prediction"),
            *("TrainState", "Component", "ConfigError", "modules", "metrics", "visualize"),
        }
    )
    assert all(hasattr(slots, name) for name in slots.__all__)
