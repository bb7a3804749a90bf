"""The contract of a model, and how its parameters become arrays and come back."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from slots.config import Component
from slots.types import Batch, Context, Prediction

FloatType = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Component):
    """Settings every model has."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    param_dtype: FloatType = "float32"
    """In which parameters are kept and updated."""
    compute_dtype: FloatType = "float32"
    """To which parameters and inputs are cast for a call. Softmaxes, norms' statistics, mixing
    weights and losses stay in float32."""
    pixel_range: Literal["unit", "symmetric"] = "unit"
    """What the model sees and draws: [0, 1] or [-1, 1]."""

    @property
    def num_classes(self) -> int:
        """Of scenes that the model tells apart, which must be the data's; 0: none."""
        return 0

    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "Model":
        """Builds the model for pictures of `image_shape` (H, W, C).

        Raises:
            ConfigError: the parts' shapes do not agree.
        """
        raise NotImplementedError


class Model(nnx.Module):
    """Batch in, prediction out. It has no loop, no optimizer and no loss.

    `config` is set by the constructor.
    """

    config: ModelConfig

    @property
    def trains_first_slots(self) -> bool:
        """Whether a gradient is meant to reach the initializer."""
        return False

    def init_variables(self, key: Key[Array, ""]) -> dict[str, Any]:
        """Fresh state that changes without gradients, by the part that owns it."""
        return {}

    def __call__(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Prediction, dict[str, Any]]:
        """The prediction and the new variables."""
        raise NotImplementedError

    def from_image(self, pixels: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """Pictures in [0, 1] to the model's range, in its compute dtype."""
        if self.config.pixel_range == "symmetric":
            pixels = 2 * pixels - 1
        return pixels.astype(self.config.compute_dtype)

    def to_image(self, drawn: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """The model's range to [0, 1] in float32, not clamped."""
        drawn = drawn.astype(jnp.float32)
        return (drawn + 1) / 2 if self.config.pixel_range == "symmetric" else drawn


def example_keys(key: Key[Array, ""], batch: Batch, size: int) -> Key[Array, "b"]:
    """One key per example, from its record number, so that draws ignore the batch around it."""
    index = jnp.arange(size) if batch.index is None else batch.index
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


@dataclasses.dataclass(frozen=True)
class Definition:
    """A model without its arrays: what is static, and how to make and bind what is not."""

    graphdef: Any
    """Flax NNX graph definition, hashable."""
    make: Callable[[nnx.Rngs], Model]
    compute_dtype: str
    param_dtype: str

    @classmethod
    def of(cls, config: ModelConfig, image_shape: tuple[int, int, int]) -> "Definition":
        """Builds the model abstractly: no array is made.

        Raises:
            ConfigError: the parts' shapes do not agree.
        """

        def make(rngs: nnx.Rngs) -> Model:
            return config.make(image_shape=image_shape, rngs=rngs)

        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
        graphdef, _ = nnx.split(abstract, nnx.Param)
        return cls(graphdef, make, config.compute_dtype, config.param_dtype)

    def init(self, key: Key[Array, ""]) -> tuple[PyTree, dict[str, Any]]:
        """Fresh parameters (nested dict of arrays in the parameter dtype) and variables."""
        model = self.make(nnx.Rngs(key))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        variables = model.init_variables(jax.random.fold_in(key, 1))
        return _cast(params, self.param_dtype), variables

    def bind(self, params: PyTree) -> Model:
        """The model with `params`, cast to the compute dtype; pure, so usable under `jit`."""
        return nnx.merge(self.graphdef, _cast(params, self.compute_dtype))


def _cast(params: PyTree, dtype: str) -> PyTree:
    return jax.tree.map(lambda x: x.astype(dtype), params)


def count_parameters(params: PyTree) -> int:
    """Numbers in all arrays together."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
