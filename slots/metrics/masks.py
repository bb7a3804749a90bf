"""From soft masks to label maps, between sizes of label maps, and to small label numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer


def labels_from_masks(
    masks: Float[Array | np.ndarray, "b *t k h w"], size: tuple[int, int] | None = None
) -> Int[Array, "b *t y x"]:
    """The slot with the largest mask at each pixel; the lowest slot wins a tie.

    Masks are brought to the size of the truth *before* the argmax, by bilinear interpolation with
    half-pixel centres, clamped at the border and never smoothed (also when shrinking).

    Args:
        masks: weights of the slots at each place, [B,K,h,w] or [B,T,K,h,w].
        size: (H, W) of the labels; None keeps (h, w).

    Returns:
        int32 labels 0 … K-1, [B,H,W] or [B,T,H,W].
    """
    masks = jnp.asarray(masks, jnp.float32)
    if size is not None and tuple(size) != masks.shape[-2:]:
        shape = (*masks.shape[:-2], *size)
        masks = jax.image.resize(masks, shape, "bilinear", antialias=False)
    return jnp.argmax(masks, axis=-3).astype(jnp.int32)


def resize_labels(
    labels: Integer[Array | np.ndarray, "b *t h w"], size: tuple[int, int]
) -> Integer[Array, "b *t y x"]:
    """Label maps at another size, by the nearest pixel: row i of H comes from ⌊(i+½)·h/H⌋.

    Args:
        labels: [B,H,W] or [B,T,H,W], any integer dtype, which is kept (JAX has 32 bits at most).
        size: (H, W) of the result.

    Returns:
        Labels [B,H,W] or [B,T,H,W].
    """
    rows, columns = (
        # In integers: a float would now and then fall on the wrong side of a pixel's edge.
        (2 * np.arange(new) + 1) * old // (2 * new)
        for old, new in zip(labels.shape[-2:], size, strict=True)
    )
    return jnp.asarray(labels)[..., rows[:, None], columns[None, :]]


def compact_labels(labels: Integer[np.ndarray, "b *t h w"]) -> Int[np.ndarray, "b *t h w"]:
    """Renumbers the labels of each example to 0, 1, 2, … in their order, on the host.

    Label 0 stays 0, whether it occurs or not, so that the background keeps its meaning. Values of
    metrics don't change, as names of labels carry no meaning; the same object has the same new
    label in all frames of a clip, but not in another example.

    Args:
        labels: labels from 0, [B,H,W] or [B,T,H,W], any integer dtype.

    Returns:
        int32 array of the same shape.

    Raises:
        ValueError: a label is negative.
    """
    if labels.min(initial=0) < 0:
        raise ValueError(
            f"labels must start at 0, got {labels.min()}; give pixels without a label to ignore "
            "and set them to 0."
        )
    compact = np.zeros(labels.shape, np.int32)
    for example, target in zip(labels, compact, strict=True):
        ids = np.unique(example)
        target[...] = np.searchsorted(ids[ids > 0], example, side="right")
    return compact
