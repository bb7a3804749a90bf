"""Classes of scenes from slots: what each head computes, inactive slots, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from contracts.small import context, defined, digits, scenes, small_reasoning
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError, override, replace
from slots.experiment import build
from slots.models import Definition, ReasoningConfig, count_parameters
from slots.models.reasoning import EntryHead, PooledHead
from slots.presets import load

SETTINGS = small_reasoning()
VECTORS = jax.random.normal(jax.random.key(0), (2, 3, 8))
CODES = jnp.asarray([[1, 1, 4], [0, 2, 1]])
ALL = jnp.ones((2, 3), bool)


@pytest.fixture(scope="module")
def entry_head():
    return filled(lambda rngs: EntryHead(5, 8, SETTINGS, rngs=rngs))


@pytest.fixture(scope="module")
def pooled_head():
    return filled(lambda rngs: PooledHead(8, SETTINGS, rngs=rngs))


def test_each_slot_is_read_by_its_entry(entry_head):
    properties, logits = entry_head(VECTORS, ALL, CODES)
    nets, output = entry_head.networks, entry_head.output
    for b in range(2):
        total = np.zeros(11)
        for k in range(3):
            m = int(CODES[b, k])
            hidden = VECTORS[b, k] @ nets.first_kernel[...][m] + nets.first_bias[...][m]
            want = np.maximum(hidden, 0) @ nets.second_kernel[...][m] + nets.second_bias[...][m]
            assert_allclose(properties[b, k], np.maximum(want, 0), atol=1e-5)
            total += np.maximum(want, 0) * np.asarray(entry_head.attention[...][m])
        assert_allclose(logits[b], total @ output.kernel[...] + output.bias[...], atol=1e-5)


def test_a_fresh_head_leaves_properties_alone():
    head = EntryHead(5, 8, SETTINGS, rngs=nnx.Rngs(0))
    graph, params = nnx.split(head, nnx.Param)

    def loss(params):
        _, logits = nnx.merge(graph, params)(VECTORS, ALL, CODES)
        return -jax.nn.log_softmax(logits)[:, 0].sum()

    grads = nnx.to_pure_dict(jax.grad(loss)(params))
    assert not any(np.any(g) for g in jax.tree.leaves([grads["networks"], grads["attention"]]))
    assert np.abs(grads["output"]["kernel"]).max() > 1e-3


def test_without_a_dictionary_all_are_read_alike(pooled_head):
    properties, logits = pooled_head(VECTORS, ALL)
    assert_allclose(properties[0, 1], pooled_head.mlp(VECTORS[0, 1]), atol=1e-6)
    assert_allclose(logits, pooled_head.output(properties.mean(1)), atol=1e-5)


def test_order_of_slots_means_nothing(entry_head, pooled_head):
    order = np.array([2, 0, 1])
    vectors, codes = VECTORS[:, order], CODES[:, order]
    assert_allclose(
        entry_head(vectors, ALL, codes)[1], entry_head(VECTORS, ALL, CODES)[1], atol=1e-5
    )
    assert_allclose(pooled_head(vectors, ALL)[1], pooled_head(VECTORS, ALL)[1], atol=1e-5)


def test_inactive_slots_play_no_part(entry_head, pooled_head):
    active = jnp.asarray([[True, False, True], [True, True, True]])
    other = VECTORS.at[0, 1].set(7)
    for head, rest in ((entry_head, (CODES,)), (pooled_head, ())):
        logits = head(VECTORS, active, *rest)[1]
        assert_allclose(head(other, active, *rest)[1], logits, atol=1e-6)
        assert np.abs(head(VECTORS, ALL, *rest)[1][0] - logits[0]).max() > 1e-3
    two = pooled_head(VECTORS[:, [0, 2]], ALL[:, :2])[1]
    assert_allclose(pooled_head(VECTORS, active)[1][0], two[0], atol=1e-5)


def predict(config, transform=quick_jit, **labels):
    definition, params = defined(config)
    variables = definition.bind(params).init_variables(jax.random.key(0))
    batch = dataclasses.replace(scenes(0, 1), **labels)

    def call(params):
        return definition.bind(params)(batch, context(train=False), variables)[0]

    return transform(call)(params)


def shapes(config, **labels):
    return predict(config, lambda call: lambda params: jax.eval_shape(call, params), **labels)


def test_inactive_slots_say_nothing():
    """A dictionary that uses as many slots as the picture has kinds of things."""
    config = replace(
        small_reasoning("dictionary", num_slots=4),
        initializer__count="estimated",
        initializer__least=1,
        initializer__size=5,
    )
    found = predict(config, **digits(2))
    active = np.asarray(found.grouping.slots.active)
    assert 0 < active.sum() < active.size
    properties = np.asarray(found.outputs["properties"])
    assert_array_equal(properties[~active], np.eye(11)[np.zeros((~active).sum(), int)])
    assert (properties[active] >= 0.5).all()  # a ReLU, then a sigmoid
    assert found.outputs["class_logits"].dtype == jnp.float32


@pytest.mark.parametrize("count", [1, 2, 4])
def test_target_has_a_row_of_nothing_for_each_slot_to_spare(count):
    classes = digits(2, count)["properties"]["digit"]
    definition, params = defined(SETTINGS)
    batch = dataclasses.replace(scenes(0, 1), **digits(2, count))
    target = np.asarray(definition.bind(params)._target(batch, 3))
    assert target.shape == (2, max(count, 3), 11)
    assert_array_equal(target[:, :count].argmax(-1), classes)
    assert_array_equal(target[:, count:].argmax(-1), 0)
    assert_array_equal(target.sum(-1), 1)


def test_without_labels_it_still_predicts():
    assert shapes(SETTINGS).target is None


def test_parameters_of_the_head():
    config = load("cosa/digits_cpu").model
    params, _ = jax.eval_shape(Definition.of(config, (64, 64, 1)).init, jax.random.key(0))
    assert set(params["head"]) == {"networks", "attention", "output"}
    private = 11 * (64 * 64 + 64 + 64 * 11 + 11 + 11)
    assert count_parameters(params["head"]) == private + 11 * 19 + 19


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"no property model\.category='color'; they have digit"):
        shapes(replace(SETTINGS, category="color"), **digits(2))
    with pytest.raises(ConfigError, match=r"model\.classes=0 must be at least 1"):
        replace(SETTINGS, classes=0)
    assert isinstance(load("slot_attention/digits_cpu").model, ReasoningConfig)
    wrong = override(load("slot_attention/digits_cpu"), ["data.task=diff"])
    with pytest.raises(ConfigError, match=r"model\.classes=19, but the data have 10"):
        build(wrong)
