"""Recalibration: survival curves from risks of patients whom the model was not fitted to.

A model that knows its training patients by heart believes them far apart, and a baseline hazard learnt at such risks has the wrong level
and the wrong course. Cox's regression of held-out patients on the risk alone mends all three:
S(t) = exp(-H0(t) exp(b (r - c))), with the risk r, the median training risk c of the model that gave it, the slope b and Breslow's
cumulative hazard H0 of the held-out patients. For a Cox model b = 1 says that its log-risks were as far apart as they should be, and
b < 1 that it was too sure. See van Houwelingen, Validation, calibration, revision and combination of prognostic survival models,
Statistics in Medicine 19 (2000) 3401-3415.

A curve then depends on the risk alone, and a higher risk never has the higher curve. What a discrete model says of the course of a
single patient beyond the risk is given up.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from prognos.metrics.cox_regression import cox_regression
from prognos.metrics.kaplan_meier import kaplan_meier

FEWEST_EVENTS = 10
"""With fewer events no slope is learnt: it is 0, and everybody has the Kaplan-Meier curve."""
NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Recalibration:
    """What was learnt.

    Args:
        slope: b, for one unit of risk; 0 or more.
        times: days of events, rising.
        hazard: H0 just after each.
        patients: patients whom it was learnt from.
        events: their events.
    """

    slope: float
    times: tuple[float, ...]
    hazard: tuple[float, ...]
    patients: int
    events: int

    @classmethod
    def learn(
        cls, risk: Float[np.ndarray, " patients"], time: Float[np.ndarray, " patients"], event: Bool[np.ndarray, " patients"]
    ) -> "Recalibration":
        """Slope and baseline of the highest likelihood.

        The slope is 0, and the baseline the Kaplan-Meier curve's, where all risks are one, where there are fewer than `FEWEST_EVENTS`,
        and where the slope would be negative: a model that is the wrong way round is not turned.

        Args:
            risk: r - c, of held-out patients.
            time: days to event or censoring.
            event: True when observed.

        Raises:
            ValueError: Cox's likelihood has no maximum.
        """
        spread = float(risk.std())
        if spread > NO_SPREAD and event.sum() >= FEWEST_EVENTS:
            found = cox_regression(risk[:, None] / spread, time, event)
            if found.coefficients[0] > 0:
                slope = float(found.coefficients[0]) / spread
                return cls(slope, tuple(found.time.tolist()), tuple(found.hazard.tolist()), len(risk), int(event.sum()))
        curve = kaplan_meier(time, event)
        falls = (curve.events > 0) & (curve.survival > 0)
        hazard = -np.log(curve.survival[falls])
        return cls(0.0, tuple(curve.time[falls].tolist()), tuple(hazard.tolist()), len(risk), int(event.sum()))

    def curves(self, risk: Float[np.ndarray, " patients"], horizons: Float[np.ndarray, " times"]) -> Float[np.ndarray, "patients times"]:
        """S(t); 1 before the first event, constant beyond the last.

        Args:
            risk: r - c.
            horizons: days.
        """
        hazard = np.concatenate([[0.0], self.hazard])[np.searchsorted(np.array(self.times), horizons, side="right")]
        return np.exp(-hazard[None, :] * np.exp(self.slope * risk)[:, None])

    def state(self) -> dict[str, object]:
        """What fitted.json keeps."""
        return {
            "slope": self.slope,
            "times": list(self.times),
            "hazard": list(self.hazard),
            "patients": self.patients,
            "events": self.events,
        }

    @classmethod
    def from_state(cls, state: dict[str, object]) -> "Recalibration":
        """What `state` gave."""
        times, hazard = state["times"], state["hazard"]
        assert isinstance(times, list)
        assert isinstance(hazard, list)
        return cls(**{**state, "times": tuple(times), "hazard": tuple(hazard)})  # type: ignore[arg-type]
