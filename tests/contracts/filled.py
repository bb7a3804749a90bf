"""Parts filled with random numbers: built abstractly, so that a test compiles nothing for it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# XLA:CPU compiles five times faster like this (jax 0.10), and the programs here are tiny.
_QUICK = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):
    _QUICK["xla_cpu_use_fusion_emitters"] = False  # later versions have no such option
quick_jit = functools.partial(jax.jit, compiler_options=_QUICK)


def abstract(make):
    """What `make(rngs)` builds, without arrays: its graph definition and its parameters' shapes."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param)
    return graphdef, nnx.to_pure_dict(state)


def fill(shapes, seed=0, dtype=np.float32):
    """Random values for every leaf, biases and gains included, so that a forgotten one shows."""
    rng = np.random.default_rng(seed)

    def value(path, leaf):
        noise = rng.standard_normal(leaf.shape)
        if leaf.ndim > 1:
            return jnp.asarray(noise / np.sqrt(np.prod(leaf.shape[:-1])), dtype)
        gain = path[-1].key == "scale"
        return jnp.asarray(gain + 0.3 * noise, dtype)

    return jax.tree_util.tree_map_with_path(value, shapes)


def filled(make, seed=0, dtype=np.float32):
    """The part that `make(rngs)` builds, with random values in every parameter."""
    graphdef, shapes = abstract(make)
    return nnx.merge(graphdef, fill(shapes, seed, dtype))
