"""Runs made to collapse: what is said of them, and what stops or begins anew."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from made_masks import MADE, SIDE, B, K
from tiny import DotsConfig, dots
from typing_extensions import override

import slots
from slots.config import ConfigError
from slots.data import DataConfig
from slots.decoders import Decoder, DecoderConfig
from slots.experiment import ExperimentConfig
from slots.files import taken
from slots.metrics import VERDICTS
from slots.models import Definition
from slots.run_folder import Busy, read_config
from slots.training import Collapsed, read_records
from slots.types import Reconstruction, Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class StuckConfig(DecoderConfig):
    """Draws one colour per slot into masks of a kind that no training changes."""

    masks: str = "healthy"
    blind: bool = False
    """Colours don't depend on the slots, so that nothing trains the first of them."""
    healthy_seeds: bool = False
    """Some first keys give healthy masks."""

    @override
    def make(
        self,
        *,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        rngs: nnx.Rngs,
    ) -> "Stuck":
        return Stuck(self, slot_dim, image_shape[2], rngs=rngs)


class Stuck(Decoder):
    def __init__(self, config: StuckConfig, slot_dim: int, channels: int, *, rngs: nnx.Rngs):
        def logits(name: str) -> Any:
            masks = MADE[name](np.random.default_rng(0))
            return jnp.asarray(np.log(masks), jnp.float32)

        self.config = config
        self.color = nnx.Linear(slot_dim, channels, rngs=rngs)
        found = logits(config.masks)
        if config.healthy_seeds:
            found = jnp.where(lucky(rngs), logits("healthy"), found)
        self.logits = nnx.Param(found)

    @override
    def __call__(self, slots: Slots) -> Reconstruction:
        vectors = jnp.zeros_like(slots.vectors) if self.config.blind else slots.vectors
        masks = jax.nn.softmax(jax.lax.stop_gradient(self.logits[...]), axis=1)
        masks = masks[: len(vectors)]
        parts = jnp.broadcast_to(
            self.color(vectors)[:, :, None, None], (*masks.shape, self.color.out_features)
        )
        return Reconstruction(
            output=(masks[..., None] * parts).sum(axis=1), masks=masks, parts=parts
        )


def lucky(rngs: nnx.Rngs) -> Any:
    return jax.random.bernoulli(rngs.params())


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    DataConfig.kinds["dots"], DecoderConfig.kinds["stuck"] = DotsConfig, StuckConfig
    yield
    del DataConfig.kinds["dots"], DecoderConfig.kinds["stuck"]


def stuck(*assignments: str, seeds: int = 1, **decoder: Any) -> ExperimentConfig:
    """Four evaluations of 256 pictures, the last three of which count."""
    settings = (
        f"model.num_slots={K}",
        "model.encoder.window=8",
        "model.encoder.stride=8",
        "train.steps=4",
        f"train.seeds={seeds}",
        "eval.every=1",
        "eval.count=256",
        f"eval.batch_size={B}",
        "eval.max_restarts=2",
        *assignments,
    )
    config = dots(*settings, size=SIDE, held_out=256)
    return slots.config.replace(config, model__decoder=StuckConfig(**decoder))


def verdicts(folder: Path) -> list[list[str]]:
    """Of each evaluation, by member."""
    found = [r["verdicts"] for r in read_records(folder / "metrics.jsonl") if r["kind"] == "val"]
    return [[told["name"] for told in one] for one in found]


