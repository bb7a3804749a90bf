"""Scripts that compare runs: small, from nothing, gone on with, and read back."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import pytest
from tiny import OVERRIDES, same_bits

import slots

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL_DIGITS = (
    "data.held_out_size=16",
    "model.slot_dim=8",
    "model.hidden=8",
    "model.encoder.hidden=8",
    "model.encoder.features=8",
    "model.encoder.head.hidden=8",
    "model.module.num_iterations=1",
    "model.module.mlp_hidden=8",
    "train.steps=2",
    "train.batch_size=8",
    "eval.count=16",
    "eval.batch_size=16",
    "eval.every=100",
    "log.tensorboard=false",
)

Script = Callable[..., tuple[ModuleType, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, where scripts find each other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs one: the module and what it printed."""

    def call(name: str, *words: str) -> tuple[ModuleType, str]:
        capsys.readouterr()
        module = import_module(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        module.main()
        return module, capsys.readouterr().out

    return call


def rows(text: str) -> list[list[str]]:
    """The cells of a table's lines below its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def refuse(*_: Any) -> None:
    raise AssertionError("nothing is left to train")


@pytest.mark.slow
def test_comparison_of_modules(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tasks", "tetrominoes", "--out", "out", "--seeds", "2"]
    settings = ["--set", *OVERRIDES, "train.steps=2"]
    # One half, as one of two processes would: the other's row is not there yet.
    _, text = script(
        "compare", *words, "--methods", "slot_attention", "mesh", "--share", "0", "2", *settings
    )
    assert [row[1] for row in rows(text)] == ["Slot Attention"]
    _, text = script("compare", *words, "--methods", "slot_attention", "mesh", *settings)
    first, second = rows(text)
    assert [first[1], second[1]] == ["Slot Attention", "MESH"]
    assert Path("out/table.md").read_text() == text[text.index("| data") :]
    assert Path("out/figure.png").stat().st_size > 1000
    assert "±" in first[2]
    # Another machine has the records and not the runs.
    shutil.rmtree("runs")
    monkeypatch.setattr(slots, "train", refuse)
    _, again = script("compare", *words, "--methods", "slot_attention", "mesh", *settings)
    assert rows(again) == [first, second]
    with pytest.raises(SystemExit):
        script("compare", *words, "--methods", "mesh", *settings, "train.batch_size=4")
    assert "was made by `mesh/tetrominoes_cpu" in capsys.readouterr().err


@pytest.mark.slow
def test_adaptation_of_the_head_alone(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--methods", "cosa", "--tasks", "add", "diff", "--seeds", "1", "--steps", "2"]
    words += ["--out", "out", "--set", *SMALL_DIGITS]
    adapt, text = script("adapt", *words)
    assert [row[1:4] for row in rows(text)] == [
        ["add", "add", "–"],
        ["add", "diff", "2"],
        ["diff", "diff", "–"],
        ["diff", "add", "2"],
    ]
    conditions = [
        adapt.condition("cosa", task, 1, list(SMALL_DIGITS), Path("out"))
        for task in ("add", "diff")
    ]
    source = slots.restore(conditions[0].folder)
    adaptation = adapt.Adaptation(conditions[1], 2)
    fresh = adaptation.experiment.trainer.init()
    adapted = adaptation._adapt(0, fresh, source)
    trained = {**source.params}
    head, own = adapted.params.pop("head"), trained.pop("head")
    assert same_bits(adapted.params, trained)
    assert same_bits(adapted.variables, source.state.variables)
    assert head["output"]["kernel"].shape[-1] == 10
    assert own["output"]["kernel"].shape[-1] == 19
    del head["output"], own["output"]
    assert not same_bits(head, own)
    assert not jax.tree.reduce(bool.__or__, jax.tree.map(lambda x: bool((x != x).any()), head))
    monkeypatch.setattr(slots, "train", refuse)
    monkeypatch.setattr(adapt, "Adaptation", refuse)
    _, again = script("adapt", *words)
    assert rows(again) == rows(text)


@pytest.mark.slow
def test_ledger_of_papers_rows(script: Script) -> None:
    ledger = import_module("ledger")
    Path("ledger.md").write_text(f"Before.\n{ledger.BEGIN}\n{ledger.END}\nAfter.\n")
    words = ["--row", "slot_attention/tetrominoes", "--results", ".", "--runs", "runs"]
    script(
        "ledger", *words, *(text for text in OVERRIDES if "protocol" not in text), "train.seeds=2"
    )
    text = Path("ledger.md").read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    card = json.loads(Path("ledger/slot_attention-tetrominoes/card.json").read_text())
    value = card["values"]["fg_ari"]
    (row,) = rows(text)
    assert row[0] == "[slot_attention/tetrominoes](ledger/slot_attention-tetrominoes/card.json)"
    assert row[1:4] == ["compact", "fg_ari", f"{value['ours']:.3f} ± {value['ours_std']:.3f}"]
    assert row[4:6] == ["0.995 ± 0.002", value["verdict"]]
    assert row[6] == "`fg-ari/slot-attention`, 16 examples (the protocol asks for 320), seeds 0, 1"
    # The page alone, and rows without a paper's number.
    other = Path("ledger/invariant_slot_attention-tetrominoes/card.json")
    other.parent.mkdir()
    name = "invariant_slot_attention/tetrominoes"
    other.write_text(json.dumps(card | {"row": name, "values": {}}))
    script("ledger", "--results", ".")
    first, *others = rows(Path("ledger.md").read_text())
    assert first == row
    assert [one[2:6:2] for one in others] == [["fg_ari", "–"], ["ari", "–"]]
