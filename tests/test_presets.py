"""Every preset: found, built at full size, and stepped in a small version."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick_compiles, train_steps, write_pictures

from slots.config import ConfigError, override, replace
from slots.data import FolderConfig
from slots.encoders import ResNetConfig
from slots.experiment import ExperimentConfig, build
from slots.models import Definition, count_parameters
from slots.objectives import ReconstructionConfig
from slots.presets import load, preset_folder, presets, promise

NAMES = sorted(presets())

PARAMETERS = {
    # Flax's counts: TensorFlow's keep a GRU bias more.
    "slot_attention/tetrominoes": 235_684,
    "slot_attention/multi_dsprites": 235_684,
    "slot_attention/clevr6": 890_180,
    "invariant_slot_attention/tetrominoes": 730_308,
    "invariant_slot_attention/objects_room": 896_708,
    "invariant_slot_attention/clevr": 896_708,
    "invariant_slot_attention/clevrtex": 896_708,
    "invariant_slot_attention/clevrtex_resnet": 21_919_684,
    "invariant_slot_attention/multi_shape_net": 896_708,
    "invariant_slot_attention/waymo": 21_919_684,
}


@pytest.fixture(autouse=True, scope="module")
def _quick_compiles() -> Iterator[None]:
    with quick_compiles():
        yield


def image_shape(config: ExperimentConfig) -> tuple[int, int, int]:
    """(H, W, C), without opening files."""
    if isinstance(config.data, FolderConfig):
        return (*config.data.image_size, config.data.channels)
    return config.data.make().image_shape


def small(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The same parts, narrow, two pictures at a time, on generated data of the same layout."""

    def narrow(part: Any) -> Any:
        """Any width above 8 becomes 8, any number of rounds above 2 becomes 2."""
        if isinstance(part, ResNetConfig):
            part = dataclasses.replace(part, depth=18, width_multiplier=1 / 32, num_groups=2)
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name in ("channels", "hidden") and isinstance(value, tuple):
                changes[field.name] = tuple(min(8, width) for width in value)
            elif field.name in ("features", "hidden", "mlp_hidden", "grid_hidden") and value:
                changes[field.name] = min(8, value)
            elif field.name == "num_iterations":
                changes[field.name] = min(2, value)
            elif dataclasses.is_dataclass(value):
                changes[field.name] = narrow(value)
        return dataclasses.replace(part, **changes)

    data = config.data
    if isinstance(data, FolderConfig):
        size = tuple(min(32, side) for side in data.image_size)
        write_pictures(folder / "train", 4, size=32)
        write_pictures(folder / "val", 4, size=32)
        data = dataclasses.replace(data, path=str(folder), image_size=size)
    model: Any = narrow(config.model)
    return replace(
        config,
        data=data,
        model=replace(model, slot_dim=8),
        train__batch_size=2,
        train__accumulate=1,
        mesh__data=1,
    )


def architecture(name: str) -> tuple[str, ...]:
    """Which parts a preset puts together."""
    model: Any = load(name).model
    parts = [getattr(model, part, None) for part in ("encoder", "initializer", "module", "decoder")]
    return (*(part.kind for part in (model, *parts) if part is not None),)


FIRST = {architecture(name): name for name in reversed(NAMES)}
"""A preset of each architecture; the others of the same step among the slow tests."""


def test_there_are_presets() -> None:
    assert set(PARAMETERS) <= set(NAMES)
    files = preset_folder().glob("*/*.py")
    assert len(NAMES) == len([f for f in files if not f.name.startswith("_")])


@pytest.mark.parametrize("name", NAMES)
class TestEveryPreset:
    def test_is_named_after_its_file_and_says_what_it_promises(self, name: str) -> None:
        assert load(name).name == name
        head = promise(presets()[name])
        assert head.endswith((".", ";"))
        assert f"slots train {name}" in presets()[name].read_text()

    def test_builds_at_full_size(self, name: str) -> None:
        config = load(name)
        definition = Definition.of(config.model, image_shape(config))
        params, _ = jax.eval_shape(definition.init, jax.random.key(0))
        assert count_parameters(params) == PARAMETERS.get(name, count_parameters(params))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FIRST.values() else pytest.mark.slow)
        for name in NAMES
    ],
)
def test_takes_two_steps_when_small(name: str, tmp_path: Path) -> None:
    state, losses = train_steps(build(small(load(name), tmp_path)), 2)
    assert np.all(np.isfinite(losses))
    assert int(state.step) == 2
    assert int(state.skipped) == 0


