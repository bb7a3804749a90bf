"""Devices: placements, equal losses on every mesh, and meshes that do not fit."""

import json
import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from tiny import Experiment, advance, distance, dots, experiment, same_bits, train_steps

from slots.config import ConfigError
from slots.experiment import build, parameter_table
from slots.training import CheckpointConfig, Checkpoints, MeshConfig
from slots.training.mesh import batch_divisor, batch_sharding, param_shardings
from slots.training.rules import named_leaves

RULES = [["decoder/layers/.*/kernel", "column"], ["decoder/output/kernel", "row"]]
MESHES: dict[str, tuple[str, ...]] = {
    "data=1": (),
    "data=2": ("mesh.data=2",),
    "data=4": ("mesh.data=4",),
    "data=8": ("mesh.data=-1",),
    "fsdp=2": ("mesh.fsdp=2",),
    "fsdp=4": ("mesh.fsdp=4",),
    "fsdp=8": ("mesh.fsdp=8",),
    "2×2×2": ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2", f"mesh.rules={json.dumps(RULES)}"),
}

needs_8 = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices")


def on(mesh: str) -> Experiment:
    return experiment(*MESHES[mesh])


def spec(state: Any, name: str) -> PartitionSpec:
    return named_leaves(state.params)[name].sharding.spec


@needs_8
@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param(name, marks=[pytest.mark.slow] * name.endswith(("=2", "=4")))
        for name in MESHES
        if name != "data=1"
    ],
)
def test_losses_do_not_depend_on_the_mesh(mesh: str) -> None:
    reference, expected = train_steps(on("data=1"), 3)
    state, losses = train_steps(on(mesh), 3)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert distance(state.params, reference.params) < 1e-5


@needs_8
class TestPlacement:
    def test_fsdp_splits_the_largest_axis_that_it_divides(self) -> None:
        state = on("fsdp=4").trainer.init()
        # 4 × 4 × 3 pixels in, 16 features out; the mask logit and colours of 5 × 5 pixels: 100.
        kernels = {
            "encoder/mlp/first/kernel": (48, 16),
            "decoder/output/kernel": (16, 100),
        }
        for name, shape in kernels.items():
            leaf = named_leaves(state.params)[name]
            assert leaf.shape == shape
            axis = int(np.argmax(shape))
            assert leaf.sharding.spec == PartitionSpec(
                *("fsdp" if i == axis else None for i in (0, 1))
            )
            part = list(shape)
            part[axis] //= 4
            assert {s.data.shape for s in leaf.addressable_shards} == {tuple(part)}

    def test_what_fsdp_does_not_divide_is_whole_and_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("INFO", "slots"):
            state = on("fsdp=8").trainer.init()
        assert spec(state, "decoder/mixture/color") == PartitionSpec(None)
        assert "fsdp=8 divides no axis of" in caplog.text
        assert "decoder/mixture/color" in caplog.text

    def test_every_axis_of_a_full_mesh_is_used(self) -> None:
        built = on("2×2×2")
        state = built.trainer.init()
        assert spec(state, "decoder/layers/0/kernel") == PartitionSpec("fsdp", "tensor")
        assert spec(state, "decoder/output/kernel") == PartitionSpec("tensor", "fsdp")
        batch = next(built.trainer.batches(0))
        assert batch.image.sharding.spec == PartitionSpec(("data", "fsdp"))
        assert {s.data.shape[0] for s in batch.image.addressable_shards} == {2}

    def test_moments_lie_where_their_parameters_do(self) -> None:
        built = on("2×2×2")
        moments = {
            name: leaf.sharding
            for name, leaf in named_leaves(built.trainer.abstract_state().opt_state).items()
            if name.endswith("decoder/output/kernel")
        }
        assert len(moments) == 2
        assert {place.spec for place in moments.values()} == {PartitionSpec("tensor", "fsdp")}

    def test_parameters_are_born_in_place_and_stay_there(self) -> None:
        built = on("2×2×2")
        abstract = named_leaves(built.trainer.abstract_state())
        state = built.trainer.init()
        for _ in range(2):
            for name, leaf in named_leaves(state).items():
                assert leaf.sharding.is_equivalent_to(abstract[name].sharding, leaf.ndim), name
            state, _ = advance(built, state, 1)

    def test_where_a_parameter_is_born_does_not_change_it(self) -> None:
        assert same_bits(on("fsdp=8").trainer.init().params, on("data=1").trainer.init().params)

    def test_the_table_of_parameters_shows_it(self) -> None:
        table = parameter_table(on("2×2×2"))
        (row,) = (line for line in table.splitlines() if line.startswith("decoder/output/kernel"))
        assert row.split()[1:4] == ["16×100", "float32", "1,600"]
        assert "'tensor', 'fsdp'" in row
        assert "total " in table.splitlines()[-1]

    def test_replicate_overrules_fsdp(self) -> None:
        mesh = MeshConfig(data=1, fsdp=8, rules=((".*", "replicate"),))
        params = on("data=1").trainer.abstract_state().params
        places = jax.tree.leaves(param_shardings(params, mesh.make(), mesh.rules))
        assert all(place.is_fully_replicated for place in places)


