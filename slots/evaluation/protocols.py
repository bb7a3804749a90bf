"""What exactly is measured: a protocol has an id that is printed beside every number."""

import dataclasses
from typing import Any, Literal

from slots.config import ConfigError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which masks, pixels and examples enter, and how values are averaged.

    The first value of every field is the house's. Fields that a paper and its code leave open are
    named in `unknown`, and have the house's value.
    """

    id: str
    """Metric and where it comes from; the metric is what the protocol is for, all are computed."""
    used_by: str = ""
    masks: Literal["decoder", "attention", "better_of_both"] = "decoder"
    """Whose masks unmarked names are; the better of both, metric by metric, by its mean."""
    size: tuple[int, int] | None = None
    """(height, width) at which masks and truth meet; None: the size of the truth. A truth of
    another size is scaled until it covers this one, by the nearest pixel, and cut in the middle."""
    resize: Literal["bilinear", "nearest", "none"] = "bilinear"
    """How masks are enlarged before the argmax; `none` refuses masks of another size."""
    background: bool = False
    """Whether the background is a segment of the overlap metrics (mBO, mIoU). FG-ARI leaves its
    pixels out and ARI counts them, always."""
    empty: Literal["skip", "one", "zero"] = "skip"
    """What an example without a defined value counts as."""
    overlaps: Literal["ignore", "first"] = "ignore"
    """Of pixels in several objects; a setting of the data, where they have it."""
    crowd: Literal["ignore", "object", "background"] = "ignore"
    """Of COCO's crowd regions; likewise."""
    average: Literal["per_image", "per_object"] = "per_image"
    """Of the overlap metrics."""
    frames: Literal["all", "from_second", "each"] = "all"
    """Of clips: as one, without the first frame, or each as a picture."""
    denominator: Literal["truth", "either"] = "truth"
    """Of mIoU, see `slots.metrics.mean_iou`."""
    strict: bool = False
    """Whether thresholds must be passed (>) or reached (≥)."""
    items: int | None = None
    """How many examples the protocol asks for; None: as many as are given."""
    seeds: int | None = None
    error: Literal["std", "stderr"] = "std"
    """What stands behind ± over seeds."""
    unknown: tuple[str, ...] = ()
    notes: str = ""

    @property
    def metric(self) -> str:
        """Name of the value the protocol is for; of the house's, FG-ARI."""
        name = self.id.partition("/")[0]
        return _METRICS.get(name, name.replace("-", "_"))

    @property
    def reading(self) -> dict[str, Any]:
        """Settings by which data that have them read the truth as the protocol wants it."""
        size = {} if self.size is None else {"label_size": self.size}
        return {"overlaps": self.overlaps, "crowd": self.crowd, **size}

    def check(self, data: Any) -> None:
        """Refuses settings of data that read the truth by other rules.

        Raises:
            ConfigError: one says otherwise; the sentence has the words that help.
        """
        wanted = self.reading
        wrong = [n for n, value in wanted.items() if getattr(data, n, value) != value]
        if wrong:
            say = " ".join(f"data.{n}={_word(wanted[n])}" for n in wrong)
            raise ConfigError(f"Protocol {self.id} reads its truth otherwise; say {say}")


_METRICS = {"house": "fg_ari", "mbo-i": "mbo", "mbo-c": "mbo_class"}

# fmt: off
EXPLAINED = (
    "masks", "size", "resize", "background", "empty", "overlaps", "crowd", "average", "frames",
    "denominator", "strict",
)
# fmt: on
"""Fields that change numbers on the same masks, in the order in which they are switched."""


def _word(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, tuple) else f"{value}"


_SAVI: Any = {"frames": "all", "empty": "one", "items": 250, "seeds": 5, "error": "stderr"}
_DINOSAUR: Any = {
    "used_by": "DINOSAUR, SLATE on COCO and VOC, SPOT",
    "size": (320, 320),
    "crowd": "object",
    "unknown": ("seeds",),
    "notes": "5,000 pictures of COCO val2017, 1,449 of VOC val; attention is also printed",
}
_MOVI: Any = {
    "used_by": "DINOSAUR, SPOT on the frames of MOVi-C and -E",
    "size": (128, 128),
    "items": 6000,
    "unknown": ("seeds",),
}
_OCB: Any = {
    "used_by": "VQ-VFM-OCL, DIAS, SmoothSA",
    "masks": "attention",
    "size": (256, 256),
    "background": True,
    "seeds": 3,
    "unknown": ("masks", "size", "items"),
}
_RANDSFQ: Any = {
    "used_by": "RandSF.Q, SmoothSA on videos, xSSC",
    "masks": "attention",
    "size": (256, 256),
    "background": True,
    "seeds": 3,
    "unknown": ("items",),
    "notes": "the last aggregator's attention; boxes as hints on MOVi",
}
_CLIPS: Any = {"used_by": "VideoSAUR, SlotContrast", "items": 250, "unknown": ("seeds",)}
_FRAMES: Any = {
    "used_by": "VideoSAUR, SlotContrast, AdaSlot, SOLV",
    "frames": "each",
    "items": 250,
    "unknown": ("seeds",),
}
_MESH: Any = {"used_by": "MESH", "size": (64, 64), "items": 2880, "seeds": 5}