BASE_LINE = (
    "model.module=slot_attention",
    "model.module.epsilon_on=sum",
    "model.module.layer_norm_epsilon=1e-6",
    "model.initializer=learned",
    "model.encoder.head.position=coordinates",
    "model.encoder.head.hidden=128",
)


class TestInvariantSlotAttention:
    """What its sheet says of the published recipes."""

    @pytest.mark.parametrize("changes", [("model.module.variant=tsr",), BASE_LINE])
    @pytest.mark.parametrize("name", ["tetrominoes", "clevr"])
    def test_variants_and_base_line_are_equally_large(
        self, name: str, changes: tuple[str, ...]
    ) -> None:
        name = f"invariant_slot_attention/{name}"
        config = override(load(name), changes)
        definition = Definition.of(config.model, image_shape(config))
        params, _ = jax.eval_shape(definition.init, jax.random.key(0))
        assert count_parameters(params) == PARAMETERS[name]

    @pytest.mark.parametrize(
        ("name", "step", "rate"),
        [
            ("clevr", 0, 0.0),
            ("clevr", 5_000, 2e-4),
            ("clevr", 10_000, 4e-4),
            ("clevr", 255_000, 2e-4),
            ("clevr", 499_999, 0.0),
            ("tetrominoes", 12_500, 2e-4),
        ],
    )
    def test_learning_rate(self, name: str, step: int, rate: float) -> None:
        config = load(f"invariant_slot_attention/{name}")
        found = config.optimizer.schedule(config.train.steps)(jnp.int32(step))
        np.testing.assert_allclose(found, rate, rtol=1e-5, atol=1e-10)

    def test_loss_is_summed_over_the_picture(self) -> None:
        (term,) = load("invariant_slot_attention/clevr").objectives
        assert term == ReconstructionConfig(reduce="sum")

    def test_gradients_are_clipped(self) -> None:
        assert load("invariant_slot_attention/waymo").optimizer.clip_norm == 0.05

    def test_features_may_stand_for_the_grid(self) -> None:
        """The released ResNet recipe of TS and TSR: two channels fewer for keys and values."""
        config = override(
            load("invariant_slot_attention/clevrtex_resnet"),
            ["model.module.grid_in_features=true", *BASE_LINE[-2:]],
        )
        definition = Definition.of(config.model, image_shape(config))
        params, _ = jax.eval_shape(definition.init, jax.random.key(0))
        assert params["module"]["key"]["kernel"].shape == (510, 64)


class TestLoading:
    def write(self, folder: Path, text: str) -> str:
        path = folder / "mine.py"
        path.write_text(text)
        return str(path)

    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path,
            '"""Mine.\n\nMore."""\n'
            "from slots.config import replace\nfrom slots.presets import load\n"
            "def config():\n"
            "    return replace(load('slot_attention/tetrominoes'), name='mine')\n",
        )
        assert load(path).name == "mine"
        assert promise(Path(path)) == "Mine."

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("", "has no function config()"),
            ("config = 3", "has no function config()"),
            ("def config():\n    return 3\n", "has no function config()"),
            ("def config(:\n", "is not valid Python"),
        ],
    )
    def test_a_file_without_one(self, text: str, part: str, tmp_path: Path) -> None:
        path = self.write(tmp_path, text)
        with pytest.raises(ConfigError, match=re.escape(part)) as caught:
            load(path)
        assert path in str(caught.value)

    def test_no_python_file(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("a: 1")
        with pytest.raises(ConfigError, match="no Python file"):
            load(str(path))

    def test_a_misspelt_name_gets_its_nearest(self) -> None:
        with pytest.raises(ConfigError, match=r"did you mean 'slot_attention/tetrominoes'\?"):
            load("slot_attention/tetromino")

    def test_a_name_like_no_other(self) -> None:
        with pytest.raises(ConfigError, match=r"'zzz' is no preset.*slots list"):
            load("zzz")
