"""The spatial broadcast decoder against stored answers of SAVi's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from contracts.vectors import Vectors, assert_close, binder, flax_linear, stored

from slots.decoders import BroadcastConfig
from slots.nn import grid_positions
from slots.types import Slots

pytestmark = pytest.mark.parity


def savi_params(read, count):
    """Colour read-out and mask logit are one 1×1 convolution with the logit last."""
    readout = flax_linear(read, "Readout_0/Dense_0/Dense_0")
    alpha = flax_linear(read, "alpha_logits")
    kernel = np.concatenate([readout["kernel"], alpha["kernel"]], axis=-1)
    return {
        "position": {"projection": flax_linear(read, "PositionEmbedding_0/dense_pe_0")},
        "convs": {i: flax_linear(read, f"CNN_0/conv_{i}") for i in range(count)},
        "output": {
            "kernel": kernel[None, None],
            "bias": np.concatenate([readout["bias"], alpha["bias"]]),
        },
    }


@pytest.mark.parametrize("path", stored("savi_spatial_broadcast_decoder_late*"))
def test_savi_late_fusion(path):
    v = Vectors(path)
    strides = v.hyper("strides", ())
    transposed = v.hyper("layer_transpose", tuple(s > 1 for s in strides))
    assert all(t or s == 1 for t, s in zip(transposed, strides, strict=True))
    kernels = [v.param(f"CNN_0/conv_{i}/kernel") for i in range(len(strides))]
    vectors, cotangent = v["in/slots"], v["in/cotangent"]
    grid = v.hyper("resolution", None)
    config = BroadcastConfig(
        channels=tuple(kernel.shape[-1] for kernel in kernels),
        strides=strides,
        kernel_size=kernels[0].shape[0],
        output_kernel_size=1,
        position="coordinates",
    )
    *leading, height, width, channels = cotangent.shape

    def make(rngs):
        return config.make(
            slot_dim=vectors.shape[-1],
            image_shape=(height, width, channels),
            scale_factor=1.0,
            rngs=rngs,
        )

    stored_grid = v.param("PositionEmbedding_0/pos_embedding")  # a constant of ours
    np.testing.assert_allclose(stored_grid.reshape(-1, 2), grid_positions(*grid), atol=1e-6)
    params = savi_params(v.param, len(strides))
    bind = binder(make, params)
    assert bind(params).grid == grid

    def loss(params, vectors):
        flat = vectors.reshape(-1, *vectors.shape[-2:])  # time is part of the batch
        drawn = bind(params)(Slots(vectors=flat))
        return jnp.vdot(drawn.output, cotangent.reshape(drawn.output.shape)), drawn

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, drawn), gradients = compute(params, vectors)
    masks = drawn.masks.reshape(*leading, *drawn.masks.shape[1:])
    assert_close(drawn.output.reshape(cotangent.shape), v["out/flow"], 1e-5, "output")
    assert_close(masks, v["out/alphas"].squeeze(-1), 1e-5, "masks")
    np.testing.assert_array_equal(masks.argmax(-3), v["out/segmentations"].squeeze(-1))
    wanted = savi_params(v.gradient, len(strides))
    assert_close(gradients[0], wanted, 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/slots"], 1e-4, "gradient of slots")
    assert not v.unused_gradients()
