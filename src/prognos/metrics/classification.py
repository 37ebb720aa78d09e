"""Metrics of the subtype task: does each patient's own class get the higher probability?

A label is the index of a patient's class, -1 where it is unknown; such patients are left out. A metric is a mean over the classes
that occur among the others: one that does not occur has no patient to be right or wrong about.
"""

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.arrays import Vector

UNKNOWN = -1
"""The label of a patient whose class is not known."""


def one_vs_rest_auc(probabilities: np.ndarray, label: Vector) -> float:
    """Mean over the classes of the AUC of a class's probability, its patients against all others.

    AUC_c = sum_ij [y_i = c] [y_j != c] ([p_ic > p_jc] + [p_ic = p_jc] / 2) / the same without the probabilities; the mean is
    over the classes that occur.

    Args:
        probabilities: of each class, patients x classes.
        label: index of each patient's class, -1 where unknown.

    Raises:
        ValueError: fewer than two classes occur, or the arrays are not as they should be.

    Example:
        >>> import numpy as np
        >>> one_vs_rest_auc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), np.array([0, 0, 1]))
        0.5
    """
    values, classes = labelled(probabilities, label)
    present = classes_present(classes)
    return float(np.mean([_area(values[:, own], classes == own) for own in present]))


def balanced_accuracy(probabilities: np.ndarray, label: Vector) -> float:
    """Mean over the classes that occur of the share of their patients whose most probable class is the right one.

    Where several classes are the most probable, the first of them counts.

    Args:
        probabilities: of each class, patients x classes.
        label: index of each patient's class, -1 where unknown.

    Raises:
        ValueError: fewer than two classes occur, or the arrays are not as they should be.

    Example:
        >>> import numpy as np
        >>> balanced_accuracy(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), np.array([0, 0, 1]))
        0.5
    """
    values, classes = labelled(probabilities, label)
    present = classes_present(classes)
    right = values.argmax(axis=1) == classes
    return float(np.mean([right[classes == own].mean() for own in present]))


def confusion(probabilities: np.ndarray, label: Vector, n_classes: int) -> Int[np.ndarray, "observed predicted"]:
    """How many patients of each class (rows) have each class (columns) as their most probable one, the first of several.

    Raises:
        ValueError: another number of classes than of columns, or the arrays are not as they should be.
    """
    values, classes = labelled(probabilities, label)
    if values.shape[1] != n_classes:
        raise ValueError(f"there are probabilities of {values.shape[1]} classes, not of {n_classes}: give a column for every class.")
    return np.bincount(classes * n_classes + values.argmax(axis=1), minlength=n_classes**2).reshape(n_classes, n_classes)


def labelled(probabilities: np.ndarray, label: Vector) -> tuple[Float[np.ndarray, "_ classes"], Int[np.ndarray, " _"]]:
    """Probabilities and labels of the patients whose class is known, checked.

    Raises:
        ValueError: as `class_arrays`.
    """
    values, classes = class_arrays(probabilities, label)
    known = classes != UNKNOWN
    return values[known], classes[known]


def class_arrays(probabilities: np.ndarray, label: Vector) -> tuple[Float[np.ndarray, "_ classes"], Int[np.ndarray, " _"]]:
    """Probabilities as float64 and labels as integers, checked.

    Raises:
        ValueError: other shapes than patients x classes and patients, a value that is no probability, a label that is no class.
    """
    values, classes = np.asarray(probabilities, dtype=np.float64), np.asarray(label)
    if values.ndim != 2 or classes.shape != values.shape[:1]:
        raise ValueError(
            f"probabilities have the shape {values.shape} and labels {classes.shape}: "
            "give patients x classes, and one label for every patient."
        )
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {values.size} probabilities of classes are not finite or lie outside 0 to 1 "
            f"({', '.join(f'{value:g}' for value in values[wrong][:3])}): give probabilities, not scores."
        )
    known = np.isin(classes, np.arange(UNKNOWN, values.shape[1]))
    if not known.all():
        raise ValueError(
            f"{(~known).sum()} of {len(classes)} labels ({', '.join(map(str, classes[~known][:3].tolist()))}) are no index of one of "
            f"{values.shape[1]} classes: number them from 0, and write {UNKNOWN} where the class is not known."
        )
    return values, classes.astype(np.int64)


def classes_present(classes: Int[np.ndarray, " _"]) -> Int[np.ndarray, " present"]:
    """The classes that occur, in order.

    Raises:
        ValueError: fewer than two, so that no class has others to be told from.
    """
    present = np.unique(classes)
    if len(present) < 2:
        raise ValueError(
            f"{len(classes)} patients have a known class, of {len(present)} different ones: "
            "two or more classes have to occur; score them together with other patients."
        )
    return present


def _area(probability: Float[np.ndarray, " _"], own: np.ndarray) -> float:
    others = np.sort(probability[~own])
    lower, not_higher = (np.searchsorted(others, probability[own], side=side) for side in ("left", "right"))
    return float((lower + not_higher).sum() / (2.0 * own.sum() * len(others)))
