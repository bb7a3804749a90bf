"""What a score is worth: segmentations that need no learning, scored as a model's are."""

import functools
import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key

from slots import metrics
from slots.config import ConfigError
from slots.evaluation.accumulate import Accumulator
from slots.evaluation.evaluation import Evaluation, conclude
from slots.evaluation.protocols import Protocol
from slots.evaluation.scoring import Sizes, label_scores, segment_counts, truth
from slots.types import Batch

Pictures = Float[Array | np.ndarray, "b h w c"]
Labels = Int32[Array, "b h w"]

ROUNDS = 20
"""Of k-means."""
PLACE = 0.5
"""How far apart opposite edges of the picture are in k-means, where black and white are 1 apart in
each channel."""
CONTRAST = 0.1
"""How far a pixel must be from the ground's colour, in some channel, to be no ground."""


def one_segment(pictures: Pictures, count: int, keys: Key[Array, "b"]) -> Labels:
    """All pixels in one slot."""
    return jnp.zeros(pictures.shape[:3], jnp.int32)


def random_pixels(pictures: Pictures, count: int, keys: Key[Array, "b"]) -> Labels:
    """Each pixel in any slot."""
    size = pictures.shape[1:3]
    return jax.vmap(lambda key: jax.random.randint(key, size, 0, count, jnp.int32))(keys)


def grid(pictures: Pictures, count: int, keys: Key[Array, "b"]) -> Labels:
    """Cells of rows as equal as can be, each row cut into cells of equal width."""
    height, width = pictures.shape[1:3]
    rows = max(1, round(math.sqrt(count * height / width)))
    rows = min(rows, count)
    row = np.arange(height) * rows // height
    cells = np.array([count // rows + (r < count % rows) for r in range(rows)])
    first = np.concatenate([[0], np.cumsum(cells)[:-1]])
    column = np.arange(width)[None] * cells[row][:, None] // width
    labels = (first[row][:, None] + column).astype(np.int32)
    return jnp.broadcast_to(jnp.asarray(labels), pictures.shape[:3])


@functools.partial(jax.jit, static_argnums=1)
def color_and_place(pictures: Pictures, count: int, keys: Key[Array, "b"]) -> Labels:
    """k-means of colours and positions, from the mean on to what is farthest from all before."""
    height, width, channels = pictures.shape[1:]
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    place = PLACE * np.stack([y, x], axis=-1).reshape(-1, 2).astype(np.float32)

    def cluster(picture: Float[Array, "h w c"]) -> Int32[Array, "h w"]:
        points = jnp.concatenate([picture.reshape(-1, channels), place], axis=-1)
        squared = (points * points).sum(axis=-1)

        def distances(centers: Float[Array, "k d"]) -> Float[Array, "n k"]:
            products = jnp.matmul(points, centers.T, precision="highest")
            return squared[:, None] - 2 * products + (centers * centers).sum(axis=-1)[None]

        def farthest(
            nearest: Float[Array, "n"], _: None
        ) -> tuple[Float[Array, "n"], Float[Array, "d"]]:
            chosen = points[jnp.argmax(nearest)]
            return jnp.minimum(nearest, jnp.square(points - chosen[None]).sum(axis=-1)), chosen

        mean = points.mean(axis=0)
        start = jnp.square(points - mean[None]).sum(axis=-1)
        centers = jax.lax.scan(farthest, start, None, length=count)[1]

        def improve(_: Int32[Array, ""], centers: Float[Array, "k d"]) -> Float[Array, "k d"]:
            own = jax.nn.one_hot(jnp.argmin(distances(centers), axis=-1), count)
            size = own.sum(axis=0)[:, None]
            sums = jnp.matmul(own.T, points, precision="highest")
            return jnp.where(size > 0, sums / jnp.maximum(size, 1), centers)

        centers = jax.lax.fori_loop(0, ROUNDS, improve, centers)
        return jnp.argmin(distances(centers), axis=-1).astype(jnp.int32).reshape(height, width)

    return jax.lax.map(cluster, jnp.asarray(pictures))


def connected(pictures: Pictures, count: int, keys: Key[Array, "b"]) -> Labels:
    """Connected regions that differ from the ground's colour, the largest first.

    The ground's colour is the commonest, channels counted in steps of 1/16. Slot 0 has the ground
    and the regions beyond the first `count - 1`.
    """
    from scipy import ndimage

    found = np.zeros(pictures.shape[:3], np.int32)
    for picture, labels in zip(np.asarray(pictures), found, strict=True):
        steps = np.minimum((16 * picture).astype(np.int64), 15)
        codes = steps @ 16 ** np.arange(picture.shape[-1])
        common = codes == np.bincount(codes.ravel()).argmax()
        ground = picture[common].mean(axis=0)
        regions, number = ndimage.label(abs(picture - ground).max(axis=-1) > CONTRAST)
        sizes = np.bincount(regions.ravel(), minlength=number + 1)[1:]
        largest = np.argsort(-sizes, kind="stable")[: count - 1]
        rank = np.zeros(number + 1, np.int32)
        rank[largest + 1] = np.arange(1, len(largest) + 1)
        labels[:] = rank[regions]
    return jnp.asarray(found)


REFERENCES: dict[str, Callable[[Pictures, int, Key[Array, "b"]], Labels]] = {
    "one segment": one_segment,
    "random pixels": random_pixels,
    "grid": grid,
    "k-means": color_and_place,
    "components": connected,
}
"""By the name they have in tables: of pictures in [0, 1], a number of slots, a key a picture."""


def score_references(
    batches: Iterable[Batch], count: int, sizes: Sizes, protocol: Protocol, seed: int = 0
) -> dict[str, Evaluation]:
    """Every reference's scores on the examples that a model is evaluated on.

    Args:
        batches: pictures and their label maps.
        count: of slots, which should be the model's.
        sizes: of the truth's labels.
        protocol: the model's.
        seed: of the random one.

    Raises:
        ConfigError: the data have no label maps.
    """
    found = {name: Accumulator() for name in REFERENCES}
    root = jax.random.key(seed)
    for batch in batches:
        if batch.segmentation is None:
            raise ConfigError("References are scored by label maps, which these data have not.")
        fitted = truth(batch, protocol)
        assert fitted.segmentation is not None
        size = (fitted.segmentation.shape[1], fitted.segmentation.shape[2])
        keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.asarray(batch.index))
        counts = segment_counts(fitted, sizes, protocol)
        for name, segment in REFERENCES.items():
            labels = segment(batch.pixels, count, keys)
            if labels.shape[1:] != size:
                labels = metrics.resize_labels(labels, size)
            values = label_scores(labels, count, fitted, sizes, protocol)
            found[name].add(np.asarray(batch.index), *jax.device_get((values, counts)))
    return {name: conclude(one, protocol) for name, one in found.items()}
