"""Several fitted models of one kind, asked together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from prognos.cohort import Cohort
from prognos.config import unknown
from prognos.training import Fitted, Folder, Predictions
from prognos.types import Prediction


@dataclass(frozen=True, eq=False)
class Joint:
    """What fitted models say together of some patients.

    Args:
        predictions: of several models the means. Their risks are means of each model's risk less its threshold, since models of different
            folds are not on one scale. Ends of intervals: for patients of whom something was drawn, of the draws of all models the lowest
            and the highest end; else the smallest and the largest of several models; else NaN.
        threshold: of these risks; above it lies the high-risk group.
        risks: of each model on its own scale.
        drawn: True for patients of whom something was drawn.
        marginal: the Kaplan-Meier curve of the training patients at the horizons.
        modalities: what the models read.
        filled_by: how they make up for what a patient lacks.
    """

    predictions: Predictions
    threshold: float
    risks: Float[np.ndarray, "models patients"]
    drawn: Bool[np.ndarray, " patients"]
    marginal: Float[np.ndarray, " horizons"]
    modalities: tuple[str, ...] = ()
    filled_by: str = ""


@dataclass(frozen=True)
class Ensemble:
    """Fitted models of one kind.

    Args:
        folders: where each lies; they are read one after the other, so that only one is in memory.
    """

    folders: Sequence[Folder]

    def ask(
        self,
        cohort: Cohort,
        patients: Sequence[str] | None = None,
        *,
        without: Sequence[str] = (),
        horizons: Sequence[float] | np.ndarray | None = None,
        draws: int = 0,
    ) -> Joint:
        """What the models say of a cohort's patients; arguments as `Fitted.predict`.

        Raises:
            ValueError: a modality that does not exist, or models that learnt different subtypes.
        """
        chosen = tuple(cohort.patients if patients is None else patients)
        answers: list[Predictions] = []
        zeros: list[float] = []
        marginals: list[np.ndarray] = []
        fitted = None
        for folder in self.folders:
            fitted = Fitted.load(folder)
            known = dict.fromkeys([*fitted.model.needs.modalities, *cohort.modalities])
            for name in without:
                if name not in known:
                    raise ValueError(f"--without: {unknown('modality', name, known)}")
            answers.append(fitted.predict(cohort, chosen, without=tuple(without), horizons=horizons, draws=draws))
            zeros.append(fitted.threshold if len(self.folders) > 1 else 0.0)
            grid = torch.as_tensor(answers[-1].horizons)
            marginals.append(fitted.marginal.survival_curve(Prediction(torch.zeros(1)), grid).numpy()[0])
        assert fitted is not None, "there is a folder"
        shifted = np.stack([answer.risk - zero for answer, zero in zip(answers, zeros, strict=True)])
        curves = np.stack([answer.survival for answer in answers])
        ends = [(answer.low - zero, answer.high - zero) for answer, zero in zip(answers, zeros, strict=True)]
        low, high = _ends(ends, shifted)
        curves_low, curves_high = _ends([(answer.survival_low, answer.survival_high) for answer in answers], curves)
        together = Predictions(
            patients=chosen,
            risk=shifted.mean(axis=0),
            horizons=answers[0].horizons,
            survival=curves.mean(axis=0),
            without_input=answers[-1].without_input,
            not_converged=np.any([answer.not_converged for answer in answers], axis=0),
            low=low,
            high=high,
            survival_low=curves_low,
            survival_high=curves_high,
            subtypes=_subtypes(answers),
            subtype_probabilities=_mean_probabilities(answers),
        )
        return Joint(
            together,
            fitted.threshold if len(self.folders) == 1 else 0.0,
            np.stack([answer.risk for answer in answers]),
            ~np.isnan(answers[0].low),
            np.mean(marginals, axis=0),
            tuple(fitted.model.needs.modalities),
            fitted.model.filled_by if fitted.filler is None else f"the training patients ({fitted.filler.policy})",
        )


def _subtypes(answers: Sequence[Predictions]) -> tuple[str, ...]:
    """The classes that all models learnt."""
    if len({answer.subtypes for answer in answers}) > 1:
        raise ValueError("these fitted models learnt different subtypes: predict with one of them, or with those of one run.")
    return answers[0].subtypes


def _mean_probabilities(answers: Sequence[Predictions]) -> Float[np.ndarray, "patients classes"] | None:
    known = [answer.subtype_probabilities for answer in answers if answer.subtype_probabilities is not None]
    return np.mean(known, axis=0) if known else None


def _ends(drawn: Sequence[tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From where to where: over single draws of each model where there are any, else over the models' points, if several."""
    several = len(points) > 1
    low = np.where(np.isnan(drawn[0][0]), points.min(axis=0) if several else np.nan, np.min([ends[0] for ends in drawn], axis=0))
    high = np.where(np.isnan(drawn[0][1]), points.max(axis=0) if several else np.nan, np.max([ends[1] for ends in drawn], axis=0))
    return low, high
