"""What every pixel decoder must satisfy, and the hand cases of each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import abstract, fill, filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.decoders import BroadcastConfig, MLPDecoderConfig
from slots.nn import grid_positions, rotation_matrix, slot_positions
from slots.types import Frames, Slots

B, K, S = 2, 3, 4
SHAPE = (5, 5, 3)

BROADCAST = BroadcastConfig(channels=(6, 6), strides=(1, 1), kernel_size=3)
PIXELS = MLPDecoderConfig(hidden=(6, 6))
PATCHES = MLPDecoderConfig(hidden=(6,), patch_size=2, product=True, position="fourier")
DECODERS = {"broadcast": BROADCAST, "pixels": PIXELS, "patches": PATCHES}
every = pytest.mark.parametrize("config", DECODERS.values(), ids=DECODERS)


def make(config, shape=SHAPE, scale_factor=1.0, **settings):
    config = dataclasses.replace(config, **settings)

    def build(rngs):
        return config.make(slot_dim=S, image_shape=shape, scale_factor=scale_factor, rngs=rngs)

    return filled(build)


def vectors(seed=0, slots=K):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((B, slots, S)), jnp.float32)


draw = quick_jit(lambda decoder, slots: decoder(slots))


@every
@pytest.mark.parametrize("background", [False, True])
def test_masks_sum_to_one_and_mix_the_parts(config, background):
    decoder = make(config, background=background)
    drawn = draw(decoder, Slots(vectors=vectors()))
    count = K + background
    assert drawn.masks.shape == (B, count, 5, 5)
    assert drawn.parts.shape == (B, count, 5, 5, 3)
    assert_allclose(drawn.masks.sum(1), np.ones((B, 5, 5)), atol=1e-6)
    mixed = (drawn.masks[..., None] * drawn.parts).sum(1)
    assert_allclose(drawn.output, mixed, atol=1e-6)
    assert np.ptp(drawn.masks, axis=1).max() > 0.05  # else any weights would do
    if background:
        color = decoder.mixture.color[...]
        assert_allclose(drawn.parts[:, -1], np.broadcast_to(color, (B, 5, 5, 3)))


@every
@pytest.mark.parametrize("background", [False, True])
def test_parts_of_two_scenes_mix_as_their_slots_do(config, background):
    decoder, given = make(config, background=background), vectors()
    apart = draw(decoder, Slots(vectors=given))
    swapped = draw(decoder, Slots(vectors=given.at[0, 1].set(given[1, 2])))
    alphas, parts = apart.alphas.at[0, 1].set(apart.alphas[1, 2]), apart.parts
    parts = parts.at[0, 1].set(parts[1, 2])
    mixed = (jax.nn.softmax(alphas, 1)[..., None] * parts).sum(1)
    assert_allclose(swapped.output[0], mixed[0], atol=1e-5)
    assert np.abs(swapped.output[0] - apart.output[0]).max() > 0.01


@every
def test_background_is_one_more_logit_in_the_softmax(config):
    decoder = make(config, background=True)
    slots = Slots(vectors=vectors())
    masks = draw(decoder, slots).masks
    decoder.mixture.logit[...] = decoder.mixture.logit[...] + 2.0
    lifted = draw(decoder, slots).masks
    odds = lifted[:, -1] / lifted[:, 0] / (masks[:, -1] / masks[:, 0])
    assert_allclose(odds, np.full((B, 5, 5), np.exp(2.0)), rtol=1e-4)
    among = lifted[:, :K] / lifted[:, :K].sum(1, keepdims=True)
    assert_allclose(among, masks[:, :K] / masks[:, :K].sum(1, keepdims=True), atol=1e-6)


@every
def test_slot_permutation_leaves_the_picture_alone(config):
    decoder, order = make(config), np.array([1, 2, 0])
    straight = draw(decoder, Slots(vectors=vectors()))
    permuted = draw(decoder, Slots(vectors=vectors()[:, order]))
    assert_allclose(permuted.output, straight.output, atol=1e-6)
    assert_allclose(permuted.masks, straight.masks[:, order], atol=1e-6)


@every
def test_copies_of_a_slot_draw_what_one_draws(config):
    decoder = make(config)
    copies = jnp.broadcast_to(vectors()[:, :1], (B, K, S))
    one = draw(decoder, Slots(vectors=vectors()[:, :1]))
    several = draw(decoder, Slots(vectors=copies))
    assert_allclose(several.output, one.output, atol=1e-6)
    assert_allclose(several.masks, np.full((B, K, 5, 5), 1 / K), atol=1e-6)
    assert_array_equal(one.masks, np.ones((B, 1, 5, 5)))


@every
def test_inactive_slots_get_no_mask(config):
    decoder = make(config)
    active = jnp.array([[True, False, True], [True, True, False]])
    drawn = draw(decoder, Slots(vectors=vectors(), active=active))
    off = ~np.asarray(active)
    assert_array_equal(np.asarray(drawn.masks)[off], np.zeros((2, 5, 5)))
    assert_allclose(drawn.masks.sum(1), np.ones((B, 5, 5)), atol=1e-6)
    other = jnp.where(active[..., None], vectors(), 30.0)
    changed = draw(decoder, Slots(vectors=other, active=active))
    assert_allclose(changed.output, drawn.output, atol=1e-6)
    alone = draw(decoder, Slots(vectors=vectors()[:, ::2]))
    assert_allclose(drawn.output[0], alone.output[0], atol=1e-6)


@every
def test_no_active_slot_stays_finite(config):
    drawn = draw(make(config), Slots(vectors=vectors(), active=jnp.zeros((B, K), bool)))
    assert np.isfinite(drawn.output).all()
    with_background = draw(
        make(config, background=True),
        Slots(vectors=vectors(), active=jnp.zeros((B, K), bool)),
    )
    assert_array_equal(with_background.masks[:, -1], np.ones((B, 5, 5)))


@every
def test_extras_are_ignored(config):
    decoder = make(config)
    plain = draw(decoder, Slots(vectors=vectors()))
    more = draw(decoder, Slots(vectors=vectors(), extras={"weight": jnp.full((B, K), 7.0)}))
    assert_array_equal(more.output, plain.output)


STEP = 0.5  # one cell of a grid of five, exact in binary
LOCAL = dataclasses.replace(BROADCAST, kernel_size=1, output_kernel_size=1)


def with_frames(row, column):
    """Slots whose frames lie a whole number of cells from the middle of the picture."""
    position = jnp.full((B, K, 2), jnp.array([row * STEP, column * STEP]))
    scale = jnp.full((B, K, 2), 0.5)
    return Slots(vectors=vectors(), frames=Frames(position=position, scale=scale))


@pytest.mark.parametrize("config", [PIXELS, LOCAL], ids=["pixels", "broadcast"])
def test_moving_the_frames_moves_the_drawing(config):
    decoder = make(config, scale_factor=4.0)
    here = draw(decoder, with_frames(0, 0))
    there = draw(decoder, with_frames(1, -2))
    for name in ("parts", "masks"):
        before, after = getattr(here, name), getattr(there, name)
        assert_array_equal(after[:, :, 1:, :-2], before[:, :, :-1, 2:])
    assert np.abs(there.parts - here.parts).max() > 1e-2


@pytest.mark.parametrize("config", [PIXELS, LOCAL], ids=["pixels", "broadcast"])
def test_every_slot_is_drawn_in_its_own_frame(config):
    decoder = make(config, scale_factor=4.0)
    here, there = with_frames(0, 0), with_frames(1, -2)
    moved = jnp.array([[True, False, True], [False, False, True]])[..., None]
    position = jnp.where(moved, there.frames.position, here.frames.position)
    mixed = dataclasses.replace(here, frames=dataclasses.replace(here.frames, position=position))
    parts = [draw(decoder, slots).parts for slots in (there, here, mixed)]
    assert_allclose(parts[2], jnp.where(moved[..., None, None], *parts[:2]), atol=1e-6)


@pytest.mark.parametrize("config", [PIXELS, LOCAL], ids=["pixels", "broadcast"])
def test_frames_scale_is_divided_by_the_factor(config):
    slots = with_frames(0, 0)
    wide = dataclasses.replace(
        slots, frames=dataclasses.replace(slots.frames, scale=slots.frames.scale * 4)
    )
    got = draw(make(config, scale_factor=1.0), wide)
    assert_allclose(got.parts, draw(make(config, scale_factor=4.0), slots).parts, atol=1e-6)


@pytest.mark.parametrize("config", [PIXELS, LOCAL], ids=["pixels", "broadcast"])
def test_neutral_frames_are_no_frames(config):
    decoder = make(config)
    neutral = Frames(
        position=jnp.zeros((B, K, 2)),
        scale=jnp.ones((B, K, 2)),
        rotation=jnp.broadcast_to(jnp.eye(2), (B, K, 2, 2)),
    )
    framed = draw(decoder, Slots(vectors=vectors(), frames=neutral))
    assert_allclose(framed.output, draw(decoder, Slots(vectors=vectors())).output, atol=1e-6)


def test_turning_the_frames_turns_the_drawing():
    decoder = make(PIXELS)
    # Axes as columns in (x, y): the first points along +y, which is down in the picture.
    quarter = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    rotation = jnp.broadcast_to(quarter, (B, K, 2, 2))
    straight = draw(decoder, Slots(vectors=vectors()))
    turned = draw(decoder, Slots(vectors=vectors(), frames=Frames(rotation=rotation)))
    clockwise = np.rot90(np.asarray(straight.parts), k=-1, axes=(2, 3))
    assert_allclose(turned.parts, clockwise, atol=1e-6)


def test_one_cell_moves_the_drawing_by_the_upsampling_factor():
    decoder = make(BroadcastConfig(channels=(5, 5), strides=(2, 4), kernel_size=3), (64, 64, 3))
    cell = 2 / (decoder.grid[0] - 1)
    here = Frames(position=jnp.zeros((B, K, 2)), scale=jnp.full((B, K, 2), 0.3))
    there = dataclasses.replace(here, position=here.position.at[..., 0].add(cell))
    one, other = (draw(decoder, Slots(vectors=vectors(), frames=f)).parts for f in (here, there))
    inside = slice(24, 48)  # away from the borders, which the convolutions see
    moved = slice(inside.start - 8, inside.stop - 8)
    assert np.abs(one[:, :, inside, inside] - one[:, :, moved, inside]).max() > 1e-2
    assert_allclose(other[:, :, inside, inside], one[:, :, moved, inside], atol=2e-5)


def test_shape_walk_of_the_published_decoder():
    config = BroadcastConfig()

    def build(rngs):
        return config.make(slot_dim=64, image_shape=(128, 128, 3), scale_factor=5.0, rngs=rngs)

    graphdef, params = abstract(build)
    walk = []

    def through(params):
        decoder = nnx.merge(graphdef, params)
        x = jnp.zeros((1, *decoder.grid, 64))
        for layer in (*decoder.convs, decoder.output):
            walk.append(x.shape[1:])
            x = layer(x)
        walk.append(x.shape[1:])

    jax.eval_shape(through, params)
    sides = [8, 16, 32, 64, 128, 128, 128]
    assert walk == [(side, side, c) for side, c in zip(sides, [64] * 6 + [4], strict=True)]
    assert fill(params)["output"]["kernel"].shape == (3, 3, 64, 4)
    transposed = [conv.transpose for conv in nnx.merge(graphdef, params).convs]
    assert transposed == [True, True, True, True, False]


def test_per_pixel_decoder_is_a_perceptron_of_slot_and_position():
    decoder = make(PIXELS)
    x = vectors()[0, 1]
    code = np.array([0.25, 1.0, 0.75, 0.0], np.float32)  # row 1 and column 4 of five
    projection = decoder.position.projection
    x = x + code @ np.asarray(projection.kernel[...]) + projection.bias[...]
    for layer in decoder.layers:
        x = jax.nn.relu(layer(x))
    drawn = draw(decoder, Slots(vectors=vectors()))
    assert_allclose(drawn.parts[0, 1, 1, 4], decoder.output(x)[:3], atol=1e-5)


def test_patches_tile_the_picture():
    """A place draws its own square of pixels; the rest of the last ones is cropped."""
    decoder = make(dataclasses.replace(PATCHES, hidden=(6,)), shape=(5, 4, 3))
    drawn = draw(decoder, Slots(vectors=vectors()))
    assert drawn.output.shape == (B, 5, 4, 3)
    bias = np.zeros((2, 2, 4), np.float32)
    bias[1, 0, 2] = 3.0  # row 1, column 0 of every patch, third colour
    decoder.output.bias[...] = decoder.output.bias[...] + jnp.asarray(bias.ravel())
    change = draw(decoder, Slots(vectors=vectors())).parts - drawn.parts
    wanted = np.zeros((5, 4, 3))
    wanted[1::2, ::2, 2] = 3.0
    assert_allclose(change, np.broadcast_to(wanted, change.shape), atol=1e-5)


def test_product_adds_slot_times_position():
    decoder = make(dataclasses.replace(PIXELS, hidden=(6,), product=True))
    slots = Slots(vectors=vectors())
    full = draw(decoder, slots)
    gate = decoder.slot_gate.kernel[...], decoder.slot_gate.bias[...]
    decoder.slot_gate.kernel[...], decoder.slot_gate.bias[...] = (jnp.zeros_like(g) for g in gate)
    without = make(dataclasses.replace(PIXELS, hidden=(6,)))
    for name in ("position", "layers", "output"):
        setattr(without, name, getattr(decoder, name))
    gateless = draw(decoder, slots)
    assert_array_equal(gateless.output, draw(without, slots).output)
    assert np.abs(full.output - gateless.output).max() > 1e-2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make(BROADCAST, strides=(1,)), "equally long"),
        (lambda: make(BROADCAST, strides=(2, 2), shape=(6, 8, 3)), "multiples of 4"),
        (lambda: make(PIXELS, hidden=()), "at least one layer"),
        (lambda: make(PIXELS, patch_size=0), "patch_size=0"),
    ],
)
def test_impossible_settings(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("parts", ["", "position", "position scale rotation"])
@pytest.mark.parametrize(
    ("shape", "stride", "position"),
    [((5, 7, 3), 1, "linear"), ((14, 10, 1), 2, "coordinates"), ((4, 9, 3), 1, "fourier")],
)
def test_slot_and_position_go_apart_through_the_first_convolution(shape, stride, position, parts):
    """The same function, with the same gradients, as of their sum; (4, 9) is taken whole."""
    decoder = make(BROADCAST, shape=shape, strides=(stride, 1), kernel_size=5, position=position)
    graphdef, params = nnx.split(decoder)
    rng = np.random.default_rng(1)
    pose = {
        "position": jnp.asarray(rng.uniform(-0.5, 0.5, (B, K, 2)), jnp.float32),
        "scale": jnp.asarray(rng.uniform(0.3, 1, (B, K, 2)), jnp.float32),
        "rotation": rotation_matrix(jnp.asarray(rng.uniform(-0.7, 0.7, (B, K)), jnp.float32)),
    }
    frames = Frames(**{name: pose[name] for name in parts.split()}) if parts else None

    def apart(params, slots):
        decoder = nnx.merge(graphdef, params)
        return decoder._first(
            slots.vectors, slot_positions(grid_positions(*decoder.grid), slots, 1.0)
        )

    def together(params, slots):
        decoder = nnx.merge(graphdef, params)
        places = slot_positions(grid_positions(*decoder.grid), slots, 1.0)
        x = slots.vectors[:, :, None] + decoder.position(places)
        return decoder.convs[0](x.reshape(-1, *decoder.grid, S))

    @quick_jit
    def both(params, slots):
        found = []
        for function in (apart, together):
            y, pull = jax.vjp(function, params, slots)
            found.append(jax.tree.leaves((y, pull(jnp.cos(y)))))
        return found

    for a, b in zip(*both(params, Slots(vectors=vectors(), frames=frames)), strict=True):
        assert_allclose(a, b, atol=2e-6 * max(1, float(np.abs(b).max())))
