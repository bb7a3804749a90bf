"""CoSA, its base line and its dictionary against stored answers of the published implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from contracts.vectors import (
    Vectors,
    assert_close,
    binder,
    stored,
    torch_gru,
    torch_linear,
    torch_norm,
)
from flax import nnx
from modules.parity import draw_stored, keys_of, module
from numpy.testing import assert_array_equal

from slots.encoders import TokenHead, TokenHeadConfig
from slots.initializers import DictionaryConfig, GaussianConfig, dictionary
from slots.modules import SlotAttentionConfig
from slots.nn import grid_positions
from slots.nn.codebook import distances, follow, perplexity
from slots.nn.spectrum import repetitions, similarity_spectrum
from slots.types import Tokens

pytestmark = pytest.mark.parity


def released_basis(vectors):
    """Eigenvectors as rows, largest eigenvalue first, with the release's signs: each token takes
    that of the eigenvector that is largest there."""
    basis = np.swapaxes(vectors, 1, 2)[:, ::-1]
    largest = np.abs(basis).argmax(axis=1)[:, None]
    return basis * np.sign(np.take_along_axis(basis, largest, axis=1))


@pytest.mark.parametrize("path", stored("cosa_slot_count*"))
def test_count(path):
    v = Vectors(path)
    tokens = jnp.asarray(v["in/tokens"])
    values, _ = similarity_spectrum(tokens, 4)
    assert_close(values, v["out/eigenvalues_descending"], 1e-5, "eigenvalues")
    sizes = np.round(values).astype(int)
    assert_array_equal(sizes, v["out/rounded_eigenvalues"])
    assert_array_equal((sizes > 0).sum(1), v["out/count_per_sample"])
    basis = released_basis(v["in/eigh_vectors_ascending"])
    assert_close(basis, v["out/basis"], 1e-5, "basis")

    count = int(v["out/num_objects"])
    config = DictionaryConfig(estimate="batch", least=v.hyper("min_objects", 3))
    module = config.make(
        num_slots=count, slot_dim=4, feature_dim=4, content_dim=tokens.shape[-1], rngs=nnx.Rngs(0)
    )
    first, _ = module(
        tokens_of(tokens),
        keys_of(len(tokens)),
        module.init_variables(jax.random.key(0)),
        train=False,
    )
    assert_array_equal(first.diagnostics["count"], [count] * len(tokens))
    found, _ = module.properties(tokens_of(tokens))
    strong = sizes[:, :count] > 0  # of those that belong to nothing, vectors are arbitrary
    want = v["out/objects_abs_from_raw_eigh"]
    assert_close(np.abs(found)[strong], want[strong], 1e-4, "objects up to their sign")


@pytest.mark.parametrize("path", stored("cosa_reorder_slots*"))
def test_repetitions(path):
    v = Vectors(path)
    sizes = jnp.asarray(np.round(v["in/scales"]).astype(int))
    sizes = jnp.broadcast_to(sizes.max(0, keepdims=True), sizes.shape)
    given = v["in/indices"]
    count = jnp.full(len(given), given.shape[1])
    entries = repetitions(sizes, count, v.hyper("num_slots", 6))
    assert_array_equal(np.take_along_axis(given, entries, 1), v["out/indices"])
    for name in ("slots", "slots_mu"):
        found = np.take_along_axis(v[f"in/{name}"], np.asarray(entries)[..., None], 1)
        assert_array_equal(found, v[f"out/{name}"])


def tokens_of(content):
    places = jnp.zeros((*content.shape[:2], 2))
    return Tokens(features=content, content=content, positions=places, grid=(1, places.shape[1]))


def dictionary_params(read, prefix=""):
    def perceptron(name):
        return {
            "first": torch_linear(read, f"{prefix}{name}/0"),
            "second": torch_linear(read, f"{prefix}{name}/2"),
        }

    return {
        "project_in": perceptron("project_in"),
        "norm_in": torch_norm(read, f"{prefix}norm_in"),
        "project_out": perceptron("project_out"),
        "norm_out": torch_norm(read, f"{prefix}norm_out"),
        "network": {
            "first_kernel": read(f"{prefix}qkclass/fc1_w"),
            "first_bias": read(f"{prefix}qkclass/fc1_b"),
            "second_kernel": read(f"{prefix}qkclass/fc2_w"),
            "second_bias": read(f"{prefix}qkclass/fc2_b"),
        },
    }


def dictionary_variables(read, prefix=""):
    table = {
        "keys": read(f"{prefix}_embedding/weight"),
        "counts": read(f"{prefix}_ema_cluster_size").ravel(),
        "sums": read(f"{prefix}_ema_w"),
    }
    return {
        "table": jax.tree.map(jnp.asarray, table),
        "mean": jnp.asarray(read(f"{prefix}qkclass/mu_embeddings")),
        "log_variance": jnp.asarray(read(f"{prefix}qkclass/sigma_embeddings")),
    }


@pytest.mark.parametrize("path", stored("cosa_quantizer_*"))
def test_look_up(path, monkeypatch):
    v = Vectors(path)
    tokens, noise = jnp.asarray(v["in/tokens"]), v["in/noise"]
    size, count, width = tokens.shape
    cosine = bool(v.hyper("cosine", 0))
    variables = dictionary_variables(v.param)
    table = variables["table"]
    config = DictionaryConfig(
        size=len(table["keys"]),
        key_dim=table["keys"].shape[1],
        lookup="cosine" if cosine else "euclidean",
        values="network",
    )
    params = dictionary_params(v.param)
    bind = binder(
        lambda rngs: config.make(
            num_slots=count, slot_dim=width, feature_dim=width, content_dim=width, rngs=rngs
        ),
        params,
    )
    keys = draw_stored(monkeypatch, noise.reshape(size, count, -1))

    def loss(params, tokens):
        module = bind(params)
        found = module.look_up(tokens, table, keys, train=False)
        through = tokens + jax.lax.stop_gradient(found.quantized - tokens)
        slots = module.draw(found.codes, keys, variables)
        book, commitment = (
            released_loss(found.quantized, jax.lax.stop_gradient(tokens)),
            released_loss(jax.lax.stop_gradient(found.quantized), tokens),
        )
        total = book + v.hyper("commitment_cost", 0.25) * commitment
        value = jnp.vdot(through, v["in/cotangent"]) + jnp.vdot(slots, v["in/cotangent_slots"])
        return value + total, (found, slots, total, book, commitment)

    def released_loss(x, y):
        if not cosine:
            return jnp.square(x - y).mean()
        # Over tokens, where a feature's would be expected.
        lengths = jnp.linalg.norm(x, axis=1) * jnp.linalg.norm(y, axis=1)
        return 2 * (1 - ((x * y).sum(1) / lengths).mean())

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (found, slots, total, book, commitment)), gradients = compute(params, tokens)
    assert_array_equal(found.codes, v["out/indices"])
    assert_close(found.features, v["out/features"], 1e-4, "features")
    gaps = distances(found.features, table["keys"], config.lookup)
    assert_close(gaps, v["out/distances"].reshape(gaps.shape), 1e-4, "distances")
    assert_close(found.quantized, v["out/quantized"], 1e-4, "quantized")
    assert_close(slots, v["out/slots"], 1e-4, "slots")
    assert_close(total, v["out/loss"], 1e-4, "loss")
    assert_close(book, v["out/loss_type1"], 1e-4, "codebook term")
    assert_close(
        v.hyper("commitment_cost", 0.25) * commitment, v["out/loss_type2"], 1e-4, "commitment"
    )
    everyone = jnp.ones(found.codes.shape, bool)
    used = perplexity(found.codes, config.size, everyone)
    assert_close(used, v["out/perplexity"], 1e-4, "perplexity")
    if not cosine:
        ours = dictionary.mismatch(found.quantized, tokens, "euclidean").mean()
        assert_close(ours, v["out/loss_type1"], 1e-4, "our loss")

    moved = follow(
        table,
        found.features,
        jnp.asarray(v["out/train_indices"]),
        everyone,
        decay=v.hyper("decay", 0.8),
        epsilon=v.hyper("ema_epsilon", 1e-5),
    )
    assert_close(moved["keys"], v["out/train_embedding_after"], 1e-4, "keys")
    assert_close(moved["counts"], v["out/train_ema_cluster_size_after"].ravel(), 1e-4, "counts")
    assert_close(moved["sums"], v["out/train_ema_w_after"], 1e-4, "sums")
    assert_close(gradients[0], dictionary_params(v.gradient), 1e-3, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-3, "gradient of tokens")
    # The release differentiates its keys but never applies that gradient.
    assert v.unused_gradients() <= {"_embedding/weight"}


def rest_params(v, gradient=False):
    """Of the token head and the slot module."""
    read = v.gradient if gradient else v.param
    position = torch_linear(read, "encoder_position/embedding")
    attention = {
        "norm_inputs": torch_norm(read, "norm_input"),
        "norm_slots": torch_norm(read, "norm_slots"),
        "norm_mlp": torch_norm(read, "norm_pre_ff"),
        "query": torch_linear(read, "to_q"),
        "key": torch_linear(read, "to_k"),
        "value": torch_linear(read, "to_v"),
        "gru": torch_gru(v, "gru", gradient),
        "mlp": {
            "first": torch_linear(read, "slot_transformation/0"),
            "second": torch_linear(read, "slot_transformation/2"),
        },
    }
    head = {
        "position": {"projection": position},
        "norm": torch_norm(read, "encoder_norm"),
        "mlp": {
            "first": torch_linear(read, "encoder_feature_mlp/0"),
            "second": torch_linear(read, "encoder_feature_mlp/2"),
        },
    }
    return {"head": head, "module": attention}


def law_params(v, gradient=False):
    read = v.gradient if gradient else v.param
    width = v.param("slots_mu").shape[-1]
    return {
        "mean": read("slots_mu").reshape(-1, width),
        # sigma = exp(stored / 2); a gradient of the stored value is half of that of its half
        "log_scale": read("slots_sigma").reshape(-1, width) * (2 if gradient else 0.5),
    }


def parts(v, channels, grid, num_slots):
    """Binders of the token head and the slot module."""
    epsilon = v.hyper("layernorm_epsilon", 1e-5)
    head = TokenHeadConfig(
        position="linear",
        norm="all",
        hidden=v.param("encoder_feature_mlp/0/weight").shape[0],
        features=v.param("encoder_feature_mlp/2/weight").shape[0],
        final_relu=True,
        layer_norm_epsilon=epsilon,
    )
    config = SlotAttentionConfig(
        num_iterations=v.hyper("steps_run", v.hyper("iters", 2) + 1),
        attention_dim=v.param("to_q/weight").shape[0],
        mlp_hidden=v.param("slot_transformation/0/weight").shape[0],
        mlp_final_relu=True,
        use_bias=True,
        epsilon=v.hyper("eps", 1e-8),
        layer_norm_epsilon=epsilon,
        gradient="last",
    )
    params = rest_params(v)
    slot_dim = v.param("to_q/weight").shape[1]
    bind_head = binder(
        lambda rngs: TokenHead(head, channels, tuple(grid), rngs=rngs), params["head"]
    )
    return bind_head, binder(module(config, head.features, slot_dim), params["module"])


@pytest.mark.parametrize("path", stored("cosa_slot_attention_baseline*"))
def test_base_line(path, monkeypatch):
    v = Vectors(path)
    features, noise = v["in/features"], v["in/noise"]
    size, channels, *grid = features.shape
    num_slots, slot_dim = noise.shape[1:]
    params = {"initializer": law_params(v), **rest_params(v)}
    bind_head, bind_module = parts(v, channels, grid, num_slots)
    shared = len(params["initializer"]["mean"]) == 1
    bind_gaussian = binder(
        lambda rngs: GaussianConfig(shared=shared).make(
            num_slots=num_slots, slot_dim=slot_dim, feature_dim=1, content_dim=1, rngs=rngs
        ),
        params["initializer"],
    )
    keys = draw_stored(monkeypatch, noise)

    def loss(params, features):
        flat = jnp.moveaxis(features, 1, -1).reshape(size, -1, channels)
        tokens = bind_head(params["head"])(flat, grid_positions(*grid))
        first, _ = bind_gaussian(params["initializer"])(tokens, keys, {}, train=True)
        grouping = bind_module(params["module"])(tokens, first.slots, keys, train=True)
        vectors = grouping.slots.vectors
        return jnp.vdot(vectors, v["in/cotangent"].reshape(vectors.shape)), (first.slots, vectors)

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (first, vectors)), gradients = compute(params, features)
    sigma = np.exp(0.5 * v.param("slots_sigma").reshape(-1, slot_dim))
    wanted = v.param("slots_mu").reshape(-1, slot_dim)[None] + sigma[None] * noise
    assert_close(first.vectors, wanted, 1e-5, "first slots")
    assert_close(vectors, v["out/slots"].reshape(vectors.shape), 1e-4, "slots")
    want = {"initializer": law_params(v, True), **rest_params(v, True)}
    assert_close(gradients[0], want, 1e-3, "gradient of ")
    assert_close(gradients[1], v["grad/features"], 1e-3, "gradient of features")
    assert not v.unused_gradients()


@pytest.mark.parametrize("path", stored("cosa_slot_attention_quantized*"))
def test_first_slots(path, monkeypatch):
    """From feature map to refined slots, with the release's signs of eigenvectors."""
    v = Vectors(path)
    features, noise = v["in/features"], v["in/noise"]
    size, channels, *grid = features.shape
    num_slots = v.hyper("num_slots", 5)
    basis = jnp.asarray(released_basis(v["in/eigh_vectors_ascending"]))
    values = jnp.asarray(v["out/eigenvalues_descending"])
    monkeypatch.setattr(
        dictionary, "similarity_spectrum", lambda content, count, mask: (values, basis[:, :count])
    )
    prefix = "slot_quantizer/"
    variables = dictionary_variables(v.param, prefix)
    config = DictionaryConfig(
        size=len(variables["mean"]),
        key_dim=variables["table"]["keys"].shape[1],
        lookup="euclidean",
        values="network",
        estimate="batch",
    )
    params = dictionary_params(v.param, prefix)
    bind = binder(
        lambda rngs: config.make(
            num_slots=num_slots,
            slot_dim=noise.shape[1],
            feature_dim=1,
            content_dim=channels,
            rngs=rngs,
        ),
        params,
    )
    head, refine = parts(v, channels, grid, num_slots)
    # One draw per estimated entry there, one per slot here.
    sizes = jnp.round(values).astype(int).max(0, keepdims=True)
    count = int((sizes > 0).sum())
    entries = np.asarray(repetitions(sizes, jnp.asarray([count]), num_slots))[0]
    own = noise.reshape(size, count, -1)[:, entries]
    keys = draw_stored(monkeypatch, own, lambda keys: jax.vmap(jax.random.split)(keys)[:, 0])

    flat = jnp.moveaxis(jnp.asarray(features), 1, -1).reshape(size, -1, channels)
    assert_close(flat, v["out/flat_features"], 1e-6, "content")
    own = jax.tree.map(jnp.asarray, rest_params(v))
    tokens = head(own["head"])(flat, grid_positions(*grid))
    first, _ = bind(params)(tokens, keys, variables, train=False)
    assert_array_equal(first.diagnostics["codes"], v["out/indices"])
    assert_close(first.losses["dictionary"].mean(), v["out/quant_loss"], 1e-4, "loss")
    assert_close(first.diagnostics["perplexity"], v["out/perplexity"], 1e-4, "perplexity")
    grouping = refine(own["module"])(tokens, first.slots, keys, train=True)
    assert_close(grouping.slots.vectors, v["out/slots"][:, 0], 1e-4, "slots")
