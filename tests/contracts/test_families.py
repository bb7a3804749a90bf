"""What every registered part must do, whatever it is; a new part is walked by being registered."""

import dataclasses
import itertools
import json
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from slots.config import from_data, replace, to_data
from slots.decoders import DecoderConfig
from slots.encoders import EncoderConfig, TokenHeadConfig
from slots.initializers import InitializerConfig
from slots.models import (
    Definition,
    ImageModelConfig,
    ModelConfig,
    ReasoningConfig,
    SetPredictionConfig,
)
from slots.modules import SlotModuleConfig
from slots.objectives import ClassificationConfig, ObjectiveConfig, SetMatchingConfig

from .filled import quick_jit
from .small import (
    SHAPE,
    SMALL,
    context,
    defined,
    digits,
    objective,
    objects,
    predictor,
    scenes,
    small,
    small_model,
    small_reasoning,
    small_set_model,
)

FAMILIES = {
    "encoder": EncoderConfig,
    "initializer": InitializerConfig,
    "module": SlotModuleConfig,
    "decoder": DecoderConfig,
}
KINDS = {name: sorted(family.kinds) for name, family in FAMILIES.items()}
DEFAULT = {
    "encoder": "windows",
    "initializer": "gaussian",
    "module": "slot_attention",
    "decoder": "mlp",
}
SLOW = ("cnn", "resnet")  # many convolutions to compile

# Leaves whose gradient is rightly zero, by slot module.
UNSEEN = {
    # A bias on the query side shifts all slots' logits for a token alike: the softmax ignores it.
    # (Where keys differ by slot, as in Invariant Slot Attention, it does not.)
    "explicit_statistics": ("['module']['attention']['norm_slots']['bias']",),
    "slot_attention": ("['module']['norm_slots']['bias']",),
}
# Trained by terms of their own, not by reconstruction, by initializer.
APART = {
    "dictionary": tuple(
        f"['initializer']['{name}']"
        for name in ("project_in", "norm_in", "project_out", "norm_out")
    ),
}


def every(*names, slow=(), pairs=True):
    """Parts of every combination of the named families, the others at their fastest.

    Among the slow tests are those with a kind in `slow` and, without `pairs`, those in which more
    than one part is not the fastest.
    """
    chosen = {}
    for kinds in itertools.product(*(KINDS[name] for name in names)):
        parts = dict(zip(names, kinds, strict=True))
        others = sum(DEFAULT[name] != kind for name, kind in parts.items())
        later = set(slow) & set(kinds) or (others > 1 and not pairs)
        marks = pytest.mark.slow if later else ()
        chosen["-".join(kinds)] = pytest.param(DEFAULT | parts, id="-".join(kinds), marks=marks)
    return chosen


def every_part(slow=()):
    """Every kind of every family beside every slot module; what is the same model comes once."""
    models = {}
    for name in FAMILIES:
        together = every(*dict.fromkeys(("module", name)), slow=slow, pairs=False)
        for case in together.values():
            (parts,) = case.values
            models.setdefault(tuple(sorted(parts.items())), case)
    return list(models.values())


def check_step(config):
    """One gradient step on tiny pictures: sound masks, a gradient at every leaf, less loss."""
    loss, params = objective(config, scenes(0, 1))
    step = quick_jit(jax.value_and_grad(loss, has_aux=True))
    (before, prediction), gradients = step(params)

    masks, attention = prediction.reconstruction.masks, prediction.grouping.attention
    assert masks.dtype == attention.dtype == jnp.float32
    assert_allclose(masks.sum(1), np.ones((2, *SHAPE[:2])), atol=1e-5)
    assert_allclose(attention.sum(1), np.ones(attention.shape[::2]), atol=1e-5)
    assert prediction.reconstruction.output.shape == (2, *SHAPE)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), name
        if name.startswith(APART.get(config.initializer.kind, "-")):
            assert (leaf == 0).all(), name
        elif name in UNSEEN.get(config.module.kind, ()):
            assert np.abs(leaf).max() < 1e-5, name
        else:
            assert np.abs(leaf).max() > 1e-7, name

    params, gradients = jax.tree.map(np.asarray, (params, gradients))
    norm = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradients))
    rate = np.float32(1e-2 * before / norm)  # a hundredth of the loss, to first order
    moved = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    (after, _), _ = step(moved)
    assert after < before


@pytest.mark.parametrize("parts", every_part())
def test_one_step(parts):
    check_step(small_model(**parts))


@pytest.mark.slow
@pytest.mark.parametrize("parts", every(*FAMILIES).values())
def test_one_step_of_every_combination(parts):
    check_step(small_model(**parts))


