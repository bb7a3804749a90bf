"""What is compared: presets with a few settings changed, and who runs them."""

import dataclasses

from slots import presets
from slots.config import override
from slots.experiment import ExperimentConfig
from slots.modules import SlotModuleConfig

INVARIANT = "invariant_slot_attention"


@dataclasses.dataclass(frozen=True)
class Case:
    """One architecture and batch size, a section of the table."""

    title: str
    preset: str
    settings: tuple[str, ...] = ()
    frames: str = ""
    """What slots carry beside their vectors: "", "t" (position), "ts" (scale), "tsr" (rotation)."""

    @property
    def config(self) -> ExperimentConfig:
        return override(presets.load(self.preset), list(self.settings))

    @property
    def missing(self) -> str | None:
        """Why this case can't be run yet, as a sentence."""
        if self.frames and INVARIANT not in SlotModuleConfig.kinds:
            return f"`slots` has no module `{INVARIANT}` yet."
        return None


def _invariant(frames: str) -> Case:
    # Absolute positions would defeat the frames. Encoder, decoder, tokens and slots stay those of
    # `isa_baseline`, so that the ratio of the two steps is the price of the slot module.
    return Case(
        f"Invariant Slot Attention ({frames.upper()}), same encoder, decoder, tokens and slots",
        "slot_attention/tetrominoes",
        (
            *_BASELINE,
            f"model.module={INVARIANT}",
            "model.initializer=frames",
            f"model.initializer.scale={str('s' in frames).lower()}",
            f"model.initializer.rotation={str('r' in frames).lower()}",
        ),
        frames,
    )


_BASELINE = (
    "train.batch_size=32",
    "model.encoder.head.position=none",
    "model.decoder.position=coordinates",
)

CASES = {
    "paper": Case(
        "Slot Attention, Tetrominoes, the paper's architecture, batch 32",
        "slot_attention/tetrominoes",
        ("train.batch_size=32",),
    ),
    "compact": Case(
        "Slot Attention, Tetrominoes, compact demo, batch 16", "slot_attention/tetrominoes_cpu"
    ),
    "isa_baseline": Case(
        "Slot Attention with the encoder and decoder of the rows below",
        "slot_attention/tetrominoes",
        _BASELINE,
    ),
    "isa_t": _invariant("t"),
    "isa_ts": _invariant("ts"),
    "isa_tsr": _invariant("tsr"),
}

TINY = Case(
    "Small sizes, for the tests",
    "slot_attention/tetrominoes",
    (
        "train.batch_size=2",
        "model.encoder.channels=[4,4]",
        "model.encoder.strides=[1,1]",
        "model.decoder.channels=[4]",
        "model.decoder.strides=[1]",
        "model.slot_dim=8",
        "model.module.mlp_hidden=8",
    ),
)
