"""Predicted sets in words."""

import numpy as np
import pytest

from slots import visualize
from slots.properties import layout

SHAPES = layout("shapes")


def vector(x, y, classes, sure):
    parts = [np.eye(n)[i] for n, i in zip(SHAPES.sizes.values(), classes, strict=True)]
    return np.concatenate([[y, x], *parts, [sure]])


def test_words_of_what_is_predicted():
    found = np.stack([vector(0.25, 0.5, (0, 1, 4), 0.8), vector(0, 1, (1, 2, 1), 0.99)])
    unsure = vector(0, 0, (0, 0, 0), 0.2)
    found = np.stack([found[0], unsure, found[1]])[None]
    images = np.zeros((1, 8, 8, 3), np.float32)
    right = np.array([[True, True, False]])
    figure = visualize.predicted_sets(images, found, right, SHAPES)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == [
        "✗ 99 % large triangle blue (1.00, 0.00)",
        "✓ 80 % small circle red (0.50, 0.25)",
    ]


def test_shapes_must_fit():
    images, found = np.zeros((1, 8, 8, 3)), np.zeros((1, 2, SHAPES.width))
    with pytest.raises(ValueError, match="right"):
        visualize.predicted_sets(images, found, np.zeros((1, 3), bool), SHAPES)
    with pytest.raises(ValueError, match="found"):
        visualize.predicted_sets(images, found[..., 1:], np.zeros((1, 2), bool), SHAPES)
