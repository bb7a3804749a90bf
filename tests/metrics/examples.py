"""Label maps worked by hand, shared by the tests."""

import numpy as np

TRUE = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]])
PRED = np.array([[[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]])
CLASSES = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]])

# A clip of two frames whose slots change places.
CLIP_TRUE = np.array([[[[1, 1, 2, 2]], [[1, 1, 2, 2]]]])
CLIP_PRED = np.array([[[[0, 0, 1, 1]], [[1, 1, 0, 0]]]])


def row(*labels):
    """One image, one pixel high."""
    return np.array(labels).reshape(1, 1, -1)


def random_maps(seed, shape, num_true, num_pred):
    """Label maps in blocks, so that segments overlap as they do in pictures."""
    rng = np.random.default_rng(seed)
    *lead, height, width = shape
    small = (*lead, -(-height // 4), -(-width // 4))

    def blocks(number):
        labels = rng.integers(0, number, small).repeat(4, -2).repeat(4, -1)
        labels = labels[..., :height, :width]
        noise = rng.integers(0, number, shape)
        return np.where(rng.random(shape) < 0.1, noise, labels)

    true = blocks(num_true)
    pred = np.where(rng.random(shape) < 0.6, true % num_pred, blocks(num_pred))
    return true, pred
