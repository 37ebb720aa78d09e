"""What every metric is given, checked once at the door: times, events and risks as arrays of one length."""

import numpy as np
from jaxtyping import Bool, Float, Shaped

Vector = Shaped[np.ndarray, "_"]
"""An array with one number (or label) a patient."""


class NoComparablePairs(ValueError):
    """No two patients can be told apart by their outcome, so that a concordance does not exist."""


def survival_arrays(time: Vector, event: Vector, whose: str = "patients") -> tuple[Float[np.ndarray, " _"], Bool[np.ndarray, " _"]]:
    """Times as float64 and events as bool, checked.

    Args:
        time: time to the event or to the last follow-up, 0 or more, in any unit.
        event: True or 1 where the event was observed, False or 0 where the patient is censored.
        whose: who they are, for the message.

    Raises:
        ValueError: nobody, two lengths, a time that is negative or not finite, an event that is neither 0 nor 1.
    """
    if len(time) != len(event):
        raise ValueError(f"{len(time)} times but {len(event)} events of the {whose}: give one of each for every patient.")
    if len(time) == 0:
        raise ValueError(f"there are no {whose}: a metric needs at least one.")
    times = np.asarray(time, dtype=np.float64)
    wrong = ~np.isfinite(times) | (times < 0)
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(times)} times of the {whose} are negative or not finite ({_some(times[wrong])}): "
            "leave these patients out."
        )
    events = np.asarray(event)
    if events.dtype != np.bool_:
        coded = np.isin(events, (0, 1))
        if not coded.all():
            raise ValueError(
                f"{(~coded).sum()} of {len(events)} events of the {whose} are neither 0 nor 1 ({_some(events[~coded])}): "
                "code 1 for an observed event and 0 for a censored patient."
            )
        events = events.astype(bool)
    return times, events


def risk_array(risk: Vector, n_patients: int) -> Float[np.ndarray, " _"]:
    """Risks as float64, one a patient.

    Raises:
        ValueError: another number of risks than of patients, or a risk that is not finite.
    """
    if len(risk) != n_patients:
        raise ValueError(f"{len(risk)} risks but {n_patients} patients: give one risk for every patient.")
    risks = np.asarray(risk, dtype=np.float64)
    wrong = ~np.isfinite(risks)
    if wrong.any():
        raise ValueError(f"{wrong.sum()} of {len(risks)} risks are not finite: look at the features of these patients.")
    return risks


def horizon_array(horizons: Vector) -> Float[np.ndarray, " _"]:
    """Horizons as float64, positive and rising.

    Raises:
        ValueError: none, or not rising, or not positive.
    """
    values = np.asarray(horizons, dtype=np.float64)
    if len(values) == 0 or not np.isfinite(values).all() or values[0] <= 0 or (np.diff(values) <= 0).any():
        raise ValueError(f"horizons have to be positive and rising, not {_some(values)}.")
    return values


def curve_array(survival: np.ndarray, n_patients: int, n_horizons: int) -> Float[np.ndarray, "_ _"]:
    """Survival probabilities as float64, patients x horizons.

    Raises:
        ValueError: another shape, or a value that is no probability.
    """
    values = np.asarray(survival, dtype=np.float64)
    if values.shape != (n_patients, n_horizons):
        raise ValueError(
            f"survival has the shape {values.shape}; {n_patients} patients at {n_horizons} horizons need {(n_patients, n_horizons)}."
        )
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise ValueError(f"{wrong.sum()} of {values.size} survival probabilities lie outside 0 to 1 ({_some(values[wrong])}).")
    return values


def _some(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:g}" if isinstance(value, float | np.floating) else str(value) for value in values[:3])
    return shown + (", ..." if len(values) > 3 else "") if len(values) else "none"
