"""Laws that kernels are drawn from."""

from typing import Literal

from flax import nnx

KernelInit = Literal["glorot", "lecun", "uniform"]
Initializer = nnx.initializers.Initializer

glorot: Initializer = nnx.initializers.glorot_uniform()
"""Keras' default, Var = 2 / (inputs + outputs): the 2020 paper's code."""
lecun: Initializer = nnx.initializers.lecun_normal()
"""Flax' default, Var = 1 / inputs: the same group's later code. Where few channels (colours,
coordinates) become many, what comes out is larger than by `glorot`."""
uniform: Initializer = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default, ±1/√inputs. (PyTorch draws biases from it too; ours start at zero.)"""


def kernel_init(name: KernelInit) -> Initializer:
    """The law called `name`."""
    return {"glorot": glorot, "lecun": lecun, "uniform": uniform}[name]