@pytest.mark.parametrize("parts", every("module", "encoder", "decoder").values())
def test_every_combination_builds(parts):
    definition, params = defined(small_model(**parts))
    assert set(params) == {"encoder", "initializer", "module", "decoder"}
    found = jax.eval_shape(lambda params: definition.bind(params).encoder, params)
    shapes = jax.tree.map(np.shape, nnx.to_pure_dict(nnx.state(found, nnx.Param)))
    assert shapes == jax.tree.map(np.shape, params["encoder"])


EVERY_KIND = [
    pytest.param(name, kind, id=f"{name}-{kind}") for name in FAMILIES for kind in KINDS[name]
]


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_defaults_build(name, kind):
    config = replace(small_model(**DEFAULT), **{name: FAMILIES[name].kinds[kind]()})
    definition = Definition.of(config, (32, 32, 3))
    params, _ = jax.eval_shape(definition.init, jax.random.key(0))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def ways_of_gradient():
    """Each slot module with each setting that may cut its first slots off."""
    for kind in KINDS["module"]:
        config = small(SlotModuleConfig, kind)
        if hasattr(config, "gradient"):
            hint = get_type_hints(type(config))["gradient"]
            for value in get_args(hint):
                yield pytest.param(replace(config, gradient=value), id=f"{kind}-{value}")
    picture = replace(small(SlotModuleConfig, "slot_mixture"), first="picture")
    yield pytest.param(picture, id="slot_mixture-picture")


@pytest.mark.parametrize("module", list(ways_of_gradient()))
def test_says_whether_first_slots_are_trained(module):
    config = replace(small_model(), module=module)
    loss, params = objective(config, scenes(0, 1))
    gradient = quick_jit(jax.grad(lambda params: loss(params)[0]))(params)["initializer"]
    reached = any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
    assert reached == module.trains_first_slots


@pytest.mark.parametrize("parts", every_part((*SLOW, "broadcast", "learned")))
def test_compiled_is_eager(parts):
    predict, params = predictor(small_model(**parts))
    eager = predict(params, scenes(0, 1))
    compiled = quick_jit(predict)(params, scenes(0, 1))
    eager, compiled = (weigh_axes(prediction) for prediction in (eager, compiled))
    same = jax.tree.map(lambda a, b: assert_allclose(a, b, atol=2e-5), eager, compiled)
    assert jax.tree.structure(same)


def weigh_axes(prediction):
    """Axes weighed by how far the spreads along them differ: round attention has no axes."""
    frames = prediction.grouping.slots.frames
    if frames is None or frames.rotation is None:
        return prediction
    gap = jnp.abs(jnp.diff(jnp.square(frames.scale)))
    weighed = dataclasses.replace(frames, rotation=frames.rotation * gap[..., None])
    slots = dataclasses.replace(prediction.grouping.slots, frames=weighed)
    grouping = dataclasses.replace(prediction.grouping, slots=slots)
    return dataclasses.replace(prediction, grouping=grouping)


@pytest.mark.parametrize("parts", every_part(SLOW))
def test_half_precision(parts):
    """Masks and attention stay in float32, and the picture is nearly that of float32."""
    config = small_model(**parts)
    predict, params = predictor(config)
    wanted = quick_jit(predict)(params, scenes(0, 1))
    half, _ = predictor(replace(config, compute_dtype="bfloat16"))
    with jax.numpy_dtype_promotion("standard"):  # flax's norms promote inside
        got = quick_jit(half)(params, scenes(0, 1))
    assert got.reconstruction.output.dtype == got.grouping.slots.vectors.dtype == jnp.bfloat16
    for masks in (got.reconstruction.masks, got.grouping.attention):
        assert masks.dtype == jnp.float32
        assert_allclose(masks.sum(1), np.ones(masks[:, 0].shape), atol=1e-5)
    span = np.ptp(wanted.reconstruction.output)
    output = got.reconstruction.output.astype(jnp.float32)
    error = np.abs(output - wanted.reconstruction.output)
    assert error.mean() < 0.02 * span
    assert error.max() < 0.15 * span


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(kind, marks=() if kind in (DEFAULT["module"], "mesh") else pytest.mark.slow)
        for kind in KINDS["module"]
    ],
)
def test_rematerialisation_changes_nothing(module):
    found = []
    for remat in (False, True):
        config = small_model(module=module, remat=remat)
        loss, params = objective(config, scenes(0, 1))
        compute = jax.value_and_grad(loss, has_aux=True)
        found.append(quick_jit(compute)(params))
        jaxpr = jax.make_jaxpr(loss)(params)
        names = [equation.primitive.name for equation in jaxpr.eqns]
        assert any("remat" in name for name in names) == remat
    (_, plain), gradients = found[0]
    (_, recomputed), again = found[1]
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), recomputed, plain)
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5), again, gradients)