PROTOCOLS = {
    p.id: p
    for p in (
        Protocol(id="house/image", used_by="slots", seeds=3),
        Protocol(id="house/clip", used_by="slots", seeds=3),
        Protocol(
            id="fg-ari/slot-attention",
            used_by="Slot Attention",
            items=320,
            seeds=5,
            notes="35×35, 64×64 and 128×128; four seeds on Tetrominoes",
        ),
        Protocol(
            id="ap/clevr",
            used_by="Slot Attention, SMM, MESH, CoSA",
            items=15_000,
            seeds=5,
            notes="SMM's script takes the first three batches of 64",
        ),
        Protocol(
            id="fg-ari/isa",
            used_by="ISA",
            empty="one",
            items=100,
            unknown=("seeds", "error"),
            notes="100 records, of which its batches use 64; on Waymo 128×192 without objects "
            "under 245 pixels",
        ),
        Protocol(
            id="fg-ari/clevrtex",
            used_by="CLEVRTex's tables, ISA, SMM",
            size=(128, 128),
            denominator="either",
            items=5000,
            seeds=3,
            unknown=("seeds",),
            notes="of the centred 192×192 pixels, in SMM of all; the benchmark's mIoU counts false "
            "segments, its mSC weighs by area",
        ),
        Protocol(id="fg-ari/mesh", **_MESH),
        Protocol(id="miou/mesh", **_MESH),
        Protocol(
            id="fg-ari/cosa",
            used_by="CoSA",
            unknown=("masks", "size", "items", "seeds", "error"),
            notes="no code was released",
        ),
        Protocol(id="mbo-i/dinosaur-320", **_DINOSAUR),
        Protocol(id="mbo-c/dinosaur-320", **_DINOSAUR),
        Protocol(id="miou/dinosaur-320", **_DINOSAUR),
        Protocol(id="fg-ari/dinosaur-320", empty="one", **_DINOSAUR),
        Protocol(id="mbo-i/movi-128", **_MOVI),
        Protocol(id="miou/movi-128", **_MOVI),
        Protocol(id="fg-ari/movi-128", **_MOVI),
        Protocol(
            id="mbo-i/mufasa",
            **{**_DINOSAUR, "used_by": "MUFASA", "masks": "better_of_both", "notes": ""},
        ),
        Protocol(id="mbo/ocb", **_OCB),
        Protocol(id="miou/ocb", **_OCB),
        Protocol(id="ari/ocb", **_OCB),
        Protocol(
            id="mbo/lsd",
            used_by="latent slot diffusion",
            masks="attention",
            average="per_object",
            unknown=("masks", "size", "items", "seeds"),
        ),
        Protocol(
            id="pq/cycle",
            used_by="cycle consistency",
            unknown=("masks", "size", "items", "seeds"),
            notes="a pixel belongs to a slot likelier than ½, or to none",
        ),
        Protocol(
            id="ap50/cycle",
            used_by="cycle consistency",
            unknown=("masks", "size", "items", "seeds"),
            notes="class-agnostic, by the mean confidence inside a segment",
        ),
        Protocol(
            id="transfer/coco-1x",
            used_by="SlotCon",
            items=5000,
            seeds=1,
            notes="of a detector's results: `slots score RESULTS.json truth=ANNOTATIONS.json`",
        ),
        Protocol(id="fg-ari/savi", used_by="SAVi's code, STATM", size=(128, 128), **_SAVI),
        Protocol(
            id="fg-ari/savi-from-second",
            used_by="the papers of SAVi and SAVi++",
            **{**_SAVI, "frames": "from_second"},
        ),
        Protocol(id="fg-ari/videosaur-clip", **_CLIPS),
        Protocol(id="mbo/videosaur-clip", **_CLIPS),
        Protocol(id="fg-ari/videosaur-frame", **_FRAMES),
        Protocol(id="mbo/videosaur-frame", **_FRAMES),
        Protocol(id="ari/randsfq", **_RANDSFQ),
        Protocol(id="fg-ari/randsfq", **_RANDSFQ),
        Protocol(id="mbo/randsfq", **_RANDSFQ),
        Protocol(id="miou/randsfq", **_RANDSFQ),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(
            f"There is no protocol {name!r}{nearest(name, PROTOCOLS) or ';'} "
            f"`slots list` has all {len(PROTOCOLS)}."
        )
    return PROTOCOLS[name]
