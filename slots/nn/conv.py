"""Strided and transposed convolutions as stride-1 convolutions plus a reshape.

XLA's CPU backend (jax 0.10) is very slow on transposed convolutions and on the kernel gradient of
strided ones (5×5, stride 2: 1,350 ms against 93 for the form here). The functions are the same up
to rounding: the kernel's taps are sorted by phase (Shi et al. 2016, arXiv 1609.07009).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from slots.nn.initial import Initializer, glorot


def _taps(kernel: int, stride: int, offset: int, sign: int) -> tuple[np.ndarray, int, int]:
    """Which tap of a kernel belongs to phase r at distance d: t = stride·d + offset + sign·r.

    Returns:
        Indices [distances, stride] with `kernel` for "no tap", and the padding before and after.
    """
    taps = {
        (d, r): stride * d + offset + sign * r
        for d in range(-kernel - stride, kernel + stride + 1)
        for r in range(stride)
    }
    used = [d for (d, _), t in taps.items() if 0 <= t < kernel]
    low, high = min(used), max(used)
    table = np.full((high - low + 1, stride), kernel)
    for (d, r), t in taps.items():
        if low <= d <= high and 0 <= t < kernel:
            table[d - low, r] = t
    return table, -low, high


def _phases(
    kernel: Float[Array, "kh kw i o"], rows: np.ndarray, columns: np.ndarray
) -> Float[Array, "dh p dw q i o"]:
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # the extra tap is zero
    return padded[rows][:, :, columns]


def _convolve(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i o"],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "b h2 w2 o"]:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv_same(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], stride: int = 1
) -> Float[Array, "b h2 w2 o"]:
    """`lax.conv_general_dilated` with SAME padding; output side = ceil(side / stride)."""
    if stride == 1:
        pads = [((k - 1) // 2, k // 2) for k in kernel.shape[:2]]
        return _convolve(x, kernel, (pads[0], pads[1]))
    tables, paddings, extra = [], [], []
    for side, size in zip(x.shape[1:3], kernel.shape[:2], strict=True):
        out = math.ceil(side / stride)
        before = max((out - 1) * stride + size - side, 0) // 2
        table, low, high = _taps(size, stride, before, 1)
        tables.append(table)
        paddings.append((low, high))
        extra.append((0, out * stride - side))
    x = jnp.pad(x, ((0, 0), *extra, (0, 0)))
    x = rearrange(x, "b (h p) (w q) i -> b h w (p q i)", p=stride, q=stride)
    kernel = rearrange(_phases(kernel, *tables), "dh p dw q i o -> dh dw (p q i) o")
    return _convolve(x, kernel, (paddings[0], paddings[1]))


def conv_transpose_same(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], stride: int
) -> Float[Array, "b h2 w2 o"]:
    """`lax.conv_transpose` with SAME padding, kernel not flipped; output side = side · stride."""
    tables, paddings = [], []
    for size in kernel.shape[:2]:
        before = size - 1 if stride > size - 1 else math.ceil((size + stride - 2) / 2)
        table, low, high = _taps(size, stride, before, -1)
        tables.append(table)
        paddings.append((low, high))
    kernel = rearrange(_phases(kernel, *tables), "dh p dw q i o -> dh dw i (p q o)")
    y = _convolve(x, kernel, (paddings[0], paddings[1]))
    return rearrange(y, "b h w (p q o) -> b (h p) (w q) o", p=stride, q=stride)


class Conv(nnx.Module):
    """SAME convolution, or transposed convolution, with a square kernel.

    Parameters: `kernel` [k,k,I,O] by `kernel_init`, `bias` [O] zero (None without).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        stride: int = 1,
        transpose: bool = False,
        use_bias: bool = True,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        shape = (kernel_size, kernel_size, in_features, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.stride = stride
        self.transpose = transpose

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Output side: ceil(side / stride), or side · stride where transposed."""
        convolve = conv_transpose_same if self.transpose else conv_same
        y = convolve(x, self.kernel[...], self.stride)
        return y if self.bias is None else y + self.bias[...][None, None, None]

    def constant(self, x: Float[Array, "b i"], size: tuple[int, int]) -> Float[Array, "b h2 w2 o"]:
        """What becomes of pictures of `size` (h, w) that hold `x` at every place.

        Only the border tells places apart, and a picture of the kernel's size has every kind of
        border and one place in the middle, which is then repeated. For stride 1 or transposed;
        sides are no smaller than the kernel's.
        """
        side = len(self.kernel[...])
        y = self(jnp.broadcast_to(x[:, None, None], (len(x), side, side, x.shape[-1])))
        before = (side - 1) // 2 * self.stride
        for axis, wanted in enumerate(size, start=1):
            top, middle, bottom = jnp.split(y, (before, before + self.stride), axis=axis)
            repeats = [1] * 4
            repeats[axis] = wanted - side + 1
            y = jnp.concatenate([top, jnp.tile(middle, repeats), bottom], axis=axis)
        return y
