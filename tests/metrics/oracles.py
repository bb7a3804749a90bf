"""Slow, exact answers in Python integers and fractions, written without the package."""

import itertools
from fractions import Fraction

import numpy as np

NAN = float("nan")


def table(true, pred, ignore=None):
    """Pixels per pair of labels of one example, as {(i, j): n}."""
    keep = np.ones(true.shape, bool) if ignore is None else ~ignore
    code = true[keep].astype(np.int64) * 2**32 + pred[keep].astype(np.int64)
    ids, numbers = np.unique(code, return_counts=True)
    return {(int(c) >> 32, int(c) & (2**32 - 1)): int(n) for c, n in zip(ids, numbers, strict=True)}


def margins(cells):
    rows, columns = {}, {}
    for (i, j), n in cells.items():
        rows[i] = rows.get(i, 0) + n
        columns[j] = columns.get(j, 0) + n
    return rows, columns


def ari(cells, foreground=False):
    cells = {(i, j): n for (i, j), n in cells.items() if i > 0 or not foreground}
    rows, columns = margins(cells)
    pairs = [sum(n * (n - 1) for n in part.values()) for part in (cells, rows, columns)]
    n = sum(cells.values())
    if n == 0:
        return NAN
    together, in_true, in_pred = pairs
    chance = Fraction(in_true * in_pred, max(n * (n - 1), 1))
    denominator = Fraction(in_true + in_pred, 2) - chance
    return 1.0 if denominator == 0 else float((together - chance) / denominator)


def ious(cells, background=False):
    """IoU of present segments (rows) with used slots (columns), as fractions."""
    rows, columns = margins(cells)
    segments = sorted(i for i in rows if i > 0 or background)
    return segments, [
        [
            Fraction(cells.get((i, j), 0), rows[i] + columns[j] - cells.get((i, j), 0))
            for j in sorted(columns)
        ]
        for i in segments
    ]


def mbo(cells, background=False):
    _, values = ious(cells, background)
    return float(sum(map(max, values)) / len(values)) if values else NAN


def covering(cells, background=False):
    segments, values = ious(cells, background)
    rows, _ = margins(cells)
    if not segments:
        return NAN
    total = sum(rows[i] for i in segments)
    return float(sum(rows[i] * max(v) for i, v in zip(segments, values, strict=True)) / total)


def recall(cells, threshold, strict=False):
    _, values = ious(cells)
    if not values:
        return NAN
    hits = [max(v) > threshold if strict else max(v) >= threshold for v in values]
    return sum(hits) / len(hits)


def miou(cells, background=False, denominator="truth"):
    """By trying every assignment; among equals the one with most pairs that share a pixel."""
    segments, values = ious(cells, background)
    if not segments:
        return NAN
    _, columns = margins(cells)
    slots = list(range(len(columns))) + [None] * len(segments)
    best = (Fraction(-1), 0)
    for choice in set(itertools.permutations(slots, len(segments))):
        matched = [v[j] for v, j in zip(values, choice, strict=True) if j is not None]
        best = max(best, (sum(matched, Fraction(0)), sum(m > 0 for m in matched)))
    number = len(segments)
    if denominator == "either":
        number += len(columns) - best[1]
    return float(best[0] / number)


def corloc(true, pred, ignore=None, strict=False):
    keep = np.ones(true.shape, bool) if ignore is None else ~ignore

    def boxes(labels, first):
        found = []
        for label in np.unique(labels[keep]):
            if label >= first:
                places = np.argwhere((labels == label) & keep)
                found.append((places.min(0), places.max(0) + 1))
        return found

    objects, slots = boxes(true, 1), boxes(pred, 0)
    if not objects:
        return NAN
    for low, high in objects:
        for other_low, other_high in slots:
            sides = np.minimum(high, other_high) - np.maximum(low, other_low)
            shared = np.prod(np.maximum(sides, 0))
            union = np.prod(high - low) + np.prod(other_high - other_low) - shared
            if 2 * shared > union or (not strict and 2 * shared == union):
                return 1.0
    return 0.0


def bilinear(mask, size):
    """One mask at another size in float64: half-pixel centres, clamped, no smoothing."""

    def weights(old, new):
        matrix = np.zeros((new, old))
        for i in range(new):
            place = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(np.floor(place))
            matrix[i, low] += 1 - (place - low)
            matrix[i, min(low + 1, old - 1)] += place - low
        return matrix

    return weights(mask.shape[0], size[0]) @ mask @ weights(mask.shape[1], size[1]).T


def ssim(true, pred):
    """Of one picture [H,W,C], window by window in float64."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window = (window / window.sum())[..., None]
    values = []
    for i, j in itertools.product(range(true.shape[0] - 10), range(true.shape[1] - 10)):
        x = true[i : i + 11, j : j + 11].astype(np.float64)
        y = pred[i : i + 11, j : j + 11].astype(np.float64)
        mean_x, mean_y = (window * x).sum((0, 1)), (window * y).sum((0, 1))
        var_x = (window * (x - mean_x) ** 2).sum((0, 1))
        var_y = (window * (y - mean_y) ** 2).sum((0, 1))
        cov = (window * (x - mean_x) * (y - mean_y)).sum((0, 1))
        values.append(
            (2 * mean_x * mean_y + 1e-4)
            * (2 * cov + 9e-4)
            / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
        )
    return float(np.mean(values))
