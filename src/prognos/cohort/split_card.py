"""What folds can show: the split card, and the smallest difference between two models that a cohort can resolve."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from prognos.cohort.folds import FoldError, Folds, Patients
from prognos.cohort.subtype import Classes


def split_card(cohort: Patients, folds: Folds | pd.Series) -> pd.DataFrame:
    """One row a fold: patients, events, known sites, sites that are also in another fold, median follow-up in days.

    With a tumour subtype also `classes`, which says how many patients of each class the fold tests, and of how many none is known.
    """
    fold = (folds.fold if isinstance(folds, Folds) else folds).reindex(list(cohort.patients)).to_numpy()
    sites, time, event = np.asarray(cohort.sites, dtype=object), np.asarray(cohort.time), np.asarray(cohort.event, dtype=bool)
    here = {name: set(sites[(fold == name) & (sites != "")]) for name in np.unique(fold)}
    rows = []
    for name, known in here.items():
        elsewhere = set().union(*(others for other, others in here.items() if other != name))
        inside = fold == name
        rows.append(
            {
                "fold": int(name),
                "patients": int(inside.sum()),
                "events": int(event[inside].sum()),
                "sites": len(known),
                "shared_sites": len(known & elsewhere),
                "median_follow_up": median_follow_up(time[inside], event[inside]),
            }
        )
    card = pd.DataFrame(rows).set_index("fold")
    return card if (classes := Classes.of(cohort)) is None else card.assign(classes=_classes_of_folds(classes, fold))


def _classes_of_folds(classes: Classes, fold: np.ndarray) -> list[str]:
    counts = classes.counted(fold)
    unknown = [int((classes.index[fold == name] < 0).sum()) for name in counts.index]
    told = [", ".join(f"{count} {name}" for name, count in row.items()) for _, row in counts.iterrows()]
    return [f"{text}, {count} unknown" if count else text for text, count in zip(told, unknown, strict=True)]


def median_follow_up(time: np.ndarray, event: np.ndarray) -> float:
    """Median follow-up in days by the reverse Kaplan-Meier estimate, in which being censored is the event.

    NaN when the estimate never falls to one half: the longest times are deaths, and so follow-up is not known.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    times = np.unique(time)
    ended = np.array([(~event[time == moment]).sum() for moment in times])
    at_risk = np.array([(time >= moment).sum() for moment in times])
    survival = np.cumprod(1.0 - ended / at_risk)
    reached = times[survival <= 0.5 + 1e-12]
    return float(reached[0]) if len(reached) else float("nan")


def concordance_error(time: np.ndarray, event: np.ndarray) -> tuple[float, int]:
    """Standard error of Harrell's C of a risk that knows nothing, and the number of comparable pairs.

    With P comparable pairs (i, j), i earlier, C = 1/2 + S / 2P, S the sum over pairs of sign(r_i - r_j). For exchangeable risks a
    sign is 2 U_i - 1 given the rank U_i of one of them, of variance 1/3, so with w_i = (pairs in which i is the earlier) - (pairs in
    which i is the later) the parts of S that depend on one patient add up to sum_i w_i^2 / 3, and the rest, uncorrelated
    between pairs, to P / 3. Hence Var C = (sum_i w_i^2 + P) / (12 P^2): exact, whatever the censoring.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    moment = 2 * np.unique(time, return_inverse=True)[1] + ~event  # at equal times an event precedes a censored patient
    as_earlier = np.where(event, len(moment) - np.searchsorted(np.sort(moment), moment, side="right"), 0)
    as_later = np.searchsorted(np.sort(moment[event]), moment, side="left")
    pairs = int(as_earlier.sum())
    if pairs == 0:
        return float("inf"), 0
    return float(np.sqrt(np.sum((as_earlier - as_later).astype(float) ** 2) + pairs) / (np.sqrt(12.0) * pairs)), pairs


def detectable_difference(
    time: np.ndarray,
    event: np.ndarray,
    fold: np.ndarray | pd.Series | None = None,
    *,
    correlation: float = 0.5,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """The smallest true difference of the C-index of two models that this cohort shows with the given power.

    The mean over folds of Harrell's C has the variance mean_k Var_k / K (`concordance_error`, pairs within folds only). Two models
    on the same patients differ with variance 2 (1 - correlation) Var, and a two-sided test finds a true difference of
    (z_{1 - level/2} + z_power) standard errors with the power asked for. The error of an uninformative risk is used; that of a
    good one is smaller, so that the figure errs on the safe side. Folds without a comparable pair do not count.

    Args:
        time: days.
        event: True when the event was observed.
        fold: fold of each patient; all patients are one fold when it is None.
        correlation: assumed correlation of the two C-indices over repeated cohorts; 0.5 is a cautious guess for two models of the same
            patients, and should be stated beside the figure.
        power: probability of finding the difference.
        level: two-sided level of the test.

    Raises:
        FoldError: no fold has a comparable pair, or the correlation is not below 1.
    """
    if not -1 <= correlation < 1:
        raise FoldError(f"a correlation of {correlation:g} between two models: choose one from -1 to below 1.")
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    label = np.zeros(len(time), dtype=int) if fold is None else np.asarray(fold)
    errors = [concordance_error(time[label == name], event[label == name]) for name in np.unique(label)]
    usable = np.array([error for error, pairs in errors if pairs])
    if len(usable) == 0:
        raise FoldError(f"{int(event.sum())} events among {len(time)} patients give no comparable pair in any fold: use fewer folds.")
    error = np.sqrt(np.sum(usable**2)) / len(usable)
    return float((ndtri(1 - level / 2) + ndtri(power)) * np.sqrt(2 * (1 - correlation)) * error)