@pytest.mark.parametrize("name", VERDICTS)
def test_a_run_gets_its_verdict(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Broken is here what no gradient reaches; masks that aren't finite stop a run anyway."""
    how = {"blind": True} if name == "broken" else {"masks": name}
    run = slots.train(stuck(**how), tmp_path / "run")
    assert verdicts(run.folder) == [[name]] * 4
    said = capsys.readouterr().err
    assert said.count(f"slots {name}") == 4
    alarmed = f"same verdict at three evaluations in a row (seed 0: {name})" in said
    assert alarmed == (name != "healthy")


def test_stops(tmp_path: Path) -> None:
    """After the third evaluation, with what was trained saved; more steps go on from there."""
    config = stuck("eval.collapse=stop", "train.steps=6", masks="stripes")
    with pytest.raises(Collapsed, match=r"seed 0: stripes.*stopped at step 3, which is saved"):
        slots.train(config, tmp_path / "run")
    assert slots.restore(tmp_path / "run").step == 3
    run = slots.train(slots.config.replace(config, eval__collapse="say"), tmp_path / "run")
    assert run.step == 6


def test_members_stop_when_all_have_collapsed(tmp_path: Path) -> None:
    ill = stuck("eval.collapse=stop", "train.steps=6", seeds=2, masks="uniform")
    with pytest.raises(Collapsed, match="seed 0: uniform, seed 1: uniform"):
        slots.train(ill, tmp_path / "ill")
    seed = first_seed(False, True)
    half = stuck(
        "eval.collapse=stop",
        "train.steps=4",
        f"train.seed={seed}",
        seeds=2,
        masks="uniform",
        healthy_seeds=True,
    )
    run = slots.train(half, tmp_path / "half")
    assert run.step == 4
    assert verdicts(run.folder) == [["uniform", "healthy"]] * 4


def first_seed(*wanted: bool) -> int:
    """The first of as many seeds in a row whose keys make healthy masks, or not, as wanted."""
    config = stuck(healthy_seeds=True, masks="uniform")
    definition = Definition.of(config.model, (SIDE, SIDE, 3))

    @jax.jit
    def share(seed: Any) -> Any:
        params, _ = definition.init(jax.random.key(seed))
        return jnp.ptp(params["decoder"]["logits"])

    found = [bool(share(np.uint32(seed)) > 0.1) for seed in range(40)]
    return next(s for s in range(40 - len(wanted)) if found[s : s + len(wanted)] == list(wanted))


def test_begins_anew_with_the_next_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seed = first_seed(False, True)
    config = stuck(
        "eval.collapse=restart", f"train.seed={seed}", healthy_seeds=True, masks="uniform"
    )
    run = slots.train(config, tmp_path / "run")
    assert run.seeds == (seed + 1,)
    assert verdicts(run.folder) == [["healthy"]] * 4
    assert "The next seed is tried" in caplog.text
    aside = run.folder / f"collapsed-{seed}"
    assert read_config(aside).train.seed == seed
    assert verdicts(aside) == [["uniform"]] * 3
    assert slots.restore(aside).step == 3
    again = slots.train(config, tmp_path / "run")
    assert again.seeds == (seed + 1,)
    assert again.step == run.step


def test_gives_up_after_so_many(tmp_path: Path) -> None:
    config = stuck("eval.collapse=restart", "eval.max_restarts=1", masks="uniform")
    with pytest.raises(Collapsed, match="seed 1: uniform"):
        slots.train(config, tmp_path / "run")
    assert [p.name for p in sorted(tmp_path.glob("run/collapsed-*"))] == ["collapsed-0"]
    assert read_config(tmp_path / "run").train.seed == 1


def test_a_kill_while_setting_aside_loses_nothing(tmp_path: Path) -> None:
    """What was not moved yet is moved by the next call."""
    config = stuck("eval.collapse=restart", "eval.max_restarts=1", masks="uniform")
    with pytest.raises(Collapsed):
        slots.train(config, tmp_path / "run")
    folder, aside = tmp_path / "run", tmp_path / "run" / "collapsed-0"
    for path in folder.iterdir():
        if path != aside:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    (aside / "config.json").rename(folder / "config.json")
    (aside / "metrics.jsonl").rename(folder / "metrics.jsonl")
    with taken(folder / ".lock"), pytest.raises(Busy):  # as long as another process moves them
        slots.train(config, folder)
    assert (folder / "metrics.jsonl").exists()
    with pytest.raises(Collapsed, match="seed 1"):
        slots.train(config, folder)
    assert read_config(aside).train.seed == 0
    assert verdicts(aside) == [["uniform"]] * 3


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_restarts"):
        stuck("eval.max_restarts=-1")
