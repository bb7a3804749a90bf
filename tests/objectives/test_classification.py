import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.small import context, scenes
from numpy.testing import assert_allclose

from slots.config import ConfigError
from slots.objectives import ClassificationConfig

from .test_reconstruction import MODEL
from .test_reconstruction import prediction as drawing

LOGITS = np.array([[0, np.log(3), 0], [1, 1, 1], [0, 0, 50]], np.float32)


def loss(logits, label):
    empty = np.zeros((len(scenes(0, 1, 2).image), 1, 1, 3), np.float32)
    outputs = {} if logits is None else {"class_logits": jnp.asarray(logits)}
    label = None if label is None else jnp.asarray(label, jnp.int32)
    found = dataclasses.replace(drawing(empty, empty), outputs=outputs)
    batch = dataclasses.replace(scenes(0, 1, 2), label=label)
    return ClassificationConfig()(found, batch, context(), MODEL, None)


def test_by_hand():
    assert_allclose(loss(LOGITS, [1, 0, 0]), [np.log(5 / 3), np.log(3), 50], rtol=1e-6)
    assert_allclose(loss(LOGITS, [1, 0, 2])[2], 0, atol=1e-6)


def test_examples_do_not_mix_and_a_shift_of_logits_means_nothing():
    order = np.array([2, 0, 1])
    want = loss(LOGITS, [1, 0, 2])
    assert_allclose(loss(LOGITS[order], [2, 1, 0]), want[order], rtol=1e-6)
    assert_allclose(loss(LOGITS + 7, [1, 0, 2]), want, atol=1e-5)


def test_gradient_is_softmax_less_truth():
    got = jax.grad(lambda x: loss(x, [1, 0, 2]).sum())(jnp.asarray(LOGITS))
    assert_allclose(got, jax.nn.softmax(LOGITS) - np.eye(3)[[1, 0, 2]], atol=1e-6)


def test_half_precision_is_summed_in_float32():
    assert loss(LOGITS.astype(jnp.bfloat16), [1, 0, 2]).dtype == jnp.float32


def test_what_it_needs():
    with pytest.raises(ConfigError, match="predicts classes"):
        loss(None, [0, 0, 0])
    with pytest.raises(ConfigError, match="class per scene"):
        loss(LOGITS, None)
