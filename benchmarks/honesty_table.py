"""From the replicates of `honesty.py` to its tables, with the Monte-Carlo error of every number."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from honesty_populations import Population
from honesty_practices import OTHER_MODELS, OTHER_WORDS, PROGNOS, TODAY

NORMAL, LEVEL, WORTHLESS = 1.959964, 0.05, 0.5
CHANGES = {
    **dict.fromkeys((PROGNOS, TODAY, *OTHER_MODELS), frozenset({"concordance", "interval", "logrank", "brier"})),
    "risks of all folds pooled": frozenset({"concordance", "interval", "logrank"}),
    "interval from the spread of folds": frozenset({"interval"}),
    "censoring of the test fold": frozenset({"brier"}),
}
"""Which numbers a practice changes; the others are those of prognos and are not printed again."""
assert set(OTHER_WORDS) < set(CHANGES)


def share(hits: np.ndarray) -> tuple[float, float, float]:
    """A share and its 95% Wilson interval."""
    result = binomtest(int(hits.sum()), len(hits))
    ends = result.proportion_ci(method="wilson")
    return float(result.statistic), float(ends.low), float(ends.high)


def mean_error(errors: np.ndarray) -> tuple[float, float]:
    """The mean, and 1.96 of its standard errors."""
    return float(errors.mean()), NORMAL * float(errors.std(ddof=1)) / np.sqrt(len(errors))


def summary(replicates: pd.DataFrame, populations: Mapping[str, Population]) -> pd.DataFrame:
    """One row a population and practice.

    Where the true concordance is known it is taken, else that of the fitted models on new patients. `needed_width` is by how much the
    interval would have to be wider to be as wide as the concordance spreads about its truth: above 1 it is too narrow.
    """
    lines = []
    for (name, practice), rows in replicates.groupby(["population", "practice"], sort=False):
        population = populations[str(name)]
        true = np.full(len(rows), WORTHLESS) if population.null else rows["true_concordance"].to_numpy()
        error = rows["concordance"].to_numpy() - true
        bias, bias_half = mean_error(error)
        coverage, coverage_low, coverage_high = share(((rows["low"] <= true) & (true <= rows["high"])).to_numpy())
        brier_error = (rows["brier"] - rows["true_brier"]).dropna().to_numpy()
        brier, brier_half = mean_error(brier_error)
        width = float((rows["high"] - rows["low"]).mean())
        line = {"population": name, "practice": practice, "replicates": len(rows), "reported": rows["concordance"].mean()}
        line |= {"true": true.mean(), "bias": bias, "bias_half": bias_half}
        line |= {"coverage": coverage, "coverage_low": coverage_low, "coverage_high": coverage_high, "width": width}
        line |= {"needed_width": 2 * NORMAL * error.std(ddof=1) / width, "true_at_sites": rows["true_at_sites"].mean()}
        line |= {"measured_at_new_sites": rows["true_concordance"].mean()}
        tested = rows["p_value"].dropna().to_numpy()
        rejected = share(tested < LEVEL) if len(tested) else (np.nan,) * 3
        line |= dict(zip(("rejected", "rejected_low", "rejected_high"), rejected, strict=True), tested=len(tested))
        line |= {"brier": rows["brier"].mean(), "true_brier": rows["true_brier"].mean(), "brier_error": brier, "brier_half": brier_half}
        lines.append({**line, "brier_rmse": np.sqrt((brier_error**2).mean()), "lost_folds": rows["lost_folds"].sum()})
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame, populations: Mapping[str, Population]) -> str:
    """Two tables: prognos beside today, and every practice alone."""
    short = table[table["practice"].isin((PROGNOS, TODAY))]
    head = (
        "| population | practice | C reported | C true | bias of C | 95% interval holds the truth | "
        "log-rank p < 0.05 without signal | error of the Brier score |",
        "|---|---|---|---|---|---|---|---|",
    )
    parts = ["\n".join([*head, *(_line(row, populations) for row in part.to_dict("records"))]) for part in (short, table)]
    return "\n\n".join(parts) + "\n"


def _line(row: dict, populations: Mapping[str, Population]) -> str:
    population, changes = populations[row["population"]], CHANGES[row["practice"]]
    cells = [population.title, row["practice"]]
    told = "concordance" in changes
    cells += [f"{row['reported']:.3f}", f"{row['true']:.3f}", f"{row['bias']:+.3f} ± {row['bias_half']:.3f}"] if told else [""] * 3
    cells.append(_percent(row, "coverage") if "interval" in changes else "")
    cells.append(_percent(row, "rejected") if "logrank" in changes and population.null else "")
    cells.append(f"{row['brier_error']:+.4f} ± {row['brier_half']:.4f}" if "brier" in changes else "")
    return "| " + " | ".join(cells) + " |"


def _percent(row: dict, name: str) -> str:
    low, high = 100 * row[f"{name}_low"], 100 * row[f"{name}_high"]
    return f"{100 * row[name]:.0f}% ({low:.0f} to {high:.0f})"