@pytest.mark.parametrize("parts", every_part())
def test_examples_do_not_mix(parts):
    """A picture's prediction is the same in batches of other sizes and orders."""
    predict, params = predictor(small_model(**parts))
    compute = quick_jit(predict)
    among, alone = compute(params, scenes(5, 3, 8)), compute(params, scenes(3))
    assert_allclose(among.grouping.slots.vectors[1], alone.grouping.slots.vectors[0], atol=1e-5)
    assert_allclose(among.reconstruction.output[1], alone.reconstruction.output[0], atol=1e-5)


def every_setting():
    """Small (not default) settings of every kind of every family of the model side."""
    for name, kind in (part.values for part in EVERY_KIND):
        yield pytest.param(FAMILIES[name], small(FAMILIES[name], kind), id=kind)
    for kind in sorted(ObjectiveConfig.kinds):
        yield pytest.param(ObjectiveConfig, ObjectiveConfig.kinds[kind](weight=0.25), id=kind)
    for kind in sorted(ModelConfig.kinds):
        if ModelConfig.kinds[kind] is ImageModelConfig:
            model = small_model(pixel_range="symmetric", compute_dtype="bfloat16", remat=True)
            head = TokenHeadConfig(position="fourier", norm="all", features=6)
            yield pytest.param(ModelConfig, replace(model, encoder__head=head), id=kind)


@pytest.mark.parametrize(("family", "config"), list(every_setting()))
def test_settings_round_trip(family, config):
    data = json.loads(json.dumps(to_data(config)))
    assert data["kind"] == config.kind
    assert from_data(family, data) == config


def test_every_model_is_walked():
    """Another model needs a small form of its own here."""
    assert set(ModelConfig.kinds.values()) == {
        ImageModelConfig,
        ReasoningConfig,
        SetPredictionConfig,
    }


@pytest.mark.parametrize(
    ("module", "output"),
    [
        *((module, "sigmoid") for module in KINDS["module"]),
        (DEFAULT["module"], "softmax"),
    ],
)
def test_set_prediction_learns(module, output):
    """One gradient step on a few objects, with every slot module: less loss."""
    config = small_set_model(module=module, output=output)
    prediction = check_learning(config, SetMatchingConfig(), properties=objects(2))
    assert prediction.outputs["properties"].shape == (2, 3, 16)
    assert prediction.target.shape == (2, 3, 16)


@pytest.mark.parametrize("parts", every("module", "initializer", pairs=False).values())
def test_reasoning_learns(parts):
    """One gradient step on classes of scenes, with all first slots and slot modules: less loss."""
    config = small_reasoning(parts["initializer"], parts["module"])
    prediction = check_learning(config, ClassificationConfig(), **digits(2))
    assert prediction.outputs["class_logits"].shape == (2, 5)
    assert prediction.outputs["properties"].shape == prediction.target.shape == (2, 3, 11)


def check_learning(config, term, **labels):
    """One gradient step on two pictures: less loss. Gives the prediction before it."""
    definition, params = defined(config)
    batch = dataclasses.replace(scenes(0, 1), **labels)
    variables = definition.bind(params).init_variables(jax.random.key(0))

    def loss(params):
        model = definition.bind(params)
        prediction, _ = model(batch, context(), variables)
        return term(prediction, batch, context(), model, None).mean(), prediction

    step = quick_jit(jax.value_and_grad(loss, has_aux=True))
    (before, prediction), gradients = step(params)
    params, gradients = jax.tree.map(np.asarray, (params, gradients))
    norm = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradients))
    assert norm > 0
    rate = np.float32(1e-3 * before / norm)  # a thousandth of the loss, to first order
    (after, _), _ = step(jax.tree.map(lambda p, g: p - rate * g, params, gradients))
    assert after < before
    return prediction


def test_the_table_of_small_settings_names_parts_that_exist():
    for family, table in SMALL.items():
        assert set(table) <= set(family.kinds)


@pytest.mark.parametrize("family", [*FAMILIES.values(), ModelConfig, ObjectiveConfig])
def test_family_members_are_spelt_alike(family):
    """Name `slot_attention`, settings `SlotAttentionConfig`, file `slot_attention.py`."""
    for kind, cls in family.kinds.items():
        assert issubclass(cls, family)
        assert cls.__name__.endswith("Config")
        assert cls.__module__.split(".")[-1] == kind
