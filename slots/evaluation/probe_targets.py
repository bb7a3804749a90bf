"""What a probe is to say of each property of an object, and how well it said it."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from slots import metrics


@dataclasses.dataclass(frozen=True)
class PropertyScores:
    """Scores of one property over test objects, those whose value is known."""

    kind: str
    """`categorical` or `numeric`."""
    size: int
    """Number of classes in training, or of numbers."""
    objects: int
    values: dict[str, float]
    """`accuracy`, `accuracy_matched`, `macro_f1` and `commonest`, or `r2`; then `matched`."""


@dataclasses.dataclass(frozen=True)
class Category:
    """A property with classes from 1 on; 0 says that it is not known."""

    classes: Int[np.ndarray, "c"]
    """Those of training objects. An object of another one is never told right."""
    commonest: int
    """The largest class among them: what a probe may say of all objects without a look."""
    categorical: ClassVar[bool] = True

    @classmethod
    def of(cls, values: Int[np.ndarray, "n"]) -> "Category":
        """From the known values of training objects."""
        classes, counts = np.unique(values, return_counts=True)
        return cls(classes, int(classes[counts.argmax()]))

    @property
    def width(self) -> int:
        """Numbers that the probe gives: a logit for each class."""
        return len(self.classes)

    def encode(self, values: Int[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n c"]:
        """One-hot vectors; zeros for an unknown class."""
        return (values[..., None] == self.classes).astype(np.float32)

    def score(
        self,
        true: Int[np.ndarray, "n"],
        told: Float[np.ndarray, "n c"],
        matched: Bool[np.ndarray, "n"],
    ) -> PropertyScores:
        """Accuracy over all objects, of which one without a slot is wrong, and over matched ones.

        Macro-F1 is over all objects too.
        """
        found = np.where(matched, self.classes[told.argmax(axis=-1)], -1)
        right = true == found
        values = {
            "accuracy": _mean(right),
            "accuracy_matched": _mean(right[matched]),
            "macro_f1": metrics.macro_f1(true, found),
            "commonest": _mean(true == self.commonest),
            "matched": _mean(matched),
        }
        return PropertyScores("categorical", self.width, len(true), values)


@dataclasses.dataclass(frozen=True)
class Number:
    """A property that is a number or a vector of D."""

    mean: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    """Of training objects; 1 where they are all the same."""
    categorical: ClassVar[bool] = False

    @classmethod
    def of(cls, values: Shaped[np.ndarray, "n d"]) -> "Number":
        """From the known values of training objects."""
        return cls(*mean_and_scale(values))

    @property
    def width(self) -> int:
        """Numbers that the probe gives."""
        return len(self.mean)

    def encode(self, values: Shaped[np.ndarray, "*n d"]) -> Float32[np.ndarray, "*n d"]:
        """Standardised; 0 where a value is not known."""
        scaled = (values.astype(np.float64) - self.mean) / self.scale
        return np.where(np.isfinite(scaled), scaled, 0).astype(np.float32)

    def score(
        self,
        true: Shaped[np.ndarray, "n d"],
        told: Float[np.ndarray, "n d"],
        matched: Bool[np.ndarray, "n"],
    ) -> PropertyScores:
        """R² over all objects; of one without a slot, the training mean is told."""
        found = self.mean + self.scale * np.where(matched[:, None], told, 0)
        values = {"r2": r_squared(true, found), "matched": _mean(matched)}
        return PropertyScores("numeric", self.width, len(true), values)


def r_squared(true: Shaped[np.ndarray, "n d"], told: Float[np.ndarray, "n d"]) -> float:
    """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)², mean over the D numbers.

    Returns:
        At most 1, below 0 where the mean would have been nearer. Numbers that are the same for all
        objects are left out; NaN where all are.
    """
    true = true.astype(np.float64)
    varied = np.ptp(true, axis=0) > 0 if len(true) else np.zeros(true.shape[1], bool)
    true, told = true[:, varied], told[:, varied]
    if not varied.any():
        return math.nan
    error = np.square(true - told).sum(axis=0)
    return float(np.mean(1 - error / np.square(true - true.mean(axis=0)).sum(axis=0)))


def mean_and_scale(
    values: Shaped[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"]]:
    """Mean and standard deviation in float64; 1 in place of 0."""
    values = values.astype(np.float64)
    scale = values.std(axis=0)
    return values.mean(axis=0), np.where(np.ptp(values, axis=0) > 0, scale, 1.0)


def as_values(values: Shaped[np.ndarray, "n m *d"]) -> Shaped[np.ndarray, "n m *e"]:
    """A property in one of two forms: classes [n, m], or numbers [n, m, d].

    Integers are classes, and so are yes and no (2 and 1); floats are numbers, and vectors of
    whatever kind.
    """
    if values.ndim == 2 and values.dtype == bool:
        return values + np.int32(1)
    if values.ndim == 2 and np.issubdtype(values.dtype, np.integer):
        return values
    return values.reshape(*values.shape[:2], -1)


def known(values: Shaped[np.ndarray, "n m *d"]) -> Bool[np.ndarray, "n m"]:
    """Where an object's value is given: a class above 0, or finite numbers."""
    return values > 0 if values.ndim == 2 else np.isfinite(values).all(axis=-1)


def target(
    values: Shaped[np.ndarray, "n m *d"], objects: Bool[np.ndarray, "n m"]
) -> Category | Number | None:
    """What is to be told of a property, from the training objects; None where none is known."""
    given = values[objects & known(values)]
    if not len(given):
        return None
    return Category.of(given) if values.ndim == 2 else Number.of(given)


def _mean(flags: Bool[np.ndarray, "n"]) -> float:
    return float(flags.mean()) if len(flags) else math.nan
