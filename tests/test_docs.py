"""What the pages say holds: links lead somewhere, and the example module works as printed."""

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots.config import override, replace
from slots.evaluation import PROTOCOLS
from slots.models import Definition
from slots.modules import SlotModuleConfig
from slots.presets import load, presets
from slots.published import ROWS
from slots.types import Batch, Context

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_comparison_page_has_the_scripts_table():
    results = ROOT / "docs/results"
    page = (results / "compare.md").read_text()
    for line in (results / "compare/table.md").read_text().splitlines():
        assert line in page


def test_the_table_of_protocols_is_todays(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from protocols import PAGE, page

    assert page(PAGE.read_text()) == PAGE.read_text()


def test_presets_named_in_pages_exist():
    known = set(presets())
    for page in PAGES:
        for name in re.findall(r"slots train (\w+/\w+)", page.read_text()):
            if name.split("/")[0] not in ("runs", "soft_kmeans"):
                assert name in known, f"{page.name} names {name}"


def published() -> Iterator[dict[str, str]]:
    """The rows of the tables of published numbers, by the heads of their columns."""
    head: list[str] = []
    for line in (ROOT / "docs/published.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif "preset" in head and not set(line) <= set("|-"):
            yield dict(zip(head, cells, strict=True))


@pytest.mark.parametrize("row", [*published()], ids=lambda row: row["preset"].strip("`"))
class TestPublished:
    def test_names_what_there_is_or_what_it_needs(self, row):
        assert row["published"]
        assert row["protocol"] == "–" or row["protocol"].strip("`") in PROTOCOLS
        if row["preset"] == "–":
            assert row["remarks"].startswith("needs ")
        else:
            assert row["preset"].strip("`") in presets()
            assert row["command"].startswith(f"`slots train {row['preset'].strip('`')} ")

    def test_commands_train_and_score_what_the_row_says(self, row):
        if row["preset"] == "–":
            assert row["command"] == "–"
            return
        name = row["preset"].strip("`")
        train, evaluate = (c.split()[2:] for c in re.findall(r"`(slots [^`]+)`", row["command"]))
        assert (train[0], evaluate[0]) == (name, "RUN")
        apart = [w for w in evaluate[1:] if w.startswith(("step=", "protocol="))]
        config = override(load(name), [*train[1:], *(w for w in evaluate[1:] if w not in apart)])
        steps = f"{config.train.steps:,} × {config.train.batch_size}"
        assert row["steps"] == steps
        chosen = next((w.removeprefix("protocol=") for w in apart if "protocol" in w), None)
        assert row["protocol"].strip("`") == (chosen or config.eval.protocol)
        PROTOCOLS[row["protocol"].strip("`")].check(config.data)


@pytest.fixture
def example(monkeypatch):
    """The module of the walk-through, made from the page's own text and registered."""
    text = (ROOT / "docs/adding_a_slot_module.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code is not None
    module = types.ModuleType("soft_kmeans")
    monkeypatch.setitem(sys.modules, "soft_kmeans", module)
    exec(code[1], vars(module))
    monkeypatch.setitem(SlotModuleConfig.kinds, "soft_kmeans", module.SoftKMeansConfig)
    return module


def test_example_module_trains(example):
    config = override(load("slot_attention/tetrominoes_cpu"), ["model.module=soft_kmeans"])
    assert type(config.model.module) is example.SoftKMeansConfig
    config = replace(config, model__encoder__hidden=8, model__decoder__hidden=(8,))
    definition = Definition.of(config.model, (20, 20, 3))
    params, variables = definition.init(jax.random.key(0))
    batch = Batch(image=jax.random.uniform(jax.random.key(1), (2, 20, 20, 3)))

    def loss(params):
        context = Context(step=jnp.int32(0), key=jax.random.key(2), train=True)
        prediction, _ = definition.bind(params)(batch, context, variables)
        error = jnp.square(prediction.reconstruction.output - batch.pixels).mean()
        return error, prediction

    (_, prediction), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(prediction.reconstruction.masks.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(prediction.grouping.attention.sum(1), 1, atol=1e-5)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
    assert float(jnp.abs(gradient["module"]["project"]["kernel"]).max()) > 0


def test_rows_to_reproduce_stand_in_the_table():
    """Numbers of `slots.published` are those of the page, in per cent."""
    lines = (ROOT / "docs/published.md").read_text().splitlines()
    for row in ROWS.values():
        for mean, spread in row.values.values():
            number = f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
            found = [line for line in lines if f"`{row.preset}`" in line and number in line]
            assert found, f"{row.name}: {number} is not in docs/published.md"
            assert any(f"`{row.protocol}`" in line for line in found)
