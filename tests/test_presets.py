"""Every preset: found, built at full size, and stepped in a small version."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import train_steps, write_pictures

from slots.config import ConfigError, override, replace
from slots.data import (
    ClevrConfig,
    ClevrTexConfig,
    DataConfig,
    FolderConfig,
    MultiObjectConfig,
    ShapeStacksConfig,
)
from slots.data.multi_object_layout import LAYOUTS
from slots.data.stored import Example, Source, StoredConfig
from slots.encoders import ResNetConfig
from slots.evaluation import protocol
from slots.experiment import ExperimentConfig, build
from slots.models import Definition, count_parameters
from slots.objectives import ReconstructionConfig
from slots.presets import load, preset_folder, presets, promise
from slots.properties import layout

NAMES = sorted(presets())

PARAMETERS = {
    # Flax's counts: TensorFlow's and PyTorch's keep a GRU bias more.
    "slot_attention/tetrominoes": 235_684,
    "slot_attention/multi_dsprites": 235_684,
    "slot_attention/clevr6": 890_180,
    "slot_attention/clevr_properties": 380_627,
    "invariant_slot_attention/tetrominoes": 730_308,
    "invariant_slot_attention/objects_room": 896_708,
    "invariant_slot_attention/clevr": 896_708,
    "invariant_slot_attention/clevrtex": 896_708,
    "invariant_slot_attention/clevrtex_resnet": 21_919_684,
    "invariant_slot_attention/multi_shape_net": 896_708,
    "invariant_slot_attention/waymo": 21_919_684,
    "slot_mixture/clevr_properties": 616_915,
    "mesh/multi_dsprites": 248_484,
    "mesh/clevrtex": 248_484,
}

PUBLISHED: dict[type[DataConfig], tuple[tuple[int, int], dict[str, int]]] = {
    ClevrConfig: ((320, 480), {"train": 70_000, "val": 15_000}),
    ClevrTexConfig: ((240, 320), {"all": 50_000}),
    ShapeStacksConfig: ((224, 224), {}),
}
"""Size of the pictures, and how many examples there are under a name."""


class Noise(Source):
    """In place of files: as many examples as published, of noise of the published size."""

    max_objects = 10

    def __init__(self, data: StoredConfig, name: str):
        self.where = Path(data.path)
        if isinstance(data, MultiObjectConfig):
            found = LAYOUTS[data.variant]
            self.size, self.count = found.picture[:2], found.records
            self.max_objects = found.entities - found.backgrounds
        else:
            self.size, counts = PUBLISHED.get(type(data), ((240, 320), {}))
            self.count = counts.get(name, 1_000_000)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        """One object in the left half, with CLEVR's properties."""
        labels = np.zeros(self.size, np.int32)
        labels[:, : self.size[1] // 2] = 1
        classes = {name: np.ones(1, np.int32) for name in layout("clevr").sizes}
        return Example(
            image=np.random.default_rng(index).integers(0, 256, (*self.size, 3), np.uint8),
            segmentation=labels,
            properties={"position": np.zeros((1, 3), np.float32), **classes},
        )

    def object_counts(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int32) % 8 + 3


@pytest.fixture(autouse=True)
def _noise(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in DataConfig.kinds.values():
        if issubclass(kind, StoredConfig):
            monkeypatch.setattr(kind, "open", lambda data, name: Noise(data, name))


def image_shape(config: ExperimentConfig) -> tuple[int, int, int]:
    """(H, W, C), without opening files."""
    if isinstance(config.data, FolderConfig | StoredConfig):
        return (*config.data.image_size, config.data.channels)
    return config.data.make().image_shape


def small(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The same parts, narrow, two pictures at a time, on generated data of the same layout."""

    def narrow(part: Any) -> Any:
        """Any width above 8 becomes 8, any number of rounds and steps above 1 becomes 1."""
        if isinstance(part, ResNetConfig):
            part = dataclasses.replace(part, depth=18, width_multiplier=1 / 32, num_groups=2)
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name in ("channels", "hidden") and isinstance(value, tuple):
                changes[field.name] = tuple(min(8, width) for width in value)
            elif field.name in ("features", "hidden", "mlp_hidden", "grid_hidden") and value:
                changes[field.name] = min(8, value)
            elif field.name in ("num_iterations", "mesh_steps", "transformer_depth"):
                changes[field.name] = min(1, value)
            elif dataclasses.is_dataclass(value):
                changes[field.name] = narrow(value)
        return dataclasses.replace(part, **changes)

    data = config.data
    if isinstance(data, FolderConfig):
        write_pictures(folder / "train", 4, size=32)
        write_pictures(folder / "val", 4, size=32)
    if isinstance(data, FolderConfig | StoredConfig):
        size = tuple(min(32, side) for side in data.image_size)
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


def novelties(names: list[str]) -> set[str]:
    """Those with a model and slot module together that no name before them has."""
    first: dict[tuple[str, str], str] = {}
    for name in names:
        model: Any = load(name).model
        first.setdefault((model.kind, model.module.kind), name)
    return set(first.values())


QUICK = novelties(NAMES)
"""Stepped in every run of the tests; the others among the slow ones. What goes with which other
parts is for the contracts to see."""


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

    def test_data_hold_what_evaluation_asks_for(self, name: str, tmp_path: Path) -> None:
        config = load(name)
        protocol(config.eval.protocol).check(config.data)
        if isinstance(config.data, StoredConfig):
            dataset = dataclasses.replace(config.data, path=str(tmp_path)).make()
            dataset.prepare()
            assert dataset.size(config.eval.split) >= (config.eval.count or 1)
            (batch,) = dataset.held_out(config.eval.split, 2, 2)
            assert batch.image.shape == (2, *image_shape(config))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES],
)
def test_takes_two_steps_when_small(name: str, tmp_path: Path) -> None:
    state, losses = train_steps(build(small(load(name), tmp_path)), 2)
    assert np.all(np.isfinite(losses))
    assert int(state.step) == 2
    assert int(state.skipped) == 0


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [
        ("slot_attention/clevr6", 0, 0.0),
        ("slot_attention/clevr6", 5_000, 1.932e-4),
        ("slot_attention/clevr6", 500_000, 1.25e-5),
        ("slot_attention/clevr_properties", 1_000, 3.945e-4),
        ("slot_attention/clevr_properties", 50_000, 2e-4),
        ("slot_attention/clevr_properties", 150_000, 5e-5),
        ("invariant_slot_attention/clevr", 0, 0.0),
        ("invariant_slot_attention/clevr", 5_000, 2e-4),
        ("invariant_slot_attention/clevr", 10_000, 4e-4),
        ("invariant_slot_attention/clevr", 255_000, 2e-4),
        ("invariant_slot_attention/clevr", 499_999, 0.0),
        ("invariant_slot_attention/tetrominoes", 12_500, 2e-4),
        ("slot_mixture/clevr_properties", 7_500, 3.5e-4),
        ("slot_mixture/clevr_properties", 150_000, 1.4e-9),
        ("slot_mixture/clevrtex", 5_000, 3.732e-4),
        ("slot_mixture/clevrtex", 250_000, 1.25e-5),
        ("mesh/multi_dsprites", 10_000, 3.73213e-4),
        ("mesh/multi_dsprites", 497_140, 1.275e-5),
        ("mesh/clevrtex", 331_250, 4.026e-5),
    ],
)
def test_learning_rate(name: str, step: int, rate: float) -> None:
    config = load(name)
    found = config.optimizer.schedule(config.train.steps)(jnp.int32(step))
    np.testing.assert_allclose(found, rate, rtol=1e-4, atol=1e-10)


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
