"""What a fitted model says of patients."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Risks and survival curves of some patients.

    Args:
        patients: ids.
        risk: one number a patient, higher = earlier event.
        horizons: days.
        survival: (patients, horizons).
        without_input: True for patients that had none of the model's modalities; they get the median training risk and
            the training fold's Kaplan-Meier curve.
        not_converged: True for patients for whom an iteration inside the model (evidence `converged`) did not meet its tolerance.
        low: 5th percentile of the risks of single draws of what a patient lacks; NaN where nothing was drawn.
        high: the 95th percentile.
        survival_low: (patients, horizons), the same of the curves.
        survival_high: likewise.
        similarities: cosines of vectors that the model shows in its evidence, by the names of the two; NaN for patients who lack one.
        subtypes: classes, for models that learn them.
        subtype_probabilities: (patients, classes), rows sum to 1; the training fold's shares for patients without input. None for
            models that learn no subtypes.
    """

    patients: tuple[str, ...]
    risk: np.ndarray
    horizons: np.ndarray
    survival: np.ndarray
    without_input: np.ndarray
    not_converged: np.ndarray
    low: np.ndarray
    high: np.ndarray
    survival_low: np.ndarray
    survival_high: np.ndarray
    similarities: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    subtypes: tuple[str, ...] = ()
    subtype_probabilities: np.ndarray | None = None
