"""One model's predictions for one held-out fold, with what the training fold contributes to its metrics."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from prognos.metrics.arrays import Vector, curve_array, horizon_array, risk_array, survival_arrays
from prognos.metrics.censoring import Censoring, horizon_grid, tau_rule
from prognos.metrics.classification import class_arrays
from prognos.metrics.kaplan_meier import kaplan_meier


@dataclass(frozen=True)
class HeldOutFold:
    """What a metric of the table is computed from.

    Args:
        risk: risk of each held-out patient; higher means an earlier event.
        time: time to event or censoring, in days.
        event: True where the event was observed.
        train_time: times of the training fold; None when there is none, which most metrics cannot do without.
        train_event: events of the training fold.
        horizons: rising times, in days, at which survival was predicted; None without curves.
        survival: predicted survival, patients x horizons.
        label: index of each patient's subtype in `classes`, -1 where unknown; None without subtypes.
        probabilities: predicted probability of each subtype, patients x classes.
        classes: names of the subtypes.
    """

    risk: Vector
    time: Vector
    event: Vector
    train_time: Vector | None = None
    train_event: Vector | None = None
    horizons: Vector | None = None
    survival: np.ndarray | None = None
    label: Vector | None = None
    probabilities: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        time, event = survival_arrays(self.time, self.event)
        checked = {"time": time, "event": event, "risk": risk_array(self.risk, len(time))}
        if self.train_time is not None and self.train_event is not None:
            checked["train_time"], checked["train_event"] = survival_arrays(self.train_time, self.train_event, "training patients")
        if self.horizons is not None and self.survival is not None:
            checked["horizons"] = horizon_array(self.horizons)
            checked["survival"] = curve_array(self.survival, len(time), len(self.horizons))
        if self.label is not None and self.probabilities is not None:
            checked["probabilities"], checked["label"] = class_arrays(self.probabilities, self.label)
            if checked["probabilities"].shape != (len(time), len(self.classes)):
                raise ValueError(
                    f"probabilities of subtypes have the shape {checked['probabilities'].shape}; {len(time)} patients and "
                    f"{len(self.classes)} classes need {(len(time), len(self.classes))}."
                )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """Times and events of the training fold.

        Raises:
            ValueError: there is none.
        """
        if self.train_time is None or self.train_event is None:
            raise ValueError(
                "no training part: censoring is learnt from the other folds of the same model, cohort and seed, and there is none; "
                "give a fold column."
            )
        return self.train_time, self.train_event

    @cached_property
    def censoring(self) -> Censoring:
        """Censoring of the training fold."""
        return Censoring.learn(*self.training)

    @cached_property
    def tau(self) -> float:
        """The time up to which the fold is scored, from the training fold alone."""
        return tau_rule(*self.training)

    @cached_property
    def grid(self) -> Float[np.ndarray, " _"]:
        """Horizons of the AUC: those of the training fold up to tau, whatever the model predicted."""
        return self._up_to_tau(horizon_grid(*self.training))

    @cached_property
    def curves(self) -> tuple[np.ndarray, np.ndarray]:
        """Horizons up to tau, and predicted survival there.

        Raises:
            ValueError: the model predicted no curves, or none up to tau.
        """
        horizons, survival = self._predicted
        early = self._up_to_tau(horizons)
        return early, survival[:, : len(early)]

    @cached_property
    def null_curve(self) -> Float[np.ndarray, " _"]:
        """The training fold's Kaplan-Meier curve at the horizons of `curves`."""
        return kaplan_meier(*self.training).at(self.curves[0])

    def survival_at(self, horizon: float) -> Float[np.ndarray, " _"]:
        """Predicted survival at one horizon, linear between the two nearest.

        Raises:
            ValueError: the model predicted no curves, or none that reach so far.
        """
        horizons, survival = self._predicted
        if not horizons[0] <= horizon <= horizons[-1]:
            raise ValueError(f"survival was predicted from {horizons[0]:g} to {horizons[-1]:g} days, not at {horizon:g}.")
        later = int(np.searchsorted(horizons, horizon, side="left"))
        if horizons[later] == horizon:
            return survival[:, later]
        share = (horizon - horizons[later - 1]) / (horizons[later] - horizons[later - 1])
        return (1.0 - share) * survival[:, later - 1] + share * survival[:, later]

    @property
    def subtypes(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted probabilities of the subtypes, and the observed ones.

        Raises:
            ValueError: the model predicted no subtypes.
        """
        if self.probabilities is None or self.label is None:
            raise ValueError("no subtype probabilities: this metric needs a model that predicts the subtype, not the risk alone.")
        return self.probabilities, self.label

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """The subtypes that no patient of the fold is known to have."""
        there = set() if self.label is None else set(np.asarray(self.label).tolist())
        return tuple(name for place, name in enumerate(self.classes) if place not in there)

    @property
    def _predicted(self) -> tuple[np.ndarray, np.ndarray]:
        if self.horizons is None or self.survival is None:
            raise ValueError("no survival curves: this metric needs predicted survival, not the risk alone.")
        return self.horizons, self.survival

    def _up_to_tau(self, horizons: np.ndarray) -> np.ndarray:
        early = horizons[horizons <= self.tau]
        if len(early) == 0:
            raise ValueError(
                f"the first horizon, {horizons[0]:g}, lies beyond tau = {self.tau:g}, the 80th percentile of training follow-up."
            )
        return early
