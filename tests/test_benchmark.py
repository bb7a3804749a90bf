"""The benchmark: models agree, sides take turns, the table says what was and was not measured."""

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import OVERRIDES, PRESET

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `scripts` is no package of the distribution

from scripts.benchmark import __main__ as program  # noqa: E402
from scripts.benchmark import loading  # noqa: E402
from scripts.benchmark.breakdown import breakdown  # noqa: E402
from scripts.benchmark.cases import CASES, TINY  # noqa: E402
from scripts.benchmark.table import section  # noqa: E402
from scripts.benchmark.timing import Result, measure  # noqa: E402
from slots import ConfigError, build, presets  # noqa: E402
from slots.config import override  # noqa: E402
from slots.modules import InvariantSlotAttentionConfig  # noqa: E402

PARITY = Path(os.environ.get("SLOTS_PARITY", ROOT.parent / "shared" / "data" / "parity"))
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: make bench"
)


@pytest.fixture(autouse=True)
def _children_start_here(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
def test_without_torch_our_side_is_timed_and_the_table_says_so(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    out = tmp_path / "table.md"
    program.main(["--quick", "--no-breakdown", "--threads", "1", "--out", str(out)])
    text = out.read_text()
    assert "PyTorch is not installed: only our side is timed." in text
    assert "| `slots` |" in text
    assert "| PyTorch" not in text


def test_a_side_that_fails_is_reported_and_the_others_go_on():
    results = measure(TINY, ["ours", "no-such-side"], threads=1, rounds=2, seconds=0.01)
    assert results["no-such-side"].failure
    assert len(results["ours"].seconds) == 2
    assert min(results["ours"].seconds) > 0
    text = "\n".join(section("t", {"ours": results["ours"], "torch": Result(failure="no")}, ""))
    assert "not run: no" in text


@pytest.mark.slow
def test_parts_of_the_step():
    found = breakdown(build(override(TINY.config, ["mesh.data=1"])), repeats=1)
    assert list(found["parts"])[-1] == "whole step"
    assert found["parts"]["whole step"][2] > 0
    assert found["peak"] > 0


@pytest.mark.parametrize("name", sorted(CASES))
def test_rows_name_presets_and_settings_that_exist(name):
    assert CASES[name].config.model.num_slots


@pytest.fixture(scope="module")
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "SCENES", 12)
        patch.setattr(loading, "HELD_OUT", 4)
        yield


@pytest.mark.parametrize("name", sorted(set(loading.ROWS) - {"generated"}))
def test_copies_of_published_sets_are_read(name, few_scenes, tmp_path):
    row = loading.ROWS[name]
    config = override(presets.load(row.preset), row.make(tmp_path))
    batch = next(config.data.make().train(4))
    assert batch.image.shape == (4, *config.data.image_size, 3)
    assert batch.segmentation.any()


def test_reading_is_timed_beside_steps(few_scenes, capsys, tmp_path, monkeypatch):
    small = [word for word in OVERRIDES if not word.startswith("data.")]  # quick to compile
    for name in ("generated", "folder"):
        row = loading.ROWS[name]
        made = dataclasses.replace(
            row, preset=PRESET, make=lambda folder, row=row: [*row.make(folder), *small]
        )
        monkeypatch.setitem(loading.ROWS, name, made)
    arguments = ["--rows", "generated", "folder", "--rounds", "1", "--seconds", "0.01"]
    loading.main([*arguments, "--out", str(tmp_path / "table.md")])
    text = (tmp_path / "table.md").read_text()
    rows = text.splitlines()[-3:]
    assert "\n".join(rows) in capsys.readouterr().out
    assert rows[0].startswith("| Tetrominoes, generated | – | `slot_attention/tetrominoes_cpu` |")
    assert [row.split(" | ")[1] for row in rows] == ["–", "yes", "no"]
    for row in rows:
        assert all(float(cell.replace(",", "")) > 0 for cell in row.split("|")[4:7])


FRAMES = ["model.initializer=frames", "model.module=invariant_slot_attention"]
COORDINATES = ["model.encoder.head.position=none", "model.decoder.position=coordinates"]


@needs_torch
@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["model.decoder.background=true"],
        *([*COORDINATES, *FRAMES, f"model.module.variant={kind}"] for kind in ("t", "ts", "tsr")),
        ["model.initializer=mixture", "model.module=slot_mixture"],
        ["model.module=mesh", "model.module.plan=sinkhorn"],
        ["model.module=mesh", "model.module.noise_scale=0"],  # no noise to give to both
        ["model.initializer=dictionary", "objectives=[reconstruction,part_losses]"],
    ],
    ids=["plain", "background", "t", "ts", "tsr", "mixture", "sinkhorn", "mesh", "cosa"],
)
def test_sides_agree_on_small_models(settings):
    from scripts.benchmark.agreement import check

    check(build(override(TINY.config, [*settings, "mesh.data=1"])))


@needs_torch
def test_the_compact_architecture_agrees():
    from scripts.benchmark.agreement import check

    config = override(CASES["compact"].config, ["train.batch_size=2", "mesh.data=1"])
    check(build(config))


