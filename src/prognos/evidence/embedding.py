"""Vectors in a plane by t-SNE, the same every time, and how far two kinds of vectors lie apart where they really are."""

import numpy as np
from jaxtyping import Float, Shaped

NEIGHBOURS = 10
FEWEST = 4
"""Vectors below which there is nothing to arrange."""


def plane_of(vectors: Float[np.ndarray, "vectors d_model"], *, seed: int = 0) -> Float[np.ndarray, "vectors 2"]:
    """Places in a plane in which vectors of high cosine lie close; NaN for fewer than `FEWEST` different vectors.

    t-SNE of cosine distances, from their principal components, with a perplexity of 30, or a third of the vectors where they are few. What
    lies together belongs together; distances between groups, and the sizes of groups, mean nothing.

    Args:
        vectors: one a row.
        seed: of the optimisation.
    """
    from sklearn.manifold import TSNE  # slow to import

    unit = _unit(vectors)
    different = np.unique(unit.round(6), axis=0)
    if len(different) < FEWEST:
        return np.full((len(vectors), 2), np.nan)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=seed).fit_transform(unit)
    return np.asarray(places, dtype=np.float64)


def same_kind_nearby(vectors: Float[np.ndarray, "vectors d_model"], kind: Shaped[np.ndarray, " vectors"]) -> float:
    """Of the `NEIGHBOURS` nearest vectors (by cosine) of each, the share of its own kind, averaged with equal weight for each kind.

    1: the kinds lie apart; for two kinds that are as many and lie mixed, 1/2. NaN with fewer than two kinds, or with too few vectors.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    kinds = np.unique(kind)
    if len(kinds) < 2 or len(vectors) <= NEIGHBOURS:
        return float("nan")
    unit = _unit(vectors)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(unit).kneighbors(unit, return_distance=False)
    own = [_without_itself(row, place) for place, row in enumerate(nearest)]
    same = np.array([(kind[others] == kind[place]).mean() for place, others in enumerate(own)])
    return float(np.mean([same[kind == one].mean() for one in kinds]))


def _without_itself(nearest: np.ndarray, place: int) -> np.ndarray:
    return nearest[nearest != place][:NEIGHBOURS]


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
