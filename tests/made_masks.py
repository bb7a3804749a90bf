"""Made-up masks, one kind for every verdict of slot health."""

import numpy as np

B, K, SIDE = 32, 7, 32


def soft(labels, sure=0.95):
    """Masks that are `sure` of hard labels [B,H,W]."""
    one_hot = np.eye(K)[labels]
    return np.moveaxis(one_hot * (sure - (1 - sure) / (K - 1)) + (1 - sure) / (K - 1), -1, 1)


def blobs(rng, ground=0, objects=(1, 2, 3, 4)):
    """A few rectangles on a ground, their slots shuffled from picture to picture."""
    labels = np.full((B, SIDE, SIDE), ground)
    for picture in labels:
        for slot in rng.permutation(objects):
            y, x = rng.integers(0, SIDE - 8, 2)
            picture[y : y + rng.integers(5, 9), x : x + rng.integers(5, 9)] = slot
    return labels


def shuffled(rng, labels):
    return np.stack([rng.permutation(K)[picture] for picture in labels])


def regions(rng):
    """The nearest of seven random points, another seven in every picture."""
    grid = np.stack(np.mgrid[:SIDE, :SIDE], -1)
    points = rng.uniform(0, SIDE, (B, K, 1, 1, 2))
    return np.square(grid[None, None] - points).sum(-1).argmin(1)


def fixed_cells(rng, jitter=0.0):
    grid = np.stack(np.mgrid[:SIDE, :SIDE], -1)
    points = np.array([[5, 5], [5, 16], [5, 27], [16, 16], [27, 5], [27, 16], [27, 27]])
    points = points[None] + jitter * SIDE * rng.standard_normal((B, K, 2))
    return shuffled(rng, np.square(grid[None, None] - points[:, :, None, None]).sum(-1).argmin(1))


def stripes(rng):
    columns = np.arange(SIDE) * K // SIDE
    return shuffled(rng, np.broadcast_to(columns, (B, SIDE, SIDE)))


def doubled(rng):
    """Objects that two slots share equally."""
    masks = soft(blobs(rng))
    for first, second in ((1, 5), (2, 6)):
        both = (masks[:, first] + masks[:, second]) / 2
        masks[:, first] = masks[:, second] = both
    return masks


MADE = {
    "healthy": lambda rng: soft(blobs(rng, objects=(1, 2, 3, 4, 5, 6))),
    "uniform": lambda rng: (
        np.full((B, K, SIDE, SIDE), 1 / K) + 1e-4 * rng.uniform(size=(B, K, SIDE, SIDE))
    ),
    "one slot takes all": lambda rng: soft(np.zeros((B, SIDE, SIDE), int)),
    "noise": lambda rng: soft(rng.integers(0, K, (B, SIDE, SIDE))),
    "stripes": lambda rng: soft(stripes(rng)),
    "position split": lambda rng: soft(fixed_cells(rng)),
    "duplicates": doubled,
    "dead slots": lambda rng: soft(blobs(rng, objects=(1, 2))),
    "broken": lambda rng: np.full((B, K, SIDE, SIDE), np.nan),
}
