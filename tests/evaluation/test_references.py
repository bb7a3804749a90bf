import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage
from sklearn.cluster import KMeans

from slots import metrics
from slots.config import ConfigError
from slots.data import MultiDSpritesConfig, TetrominoesConfig
from slots.evaluation import protocol
from slots.evaluation.references import (
    PLACE,
    REFERENCES,
    color_and_place,
    connected,
    grid,
    random_pixels,
    score_references,
)
from slots.evaluation.scoring import Sizes

KEYS = jax.random.split(jax.random.key(0), 24)


@pytest.fixture(scope="module")
def pieces():
    data = TetrominoesConfig(held_out_size=24).make()
    return jax.device_get(next(data.held_out("val", 24)))


def pixels(batch):
    return batch.image.astype(np.float32) / 255


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_labels_of_the_slots_there_are(name, count, pieces):
    labels = np.asarray(REFERENCES[name](pixels(pieces)[:3], count, KEYS[:3]))
    assert labels.shape == (3, 35, 35)
    assert labels.dtype == np.int32
    assert labels.min() >= 0
    assert labels.max() < count


@pytest.mark.parametrize(("shape", "count"), [((12, 12), 4), ((12, 12), 7), ((8, 20), 6)])
def test_grid_has_cells_of_like_size(shape, count):
    labels = np.asarray(grid(np.zeros((1, *shape, 3), np.float32), count, KEYS[:1]))[0]
    sizes = np.bincount(labels.ravel(), minlength=count)
    assert sizes.min() > 0
    assert sizes.max() <= 2 * sizes.min()
    for cell in range(count):
        rows, columns = np.nonzero(labels == cell)
        assert sizes[cell] == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_a_grid_of_four_is_two_by_two():
    labels = np.asarray(grid(np.zeros((1, 4, 4, 1), np.float32), 4, KEYS[:1]))[0]
    assert labels.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_random_pixels_are_worth_nothing(pieces):
    labels = np.asarray(random_pixels(pixels(pieces), 4, KEYS))
    value = metrics.adjusted_rand_index(pieces.segmentation, labels, ignore_background=True)
    assert abs(np.mean(value)) < 0.01
    assert (random_pixels(pixels(pieces), 4, KEYS[::-1]) != labels).any()


def test_k_means_is_as_tight_as_scikit_learns(pieces):
    """The best of ten starts there is hardly better than ours from afar."""
    y, x = np.meshgrid(np.arange(35) / 35, np.arange(35) / 35, indexing="ij")
    place = PLACE * np.stack([y, x], axis=-1).reshape(-1, 2)
    ours = np.asarray(color_and_place(pixels(pieces)[:6], 4, KEYS[:6])).reshape(6, -1)
    for picture, labels in zip(pixels(pieces)[:6], ours, strict=True):
        points = np.concatenate([picture.reshape(-1, 3), place], axis=-1)
        theirs = KMeans(4, n_init=10, random_state=0).fit(points).inertia_
        centers = [points[labels == k].mean(axis=0) for k in range(4)]
        inertia = sum(((points[labels == k] - centers[k]) ** 2).sum() for k in range(4))
        assert inertia < 1.3 * theirs


def test_components_find_pieces_that_do_not_touch(pieces):
    labels = np.asarray(connected(pixels(pieces), 4, KEYS))
    apart = [ndimage.label(one > 0)[1] == 3 for one in pieces.segmentation]
    assert sum(apart) > 5
    scores = metrics.adjusted_rand_index(pieces.segmentation, labels, ignore_background=True)
    assert (np.asarray(scores)[apart] == 1).all()
    sizes = np.stack([np.bincount(one.ravel(), minlength=4) for one in labels])
    assert (np.diff(sizes[:, 1:], axis=1) <= 0).all()  # the largest first
    few = np.asarray(connected(pixels(pieces), 2, KEYS))
    np.testing.assert_array_equal(few, np.where(labels == 1, 1, 0))


def test_components_take_the_commonest_colour_for_the_ground():
    data = MultiDSpritesConfig(held_out_size=16).make()
    batch = jax.device_get(next(data.held_out("val", 16)))
    labels = np.asarray(connected(pixels(batch), 6, KEYS[:16]))
    ground = (batch.segmentation == 0).mean(axis=(1, 2)) > 0.5
    shares = ((labels == 0) & (batch.segmentation == 0)).sum(axis=(1, 2))
    shares = shares / (batch.segmentation == 0).sum(axis=(1, 2))
    assert shares[ground].min() > 0.99


SIZES = Sizes(3)


def scored(batch_size=64, seed=0):
    dataset = TetrominoesConfig(held_out_size=20).make()
    batches = dataset.held_out("val", batch_size)
    return score_references(batches, 4, SIZES, protocol("house/image"), seed)


def test_scores_do_not_depend_on_the_batch_size():
    whole, parts = scored(), scored(batch_size=7)
    assert list(whole) == list(REFERENCES)
    for name, found in whole.items():
        assert found.statistics == parts[name].statistics
        np.testing.assert_array_equal(found.per_example["objects"], 3)
    scores = {name: found.statistics["fg_ari"].mean for name, found in whole.items()}
    assert whole["grid"].statistics["ari"].count == 20
    assert scores["one segment"] == 0
    assert abs(scores["random pixels"]) < 0.02
    assert scores["components"] > 0.6 > scores["grid"] > 0.1


def test_other_seeds_are_other_pixels():
    first, other = scored(), scored(seed=1)
    assert first["grid"].statistics == other["grid"].statistics
    assert first["random pixels"].statistics != other["random pixels"].statistics


def test_labels_are_needed():
    batch = next(TetrominoesConfig(held_out_size=20).make().held_out("val", 20))
    bare = dataclasses.replace(batch, segmentation=None)
    with pytest.raises(ConfigError, match="label maps, which these data have not"):
        score_references([bare], 4, SIZES, protocol("house/image"))
