"""What the best epoch on the reported fold would have made of the results: a warning beside them."""

import pandas as pd

from prognos.report.run_folder import RunFolder
from prognos.report.tables import Cell, Table
from prognos.report.verdicts import listed, number, signed

CLEAR = 0.0005  # a smaller difference is +0.000 in print


def oracle_table(run: RunFolder, cohort: str) -> Table:
    """For each model its concordance after the last epoch, after the best one on the reported fold, and what that choice alone gives."""
    body = tuple(
        (
            Cell(str(label), str(label)),
            Cell(number(row["last"]), row["last"]),
            Cell(number(row["best"]), row["best"]),
            Cell(signed(row["gain"]), row["gain"]),
        )
        for label, row in _means(run, cohort).iterrows()
    )
    caption = (
        f"A warning, not a result: models on {cohort}, had their epoch been chosen on the very fold that is reported. Mean over folds of "
        "the mean over seeds, patients with some input. The last column is what that choice gives for nothing; no other number of this "
        "page has seen it"
    )
    return Table(caption, ("Model", "Last epoch", "Best epoch on the reported fold", "Looks better by"), body, oracle=True)


def oracle_sentence(run: RunFolder, cohort: str) -> str:
    """What choosing the epoch on the reported fold would have given, in a sentence; empty where nobody watched."""
    means = _means(run, cohort)
    if means.empty:
        return ""
    better = means[means.gain >= CLEAR].sort_values("gain", ascending=False, kind="stable")
    if better.empty:
        return "No model would have looked better had its epoch been chosen on the reported fold."
    told = listed([f"{label} by {number(gain)}" for label, gain in better.gain.items()])
    return (
        f"Had the epoch been chosen on the reported fold, as for many published numbers, these would have looked better: {told}. Compare "
        "published numbers with that in mind."
    )


def _means(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row a label: last, best and their difference, mean over folds of the mean over seeds."""
    rows = run.oracle[run.oracle.cohort == cohort]
    of_folds = rows.groupby(["label", "fold"], sort=False)[["last", "best"]].mean()
    means = of_folds.groupby(level="label", sort=False).mean()
    return means.assign(gain=means["best"] - means["last"])
