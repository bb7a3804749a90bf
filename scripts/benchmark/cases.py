"""What is compared: presets with a few settings changed, and who runs them."""

import dataclasses

from slots import presets
from slots.config import override
from slots.experiment import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class Case:
    """One architecture and batch size, a section of the table."""

    title: str
    preset: str
    settings: tuple[str, ...] = ()
    beside: str | None = None
    """The row whose step the table divides this one's by."""

    @property
    def config(self) -> ExperimentConfig:
        return override(presets.load(self.preset), list(self.settings))


# Absolute positions in the tokens would defeat the frames. The rows with frames change the slot
# module and the first slots alone, so that the ratio of two steps is the price of the module.
_BASELINE = (
    "train.batch_size=32",
    "model.encoder.head.position=none",
    "model.decoder.position=coordinates",
)


def _invariant(variant: str) -> Case:
    return Case(
        f"Invariant Slot Attention ({variant.upper()}), batch 32",
        "slot_attention/tetrominoes",
        (
            *_BASELINE,
            "model.initializer=frames",
            "model.module=invariant_slot_attention",
            f"model.module.variant={variant}",
        ),
        beside="isa_baseline",
    )


def _swapped(title: str, *settings: str) -> Case:
    """Another slot module with as many rounds, everything else as in the first row."""
    return Case(
        f"{title}, Tetrominoes, the paper's architecture, batch 32",
        "slot_attention/tetrominoes",
        ("train.batch_size=32", *settings),
        beside="paper",
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
        "Slot Attention, encoder and decoder as in the rows below, batch 32",
        "slot_attention/tetrominoes",
        _BASELINE,
    ),
    "isa_t": _invariant("t"),
    "isa_ts": _invariant("ts"),
    "isa_tsr": _invariant("tsr"),
    "mixture": _swapped(
        "Slot Mixture Module", "model.initializer=mixture", "model.module=slot_mixture"
    ),
    "mesh": _swapped(
        "MESH without noise on its costs", "model.module=mesh", "model.module.noise_scale=0"
    ),
    "cosa": _swapped(
        "CoSA", "model.initializer=dictionary", "objectives=[reconstruction,part_losses]"
    ),
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