@needs_torch
def test_disagreement_is_found(monkeypatch):
    from scripts.benchmark import agreement

    monkeypatch.setattr(agreement, "OUTPUTS", 1e-12)
    monkeypatch.setattr(agreement, "ROUNDING", 0)
    with pytest.raises(agreement.DisagreementError, match="differs by"):
        agreement.check(build(override(TINY.config, ["mesh.data=1"])))


@needs_torch
def test_what_is_not_covered_is_refused():
    from scripts.benchmark.torch_models import Autoencoder

    config = override(TINY.config, ["model.encoder.strides=[1,2]"])
    with pytest.raises(ConfigError, match=r"do not cover encoder\.strides"):
        Autoencoder(config, (35, 35, 3))


@needs_torch
@pytest.mark.parity
@pytest.mark.parametrize("kind", ["t", "ts", "tsr"])
def test_plain_invariant_slot_attention_gives_the_stored_answers(kind):
    import torch

    from scripts.benchmark.torch_models import Frames, InvariantSlotAttention

    path = PARITY / f"isa_{kind}.npz"
    if not path.exists():
        pytest.skip(f"no {path} (set SLOTS_PARITY)")
    stored = dict(np.load(path))

    def double(name):
        return torch.tensor(stored[name].astype(np.float64))

    config = InvariantSlotAttentionConfig(
        variant=kind,
        num_iterations=int(stored["hyper/num_iterations"]),
        mlp_hidden=int(stored["hyper/mlp_size"]),
        grid_hidden=int(stored["hyper/grid_encoder_hidden"]),
    )
    tokens = double("in/inputs")
    width = stored["out/slots"].shape[-1]
    factor = float(stored.get("hyper/scales_factor", 1.0))
    module = InvariantSlotAttention(config, tokens.shape[-1] - 2, width, factor).double()
    parameters = reference_parameters(module)
    with torch.no_grad():
        for name, view in parameters.items():
            view.copy_(read(stored, "param", name))
    state = double("in/initial_slots").requires_grad_()
    tokens.requires_grad_()
    vectors, *parts = state.split([width, *{"t": [2], "ts": [2, 2], "tsr": [2, 2, 4]}[kind]], -1)
    if kind == "tsr":
        parts[2] = parts[2].unflatten(-1, (2, 2))
    # Places are the same for all examples here, and get no gradient.
    slots, frames = module(tokens[..., :-2], vectors, Frames(*parts), tokens[0, :, -2:].detach())
    found = [slots, *(part.flatten(2) for part in frames if part is not None)]
    found = torch.cat(found, dim=-1)
    (found * double("in/cotangent")).sum().backward()
    assert_near(found, double("out/state"))
    assert_near(state.grad, double("grad/initial_slots"))
    assert_near(tokens.grad[..., :-2], double("grad/inputs")[..., :-2])
    for name, gradient in reference_parameters(module, gradients=True).items():
        assert_near(gradient, read(stored, "grad/param", name))


def assert_near(found, wanted):
    found, wanted = found.detach().numpy(), wanted.numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 + 1e-6 * np.abs(wanted).max())


def reference_parameters(module, gradients=False):
    """The reference's path of each parameter (gates joined by `+`) and our view of it."""
    from scripts.benchmark.torch_models import views

    ours = views(module, (lambda p: p.grad) if gradients else (lambda p: p.data))
    found = {}

    def take(part, source):
        leaves = ours
        for key in part.split("/"):
            leaves = leaves[key]
        for leaf, view in leaves.items():
            found[f"{source}/{leaf}"] = view

    for part, source in {
        "norm_inputs": "LayerNorm_0",
        "norm_slots": "LayerNorm_1",
        "key": "general_dense_k_0",
        "value": "general_dense_v_0",
        "query": "general_dense_q_0",
        "grid_encoder/projection": "dense_gp_0",
        "grid_encoder/norm": "MLP_0/LayerNorm_0",
        "grid_encoder/mlp/first": "MLP_0/dense_mlp_0",
        "grid_encoder/mlp/second": "MLP_0/dense_mlp_1",
        "norm_mlp": "MLP_1/LayerNorm_0",
        "mlp/first": "MLP_1/dense_mlp_0",
        "mlp/second": "MLP_1/dense_mlp_1",
    }.items():
        take(part, source)
    gru = "GRU_0/GRUCell_0"
    found[f"{gru}/ir+{gru}/iz+{gru}/in/kernel"] = ours["gru"]["input_kernel"]
    found[f"{gru}/ir+{gru}/iz+{gru}/in/bias"] = ours["gru"]["input_bias"]
    found[f"{gru}/hr+{gru}/hz+{gru}/hn/kernel"] = ours["gru"]["hidden_kernel"]
    found[f"{gru}/hn/bias"] = ours["gru"]["hidden_bias"]
    return found


def read(stored, prefix, name):
    import torch

    path, leaf = name.rsplit("/", 1)
    arrays = [stored[f"{prefix}/{part}/{leaf}"] for part in path.split("+")]
    return torch.tensor(np.concatenate(arrays, axis=-1).astype(np.float64))
