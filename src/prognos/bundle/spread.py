"""How the measurements of many patients lie, in few numbers, and how far from them another patient's are.

With z = (x - mean) / standard deviation of each column, clipped at 8, and the `RANK` main directions v_k of the training patients with
variances lambda_k: `along` = sqrt(mean_k (v_k . z)^2 / lambda_k) is how far a patient lies along these directions, `off` = sqrt(mean of
the squared rest z - sum_k (v_k . z) v_k, over its mean in training) how far beside them. Both are near 1 for a training patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RANK = 10
CLIP = 8.0

ARRAYS = ("mean", "deviation", "directions", "variances", "rest")
"""The names of what a spread is made of."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Mean, spread and main directions of patients; nothing of a single patient can be read from it.

    Args:
        mean: of each column, over the values that were measured.
        deviation: standard deviation of each column; 0 for one that is constant, which is not looked at.
        directions: orthonormal rows, the directions of largest variance.
        variances: of the patients along each direction.
        rest: mean squared length, a column, of what lies beside the directions.
    """

    mean: Float[np.ndarray, " columns"]
    deviation: Float[np.ndarray, " columns"]
    directions: Float[np.ndarray, "rank columns"]
    variances: Float[np.ndarray, " rank"]
    rest: float

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Spread":
        """The spread that `arrays` was taken of."""
        return cls(**{name: arrays[name] for name in ARRAYS[:-1]}, rest=float(arrays["rest"][0]))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, by name."""
        return {**{name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS[:-1]}, "rest": np.array([self.rest])}

    @classmethod
    def learn(cls, values: Float[np.ndarray, "patients columns"]) -> "Spread":
        """The spread of training patients; NaN is what was not measured.

        The rank is `RANK`, and at most a fourth of the patients.
        """
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, values, 0.0)
        mean = filled.sum(axis=0) / count
        deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
        deviation = np.where(deviation > 1e-9 * np.maximum(1.0, np.abs(mean)), deviation, 0.0)
        z, _ = _standardised(values, mean, deviation)
        # the patients are fewer than the columns: the directions come from the matrix of patients x patients
        eigenvalues, vectors = np.linalg.eigh(z @ z.T)
        rank = min(RANK, len(values) // 4, int((eigenvalues > 1e-9 * max(1.0, eigenvalues[-1])).sum()))
        largest = slice(len(values) - rank, None)
        directions = (vectors[:, largest] / np.sqrt(eigenvalues[largest])).T @ z
        rest = z - (z @ directions.T) @ directions
        squared = (rest**2).sum() / max(1, known[:, deviation > 0].sum())
        return cls(mean, deviation, directions, eigenvalues[largest] / len(values), float(squared))

    def distances(self, values: Float[np.ndarray, "patients columns"]) -> Float[np.ndarray, "patients 2"]:
        """`along` and `off` of each patient; NaN for one of whom nothing was measured. Only measured columns count for `off`."""
        z, looked_at = _standardised(values, self.mean, self.deviation)
        places = z @ self.directions.T
        n_known = looked_at.sum(axis=1)
        along = np.sqrt((places**2 / self.variances).mean(axis=1)) if len(self.variances) else np.zeros(len(values))
        beside = np.where(looked_at, z - places @ self.directions, 0.0)
        squared = (beside**2).sum(axis=1) / np.maximum(n_known, 1)
        off = np.sqrt(squared / self.rest) if self.rest > 0 else np.zeros(len(values))
        return np.where(n_known[:, None] > 0, np.stack([along, off], axis=1), np.nan)


def _standardised(
    values: Float[np.ndarray, "patients columns"], mean: Float[np.ndarray, " columns"], deviation: Float[np.ndarray, " columns"]
) -> tuple[Float[np.ndarray, "patients columns"], np.ndarray]:
    """z, 0 where nothing was measured or the column is constant, and where it was."""
    looked_at = ~np.isnan(values) & (deviation > 0)
    z = np.where(looked_at, (values - mean) / np.where(deviation > 0, deviation, 1.0), 0.0)
    return np.clip(z, -CLIP, CLIP), looked_at
