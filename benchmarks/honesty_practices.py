"""What is reported of one cohort, the way of prognos and the ways of today, beside what is true of the very same fitted models.

The numbers of prognos come from its own functions: folds, `assess`, the table of metrics, thresholds of the training part, the stratified
log-rank test. Today's practices are written out below, each alone on top of the way of prognos, and then together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from honesty_learner import EPOCHS, Fit, Part, fit_all
from honesty_populations import Patients
from prognos.cohort.folds import assign_folds
from prognos.metrics import METRICS, HeldOutFold, concordance, horizon_grid, integrated_brier_score, logrank, tau_rule
from prognos.study.comparison import assess

FOLDS, NORMAL = 5, 1.959964
CURVES_ASKED = 4000


@dataclass(frozen=True)
class Told:
    """What one practice says of a cohort, and what is true; NaN where it says nothing.

    Args:
        concordance: as reported.
        low: lower end of the 95% interval reported with it.
        high: its upper end.
        p_value: of the log-rank test of high against low risk.
        brier: integrated Brier score as reported.
        true_concordance: of the same fitted models on new patients of new sites, mean over folds.
        true_at_sites: the same on other patients of the cohort's own sites, where they were drawn.
        true_brier: integrated Brier score of the same models on new patients without censoring, to the same horizons.
        lost_folds: folds whose integrated Brier score could not be computed and was left out of the mean.
    """

    concordance: float
    low: float
    high: float
    p_value: float
    brier: float
    true_concordance: float
    true_at_sites: float
    true_brier: float
    lost_folds: int = 0


@dataclass(frozen=True)
class HeldOut:
    """One fitted model and its predictions for the fold that it has not seen.

    Args:
        test: index of each held-out patient.
        train: index of each training patient.
        fit: the network after every epoch.
        epoch: the epoch that is used.
        risk: of the held-out patients.
        threshold: median risk of the training patients.
        horizons: days, up to the tau of the training part.
        survival: curves of the held-out patients; patients x horizons.
    """

    test: np.ndarray
    train: np.ndarray
    fit: Fit
    epoch: int
    risk: np.ndarray
    threshold: float
    horizons: np.ndarray
    survival: np.ndarray


def replicate(cohort: Patients, others: Patients, fresh: list[Patients], seed: int) -> dict[str, Told]:
    """Every practice on one cohort.

    Args:
        cohort: the patients of the study.
        others: further patients of the same sites, for `true_at_sites`; may be none.
        fresh: new patients of new sites, a part for each fold.
        seed: of folds, weights and batches.
    """
    everyone = np.arange(len(cohort))
    patient = [f"P{number:04d}" for number in everyone]
    by_site = assign_folds(patient, cohort.site, cohort.event, FOLDS, seed=seed).fold.to_numpy()
    at_random = np.random.default_rng(seed).permutation(everyone) % FOLDS
    parts, of_arm = [], {}
    for folds, fold in (("site", by_site), ("random", at_random)):
        for cuts in ("train", "whole"):
            of_arm[folds, cuts] = range(len(parts), len(parts) + FOLDS)
            for number in range(FOLDS):
                train = np.flatnonzero(fold != number)
                parts.append(Part(train, train if cuts == "train" else everyone, FOLDS * seed + number))
    fits = fit_all(cohort.features, cohort.time, cohort.event, parts)

    def study(folds: str, cuts: str, epoch_of: Callable[[Fit, Patients], int]) -> list[HeldOut]:
        return [held_out(cohort, parts[place], fits[place], epoch_of) for place in of_arm[folds, cuts]]

    ours = study("site", "train", last_epoch)
    of_ours = as_prognos(cohort, ours)
    practices: dict[str, tuple[list[HeldOut], dict]] = {PROGNOS: (ours, of_ours)}
    for practice, arm in OTHER_MODELS.items():
        models = study(*arm)
        practices[practice] = models, as_prognos(cohort, models)
    for practice, said_by in OTHER_WORDS.items():
        practices[practice] = ours, {**of_ours, **said_by(cohort, ours)}
    today = study("random", "whole", best_epoch)
    practices[TODAY] = today, {**at_one_median(cohort, today), **spread_of_folds(cohort, today), **censoring_of_the_fold(cohort, today)}
    truth = {id(models): true_of(models, others, fresh) for models in {id(models): models for models, _ in practices.values()}.values()}
    return {practice: Told(**said, **truth[id(models)]) for practice, (models, said) in practices.items()}


def last_epoch(fit: Fit, test: Patients) -> int:
    """The last epoch, whatever the fold says."""
    return EPOCHS - 1


def best_epoch(fit: Fit, test: Patients) -> int:
    """Today: the epoch with the highest concordance on the fold that is reported."""
    values = [concordance(fit.predict(test.features, epoch).risk.numpy(), test.time, test.event) for epoch in range(EPOCHS)]
    return int(np.argmax(values))


def held_out(cohort: Patients, part: Part, fit: Fit, epoch_of: Callable[[Fit, Patients], int]) -> HeldOut:
    """A fit after the chosen epoch, and what it says of the patients it was not trained on."""
    test = np.setdiff1d(np.arange(len(cohort)), part.train)
    epoch = epoch_of(fit, cohort[test])
    time, event = cohort.time[part.train], cohort.event[part.train]
    horizons = horizon_grid(time, event)
    horizons = horizons[horizons <= tau_rule(time, event)]
    of_train = float(np.median(fit.predict(cohort.features[part.train], epoch).risk.numpy()))
    prediction = fit.predict(cohort.features[test], epoch)
    return HeldOut(
        test, part.train, fit, epoch, prediction.risk.numpy().astype(float), of_train, horizons, fit.survival(prediction, horizons)
    )


def as_prognos(cohort: Patients, models: list[HeldOut]) -> dict:
    """What prognos says: mean over folds with its bootstrap interval, stratified log-rank at training thresholds, censoring of training."""
    table = predictions(cohort, models)
    brier = [METRICS["integrated_brier"].value(scored(cohort, model)) for model in models]
    high = (table["risk"] > table["threshold"]).to_numpy()
    p_value = p_of(table, high, table["fold"].to_numpy())
    return {**assessed(table), "p_value": p_value, "brier": float(np.mean(brier))}


def scored(cohort: Patients, model: HeldOut) -> HeldOutFold:
    """The fold as the metrics of prognos take it, with the training part that its censoring is learnt from."""
    outcomes = (cohort.time[model.test], cohort.event[model.test], cohort.time[model.train], cohort.event[model.train])
    return HeldOutFold(model.risk, *outcomes, model.horizons, model.survival)


def assessed(table: pd.DataFrame) -> dict:
    """The concordance and its interval as prognos computes them: patients are drawn within folds, models held fixed."""
    line = assess(table, metrics=["concordance"], reference=None).comparison.iloc[0]
    return {"concordance": float(line["mean"]), "low": float(line["low"]), "high": float(line["high"])}


def pooled(cohort: Patients, models: list[HeldOut]) -> dict:
    """Today: risks of all folds in one bag, one concordance of it, an interval from drawing its patients, one median."""
    return {**assessed(predictions(cohort, models).assign(fold=0)), **at_one_median(cohort, models)}


def at_one_median(cohort: Patients, models: list[HeldOut]) -> dict:
    """Today: the log-rank test without strata, patients of all folds cut at the median of all risks."""
    table = predictions(cohort, models)
    return {"p_value": p_of(table, (table["risk"] > table["risk"].median()).to_numpy(), None)}


def spread_of_folds(cohort: Patients, models: list[HeldOut]) -> dict:
    """Today: mean concordance of the folds, and 1.96 standard errors on either side as if the folds were independent."""
    values = [concordance(model.risk, cohort.time[model.test], cohort.event[model.test]) for model in models]
    mean, half = float(np.mean(values)), NORMAL * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return {"concordance": mean, "low": mean - half, "high": mean + half}


def censoring_of_the_fold(cohort: Patients, models: list[HeldOut]) -> dict:
    """Today: weights of the Brier score learnt from the test fold itself; folds in which that fails are left out of the mean."""
    values = []
    for model in models:
        outcome = cohort.time[model.test], cohort.event[model.test]
        try:
            values.append(integrated_brier_score(model.survival, *outcome, *outcome, model.horizons))
        except ValueError:  # today's tools drop such a fold; it is counted
            continue
    return {"brier": float(np.mean(values)) if values else np.nan, "lost_folds": len(models) - len(values)}


def p_of(table: pd.DataFrame, high: np.ndarray, strata: np.ndarray | None) -> float:
    """P of the log-rank test of high against low risk; NaN where the groups cannot be compared."""
    try:
        return logrank(table["time"].to_numpy(), table["event"].to_numpy(), high, strata).p_value
    except ValueError:
        return np.nan


PROGNOS, TODAY = "prognos", "all of it: today"
OTHER_MODELS: Mapping[str, tuple[str, str, Callable[[Fit, Patients], int]]] = {
    "best epoch of the fold": ("site", "train", best_epoch),
    "bins of the whole cohort": ("site", "whole", last_epoch),
    "random folds": ("random", "train", last_epoch),
}
"""Practices that make other models: which folds, of whom the time bins are learnt, and which epoch is taken."""
OTHER_WORDS: Mapping[str, Callable[[Patients, list[HeldOut]], dict]] = {
    "risks of all folds pooled": pooled,
    "interval from the spread of folds": spread_of_folds,
    "censoring of the test fold": censoring_of_the_fold,
}
"""Practices that say something else of the same models."""


def predictions(cohort: Patients, models: list[HeldOut]) -> pd.DataFrame:
    """The columns of predictions.csv."""
    rows = [
        pd.DataFrame(
            {
                "model": "network",
                "patient_id": [f"P{number:04d}" for number in model.test],
                "fold": fold,
                "time": cohort.time[model.test],
                "event": cohort.event[model.test],
                "risk": model.risk,
                "threshold": model.threshold,
            }
        )
        for fold, model in enumerate(models)
    ]
    return pd.concat(rows, ignore_index=True)


def true_of(models: list[HeldOut], others: Patients, fresh: list[Patients]) -> dict[str, float]:
    """What the models of all folds do on patients of whom nothing was learnt; mean over folds."""
    new, known, brier = [], [], []
    for model, asked in zip(models, fresh, strict=True):
        new.append(concordance(model.fit.predict(asked.features, model.epoch).risk.numpy(), asked.time, asked.event))
        if len(others):
            known.append(concordance(model.fit.predict(others.features, model.epoch).risk.numpy(), others.time, others.event))
        few = asked[:CURVES_ASKED]
        curves = model.fit.survival(model.fit.predict(few.features, model.epoch), model.horizons)
        happened = few.event_time, np.ones(len(few), dtype=bool)
        brier.append(integrated_brier_score(curves, *happened, *happened, model.horizons))
    at_sites = float(np.mean(known)) if known else np.nan
    return {"true_concordance": float(np.mean(new)), "true_at_sites": at_sites, "true_brier": float(np.mean(brier))}
