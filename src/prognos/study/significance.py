"""Whether a difference between two models could be chance: paired intervals, the corrected resampled t-test, Holm over cohorts."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.study.comparison import corrected_resampled_t

TESTS = "tests.csv"
TEST_COLUMNS = (
    *("model", "variant", "cohort", "missing", "metric", "reference", "difference", "difference_low", "difference_high"),
    *("runs", "t", "p", "p_holm"),
)
METRIC = "concordance"
LATE_FUSION = "late-fusion"


def difference_tests(metrics: pd.DataFrame, compared: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The columns of tests.csv: every model's concordance against each reference, on the same folds and seeds.

    The interval is the comparison's, of patients within folds with the fitted models held fixed; t and p are of the corrected resampled
    t-test over folds x seeds, where training patients differ too. p_holm is Holm's over the cohorts of the study.

    Args:
        metrics: the columns of metrics.csv.
        compared: for each reference, in its base variant, the columns of comparison.csv with differences to it.
    """
    values = metrics[(metrics.metric == METRIC) & metrics.value.notna()]
    rows = []
    for reference, comparison in compared.items():
        for line in comparison[comparison.metric == METRIC].dropna(subset=["difference"]).itertuples():
            if (line.model, line.variant) == (reference, "base"):
                continue
            differences, n_folds = _differences(values, line, reference)
            try:
                test = corrected_resampled_t(differences, test_share=1 / max(2, n_folds))
                t, p = test.statistic, test.p_value
            except ValueError:  # one fold, or differences that are all the same: there is no test, only the difference
                t, p = np.nan, np.nan
            rows.append(
                (
                    *(line.model, line.variant, line.cohort, line.missing, METRIC, reference),
                    *(line.difference, line.difference_low, line.difference_high, len(differences), t, p, np.nan),
                )
            )
    table = pd.DataFrame(rows, columns=list(TEST_COLUMNS))
    if len(table):
        of_family = table.groupby(["model", "variant", "missing", "reference"], sort=False).p
        table["p_holm"] = of_family.transform(lambda p: holm(p.to_numpy()))
    return table


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p-values after Holm (1979): the k-th smallest of m times m - k + 1, never falling, at most 1; NaN where there is none."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def _differences(values: pd.DataFrame, line: object, reference: str) -> tuple[Float[np.ndarray, " runs"], int]:
    """One difference a fold and seed; a reference without that seed counts with its mean over seeds. And how many folds there are."""
    of_cohort = values[values.cohort == line.cohort]  # type: ignore[attr-defined]
    own = of_cohort[
        (of_cohort.model == line.model) & (of_cohort.variant == line.variant) & (of_cohort.missing == line.missing)  # type: ignore[attr-defined]
    ]
    theirs = of_cohort[(of_cohort.model == reference) & (of_cohort.variant == "base")]
    same = theirs[theirs.missing == line.missing]  # type: ignore[attr-defined]
    theirs = same if len(same) else theirs[theirs.missing == "none"]
    by_run = theirs.set_index(["seed", "fold"]).value.to_dict()
    by_fold = theirs.groupby("fold").value.mean().to_dict()
    found = [row.value - by_run.get((row.seed, row.fold), by_fold.get(row.fold, np.nan)) for row in own.itertuples()]
    differences = np.array(found, dtype=float)
    return differences[~np.isnan(differences)], own.fold.nunique()
