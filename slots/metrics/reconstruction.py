"""How close a picture is to the original; pictures are float and in [0, 1], clips per frame."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Predictions have sizes of their own here, so that a mismatch meets our sentence.
TruePictures = Float[Array | np.ndarray, "b *t h w c"]
PredPictures = Float[Array | np.ndarray, "n *u y x d"]

_MIN_ERROR = 1e-10
"""Mean squared error that reads 100 dB, the highest value given."""

_SIGMA = 1.5
_RADIUS = 5
_C1 = 0.01**2
_C2 = 0.03**2


@functools.partial(jax.jit, static_argnames=("reduce",))
def reconstruction_error(
    true: TruePictures,
    pred: PredPictures,
    *,
    reduce: Literal["mean", "sum"] = "mean",
) -> Float[Array, "b"]:
    """Squared error of each example, without clamping.

    Args:
        true: pictures in [0, 1], [B,H,W,C] or [B,T,H,W,C].
        pred: predicted pictures. (Pictures in [-1, 1] give four times the error.)
        reduce: `"mean"` over pixels and channels; `"sum"` over pixels and channels of a picture.
            Both are means over the frames of a clip.

    Returns:
        float32 [B].

    Raises:
        ValueError: shapes differ or `reduce` is unknown.
    """
    if reduce not in ("mean", "sum"):
        raise ValueError(f"reduce must be 'mean' or 'sum', got {reduce!r}.")
    error = _frame_errors(true, pred).mean(-1)
    return error * float(np.prod(true.shape[-3:])) if reduce == "sum" else error


@jax.jit
def psnr(true: TruePictures, pred: PredPictures) -> Float[Array, "b"]:
    """Peak signal-to-noise ratio in dB, of the prediction clamped to [0, 1].

    Args:
        true: pictures in [0, 1], [B,H,W,C] or [B,T,H,W,C].
        pred: predicted pictures.

    Returns:
        float32 [B], the mean over the frames of a clip; at most 100.

    Raises:
        ValueError: shapes differ.
    """
    error = _frame_errors(true, jnp.clip(pred, 0.0, 1.0))
    return (-10.0 * jnp.log10(jnp.maximum(error, _MIN_ERROR))).mean(-1)


@jax.jit
def ssim(true: TruePictures, pred: PredPictures) -> Float[Array, "b"]:
    """Structural similarity (Wang et al. 2004) with the original Gaussian window.

    Window of σ 1.5 and 11×11 pixels, K₁ 0.01, K₂ 0.03, covariances not corrected for bias, each
    channel on its own; only places whose window lies inside the picture count.

    Args:
        true: pictures in [0, 1], [B,H,W,C] or [B,T,H,W,C].
        pred: predicted pictures.

    Returns:
        float32 [B], the mean over channels and over the frames of a clip, at most 1; NaN for
        pictures smaller than the window.

    Raises:
        ValueError: shapes differ.
    """
    _check_shapes(true, pred)
    *_, height, width, channels = true.shape
    if min(height, width) <= 2 * _RADIUS:
        return jnp.full(true.shape[0], jnp.nan, jnp.float32)
    shape = (true.shape[0], -1, height, width, channels)
    x, y = (jnp.asarray(picture, jnp.float32).reshape(shape) for picture in (true, pred))
    # Squares of numbers around 0 lose fewer digits, and variances don't mind the shift.
    shift_x, shift_y = (picture.mean((2, 3), keepdims=True) for picture in (x, y))
    x, y = x - shift_x, y - shift_y

    def smooth(picture: Float[Array, "b t h w c"]) -> Float[Array, "b t i j c"]:
        rows, columns = _window(height), _window(width)
        return jnp.einsum(
            "ih,bthwc,jw->btijc", rows, picture, columns, precision=jax.lax.Precision.HIGHEST
        )

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x**2
    variance_y = smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + shift_x, mean_y + shift_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return (luminance * structure).mean((1, 2, 3, 4))


def _check_shapes(true: TruePictures, pred: PredPictures) -> None:
    if true.shape != pred.shape:
        raise ValueError(
            f"true has shape {true.shape} but pred has {pred.shape}; resize one of the pictures."
        )


def _frame_errors(true: TruePictures, pred: PredPictures) -> Float[Array, "b f"]:
    """Mean squared error of every frame; an image is a clip of one."""
    _check_shapes(true, pred)
    difference = jnp.asarray(true, jnp.float32) - jnp.asarray(pred, jnp.float32)
    return jnp.square(difference).reshape(true.shape[0], -1, *true.shape[-3:]).mean((2, 3, 4))


def _window(length: int) -> Float[np.ndarray, "n length"]:
    """The Gaussian window as a matrix that smooths and leaves the border out."""
    weight = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weight /= weight.sum()
    rows = np.zeros((length - 2 * _RADIUS, length), np.float32)
    for start, row in enumerate(rows):
        row[start : start + 2 * _RADIUS + 1] = weight
    return rows