@needs_8
@pytest.mark.parametrize(("before", "after"), [("fsdp=4", "data=1"), ("data=1", "2×2×2")])
def test_a_checkpoint_goes_on_elsewhere(before: str, after: str, tmp_path: Any) -> None:
    expected, losses = train_steps(on("data=1"), 4)
    state, first = train_steps(on(before), 2)
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(2, state)
    checkpoints.wait()
    target = on(after).trainer.abstract_state()
    restored, step = checkpoints.restore(target)
    checkpoints.close()
    assert step == 2
    for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(target), strict=True):
        assert leaf.sharding == wanted.sharding
    assert same_bits(restored, state)
    state, rest = advance(on(after), restored, 2)
    assert first + rest == pytest.approx(losses, rel=1e-5)
    assert distance(state.params, expected.params) < 1e-5


@needs_8
class TestBadMeshes:
    @pytest.mark.parametrize(
        ("settings", "parts"),
        [
            (("mesh.data=8", "train.batch_size=12"), ["train.batch_size=12", "multiple of 8"]),
            (
                ("mesh.data=2", "mesh.fsdp=2", "train.accumulate=4", "train.batch_size=8"),
                ["train.batch_size=8", "multiple of 16"],
            ),
            (("mesh.data=16", "train.batch_size=16"), ["mesh.data=16", "16 devices", "are 8"]),
            (("mesh.fsdp=16",), ["fsdp=16", "16 devices", "are 8"]),
            (("mesh.data=-1", "mesh.fsdp=16"), ["fsdp=16", "16 devices", "are 8"]),
            (("mesh.data=0",), ["mesh.data=0", "at least 1"]),
            (("mesh.data=-2",), ["mesh.data=-2", "at least 1"]),
            (("mesh.fsdp=0",), ["mesh.fsdp=0", "at least 1"]),
            (("mesh.tensor=2",), ["mesh.tensor=2", "mesh.rules", "column or row"]),
            (("mesh.rules=[[a, sideways]]",), ["'a'", "'sideways'", "column or row"]),
        ],
        ids=str,
    )
    def test_one_sentence_says_what_does_not_fit(
        self, settings: tuple[str, ...], parts: list[str]
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            build(dots(*settings))
        for part in parts:
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("rule", "parts"),
        [
            (["decodr/.*", "column"], ["mesh.rules", "'decodr/.*'", "matches no parameter"]),
            (["decoder/mixture/color", "column"], ["decoder/mixture/color", "(3,)", "tensor=2"]),
            (["decoder/mixture/color", "row"], ["decoder/mixture/color", "(3,)", "tensor=2"]),
        ],
        ids=str,
    )
    def test_rules_that_do_not_fit_the_parameters(self, rule: list[str], parts: list[str]) -> None:
        mesh = MeshConfig(data=1, tensor=2, rules=((rule[0], rule[1]),))
        params = on("data=1").trainer.abstract_state().params
        with pytest.raises(ConfigError) as caught:
            param_shardings(params, mesh.make(), mesh.rules)
        for part in parts:
            assert part in str(caught.value)


@needs_8
def test_the_batch_is_split_over_data_and_fsdp() -> None:
    mesh = MeshConfig(data=2, fsdp=2, tensor=2, rules=((".*", "column"),)).make()
    assert batch_divisor(mesh) == 4
    assert batch_sharding(mesh).shard_shape((8, 3)) == (2, 3)
    assert mesh.devices.shape == (2, 2, 2)


def test_a_cpu_counts_as_several_devices() -> None:
    code = "from slots.training import MeshConfig; print(MeshConfig(cpu_devices=3).make().size)"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"


EIGENVALUES = """
import os
import jax, jax.numpy as jnp
from slots.training import MeshConfig
from slots.training.mesh import batch_sharding
mesh = MeshConfig(cpu_devices=len(os.sched_getaffinity(0))).make()
x = jax.random.normal(jax.random.key(0), (16 * mesh.size, 64, 64))
x = jax.device_put(x + x.mT, batch_sharding(mesh))
find = jax.jit(lambda x: jnp.linalg.eigh(x)[0].sum())
for _ in range(100):
    find(x).block_until_ready()
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are counted by it")
def test_all_devices_may_decompose_at_once() -> None:
    """With as many threads as devices this waited for ever, after 30 rounds at most."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment.pop("PJRT_NPROC", None)
    subprocess.run([sys.executable, "-c", EIGENVALUES], env=environment, check=True, timeout=120)


def test_a_cpu_is_split_before_jax_starts_or_not_at_all() -> None:
    there = jax.device_count("cpu")
    MeshConfig(cpu_devices=there).make()  # as it is
    with pytest.raises(ConfigError, match=rf"comes too late: .* keeps its {there}"):
        MeshConfig(cpu_devices=there + 1).make()
    with pytest.raises(ConfigError, match="at least 1"):
        MeshConfig(cpu_devices=0)
