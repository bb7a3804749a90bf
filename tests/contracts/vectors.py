"""Reading stored known answers and comparing with them, shared by the parity tests.

A file names weights, inputs, outputs and gradients of one reference problem; every size and option
is read from it, so that other files of the same layout are checked by the same tests.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from .filled import abstract

FOLDER = Path(
    os.environ.get("SLOTS_PARITY", Path(__file__).parents[3] / "shared" / "data" / "parity")
)


def stored(pattern):
    """Pytest parameters: every stored file whose stem matches, or one that is skipped."""
    found = sorted(FOLDER.glob(f"{pattern}.npz"))
    if found:
        return [pytest.param(path, id=path.stem) for path in found]
    reason = f"no {pattern}.npz in {FOLDER} (set SLOTS_PARITY)"
    return [pytest.param(None, id=pattern, marks=pytest.mark.skip(reason=reason))]


class Vectors:
    """One file; remembers which weights were asked for."""

    def __init__(self, path):
        with np.load(path) as file:
            self.arrays = dict(file)
        self.used = set()

    def __getitem__(self, key):
        return self.arrays[key]

    def __contains__(self, key):
        return key in self.arrays

    def hyper(self, name, default):
        """An option as a Python value. Stored float32 means the decimal (1e-8, 0.1)."""
        value = self.arrays.get(f"hyper/{name}")
        if value is None or (value.ndim == 0 and value == -1):  # absent, or the reference's None
            return default
        if value.ndim:
            return tuple(value.tolist())
        return float(str(value)) if value.dtype == np.float32 else value.item()

    def param(self, name):
        self.used.add(name)
        return self.arrays[f"param/{name}"]

    def has(self, name):
        return f"param/{name}" in self.arrays

    def gradient(self, name):
        """Stored gradient of a weight; zeros where the reference had none."""
        key = f"grad/param/{name}"
        return self.arrays[key] if key in self.arrays else np.zeros_like(self.param(name))

    def unused_gradients(self):
        """Weights that have a stored gradient but were never asked for."""
        stored = {key[11:] for key in self.arrays if key.startswith("grad/param/")}
        return stored - self.used


def torch_linear(read, name, bias=True):
    """[out,in] to the kernel [in,out]."""
    params = {"kernel": read(f"{name}/weight").T}
    return params | {"bias": read(f"{name}/bias")} if bias else params


def torch_norm(read, name):
    """A layer norm over any number of axes, flattened."""
    return {"scale": read(f"{name}/weight").ravel(), "bias": read(f"{name}/bias").ravel()}


def torch_gru(vectors, name, gradient=False):
    """Gates r, z, n side by side. Torch's hidden bias of r and z adds to the input bias.

    Both biases then have the same gradient; that of n stays apart, inside the reset gate.
    """
    read = vectors.gradient if gradient else vectors.param
    input_bias, hidden_bias = read(f"{name}/bias_ih"), read(f"{name}/bias_hh")
    new = 2 * len(hidden_bias) // 3
    if gradient:
        np.testing.assert_allclose(input_bias[:new], hidden_bias[:new], rtol=1e-4, atol=1e-6)
    else:
        input_bias = np.concatenate([input_bias[:new] + hidden_bias[:new], input_bias[new:]])
    return {
        "input_kernel": read(f"{name}/weight_ih").T,
        "input_bias": input_bias,
        "hidden_kernel": read(f"{name}/weight_hh").T,
        "hidden_bias": hidden_bias[new:],
    }


def flax_linear(read, name):
    return {"kernel": read(f"{name}/kernel"), "bias": read(f"{name}/bias")}


def flax_norm(read, name):
    return {"scale": read(f"{name}/scale"), "bias": read(f"{name}/bias")}


def flax_gru(read, name):
    """Six kernels to two, gates r, z, n side by side."""

    def joined(source, leaf):
        return np.concatenate([read(f"{name}/{source}{gate}/{leaf}") for gate in "rzn"], axis=-1)

    return {
        "input_kernel": joined("i", "kernel"),
        "input_bias": joined("i", "bias"),
        "hidden_kernel": joined("h", "kernel"),
        "hidden_bias": read(f"{name}/hn/bias"),
    }


def binder(make, params):
    """A function from parameters to the part that `make(rngs)` builds; `params` must fit it."""
    graphdef, own = abstract(make)
    assert jax.tree.structure(own) == jax.tree.structure(params)
    assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, params)
    return lambda params: nnx.merge(graphdef, params)


def assert_close(got, want, tolerance, name=""):
    """|got - want| <= tolerance · (1 + max|want|), over every leaf of a tree."""
    got, want = jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want)
    for (path, a), b in zip(got, want, strict=True):
        assert a.shape == np.shape(b), (name, path, a.shape, np.shape(b))
        bound = tolerance * (1 + np.abs(b).max())
        worst = np.abs(np.asarray(a) - b).max()
        where = f"{name}{jax.tree_util.keystr(path)}"
        assert worst <= bound, f"{where} differs by {worst:.2e}, allowed {bound:.2e}"
