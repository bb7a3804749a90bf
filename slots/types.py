"""The nouns every part speaks: small frozen pytrees with their shapes.

Letters: B batch, T time, H W C image, N tokens, K slots, D token width, S slot width, M objects.
Shapes are checked when a noun is built while jaxtyping's import hook is on (the tests turn it on).
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped, UInt8

_T = TypeVar("_T")


def static(**kwargs: Any) -> Any:
    """A noun's field that is part of its structure, not of its data."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(static,))
def noun(cls: type[_T]) -> type[_T]:
    """Makes `cls` a frozen keyword-only dataclass and a JAX pytree.

    Unlike `flax.struct.dataclass`, unflattening does not call `__init__`: JAX fills trees with
    placeholders, and a shape check at construction must not see those.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = tuple(f.name for f in fields if not f.metadata.get("static"))
    meta = tuple(f.name for f in fields if f.metadata.get("static"))

    def flatten(noun: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children = tuple((jax.tree_util.GetAttrKey(n), getattr(noun, n)) for n in data)
        return children, tuple(getattr(noun, n) for n in meta)

    def unflatten(aux: tuple[Any, ...], children: Any) -> Any:
        new = object.__new__(cls)
        for name, value in zip((*data, *meta), (*children, *aux), strict=True):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


@noun
class Batch:
    """What a data set yields. Exactly one of `image` and `video` is present.

    Readers yield uint8 pictures, generators may yield float32 in [0, 1]; `pixels` makes float32.
    Label maps have one size of their own, which may differ from the picture's.
    """

    image: Float[Array, "b h w c"] | UInt8[Array, "b h w c"] | None = None
    video: Float[Array, "b t h w c"] | UInt8[Array, "b t h w c"] | None = None
    segmentation: Int[Array, "b *t hs ws"] | None = None
    """0 = background, label i + 1 is row i of `properties` and `visibility`."""
    ignore: Bool[Array, "b *t hs ws"] | None = None
    """True where a pixel counts in no metric."""
    semantic: Int[Array, "b *t hs ws"] | None = None
    """Class ids, 0 = none (what metrics call `class_map`)."""
    properties: dict[str, Shaped[Array, "b *m"]] | None = None
    visibility: Bool[Array, "b m"] | None = None
    num_objects: Int[Array, "b"] | None = None
    label: Int[Array, "b"] | None = None
    """The scene's own class, from 0."""
    index: Int[Array, "b"] | None = None
    """Record number in its split; also seeds the draws made for the example."""

    @property
    def pixels(self) -> Float[Array, "b *t h w c"]:
        """The picture or clip as float32 in [0, 1]."""
        picture = self.video if self.image is None else self.image
        if picture is None:
            raise ValueError("The batch has neither image nor video.")
        if picture.dtype == jax.numpy.uint8:
            return picture.astype(jax.numpy.float32) / 255.0
        return picture.astype(jax.numpy.float32)


@noun
class Tokens:
    """What an encoder returns: N places of width D."""

    features: Float[Array, "b n d"]
    positions: Float[Array, "b n 2"]
    """Centres as (y, x) in [-1, 1]."""
    content: Float[Array, "b n c"] | None = None
    """The feature map before places were added to it, for initializers that ask what is there."""
    mask: Bool[Array, "b n"] | None = None
    """False where a token does not exist; None means all do."""
    grid: tuple[int, int] = static()
    """(rows, columns), row-major; rows * columns = N."""


@noun
class Frames:
    """A slot's own coordinate system; each part is present or absent for a whole run."""

    position: Float[Array, "b k 2"] | None = None
    """(y, x) in [-1, 1]."""
    scale: Float[Array, "b k 2"] | None = None
    """Per axis of the frame, (y, x)."""
    rotation: Float[Array, "b k 2 2"] | None = None
    """Axes as columns, in (x, y) order."""


@noun
class Slots:
    """What every initializer, slot module and predictor takes and returns."""

    vectors: Float[Array, "b k s"]
    frames: Frames | None = None
    active: Bool[Array, "b k"] | None = None
    """False for a slot that does not take part; None means all do."""
    extras: dict[str, Shaped[Array, "b *rest"]] = dataclasses.field(default_factory=dict)
    """A module's own state, e.g. mixture weights."""


@noun
class Grouping:
    """What a slot module returns."""

    slots: Slots
    attention: Float[Array, "b k n"]
    """Sums to 1 over K for each token."""
    losses: dict[str, Float[Array, "b"]] = dataclasses.field(default_factory=dict)
    """The module's own terms per example, by name."""
    diagnostics: dict[str, Any] = dataclasses.field(default_factory=dict)
    """`attention_per_iteration` [B,R,K,N] and whatever else is worth a look."""


@noun
class Reconstruction:
    """What every decoder returns. M = K, or K + 1 when the decoder adds a background (last)."""

    output: Shaped[Array, "b *shape"]
    """Pixels in the model's own range, features or token logits."""
    masks: Float[Array, "b m h w"]
    """Sums to 1 over M at each place."""
    parts: Float[Array, "b m h w c"] | None = None
    """What each component draws alone, before mixing."""
    alphas: Float[Array, "b m h w"] | None = None
    """Logits of the masks, a component's from itself alone, so that components of any scenes can be
    mixed anew: Σ softmax(alphas) ⊙ parts. None where a decoder mixes otherwise."""


@noun
class Prediction:
    """What every model returns."""

    tokens: Tokens
    grouping: Grouping
    reconstruction: Reconstruction | None
    target: Shaped[Array, "b *shape"] | None
    """What the reconstruction is compared with."""
    outputs: dict[str, Any] = dataclasses.field(default_factory=dict)


@noun
class Context:
    """What a call knows beside its inputs."""

    step: Int[Array, ""]
    """Optimizer updates made so far."""
    key: Key[Array, ""]
    """Root of the call's randomness; fold in a purpose and the example before drawing."""
    train: bool = static()


@noun
class TrainState:
    """All that training changes. Nothing is hidden in modules."""

    params: PyTree
    """Trained by gradients."""
    variables: PyTree
    """Changed without gradients: averages, centres, dictionaries, counters."""
    opt_state: PyTree
    ema: PyTree
    """Moving average of `params` in float32; None when it is off."""
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    """Steps whose loss or gradient was not finite, so that the old state was kept."""

    @property
    def eval_params(self) -> PyTree:
        """What is evaluated: the moving average where one is kept, else the parameters."""
        return self.params if self.ema is None else self.ema
