"""Distance between two sets of pictures by features of a network (Heusel et al. 2017, FID).

The published numbers take 2,048 features of an Inception network that has to be downloaded, which
nothing here does: compute them with a network of your own and hand them in.
"""

import numpy as np
from jaxtyping import Float


def frechet_distance(real: Float[np.ndarray, "n f"], drawn: Float[np.ndarray, "m f"]) -> float:
    """|μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½) of the two sets' means and covariances, in float64.

    Args:
        real: features of one set, a row each; at least two.
        drawn: of the other.

    Raises:
        ValueError: fewer than two rows, or features that are not finite.
    """
    means, covariances = [], []
    for name, rows in (("real", real), ("drawn", drawn)):
        rows = np.asarray(rows, np.float64)
        if len(rows) < 2:
            raise ValueError(f"{name} needs at least two rows of features, got {len(rows)}.")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} has features that are not finite.")
        means.append(rows.mean(axis=0))
        covariances.append(np.cov(rows, rowvar=False).reshape(rows.shape[1], -1))
    root = _root(covariances[0])
    # C₁ C₂ has the eigenvalues of the symmetric C₁^½ C₂ C₁^½.
    values = np.linalg.eigvalsh(root @ covariances[1] @ root)
    mixed = np.sqrt(np.maximum(values, 0)).sum()
    apart = np.square(means[0] - means[1]).sum()
    return float(apart + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * mixed)


def on_white(
    parts: Float[np.ndarray, "*b h w c"], masks: Float[np.ndarray, "*b h w"]
) -> Float[np.ndarray, "*b h w c"]:
    """What each slot draws, on white: the pictures of CoSA's slot FID (Kori et al. 2024).

    Args:
        parts: what components draw alone, in [0, 1].
        masks: where they show, in [0, 1].
    """
    shown = np.asarray(masks)[..., None]
    return np.asarray(parts) * shown + 1 - shown


def _root(matrix: Float[np.ndarray, "f f"]) -> Float[np.ndarray, "f f"]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
