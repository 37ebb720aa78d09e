"""Tokens of both modalities in a plane, before and after the step that parts them (TTA, Fig. 9)."""

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.evidence import first_fits, fit_in_words, of_cohort
from prognos.report.figures.style import COLOURS, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "modality", "prototype", "x", "y", "same"]
LOOKS = {"histology": ("o", "blue"), "omics": ("^", "orange")}


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """Two panels a model, of its first fit: places of tokens, and the share of each one's nearest tokens that are of its modality."""
    fits = first_fits(of_cohort(run, "fits", cohort)).set_index("label")
    pieces = []
    for (label, step), rows in first_fits(of_cohort(run, "tokens", cohort)).groupby(["label", "step"], sort=False):
        same = float(fits[f"same_modality_{step}"].get(label, float("nan")))
        pieces.append(rows.assign(panel=f"{fit_in_words(rows)}: {step}", same=same))
    if not pieces:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(pieces, ignore_index=True).dropna(subset=["x", "y"])[COLUMNS]


@styled
def draw(tokens: pd.DataFrame) -> Figure:
    """One panel: a mark a token, shape and colour by modality."""
    figure = sheet(3.7, tokens.panel.iloc[0])
    axes = figure.add_subplot()
    for modality, rows in tokens.groupby("modality", sort=False):
        marker, colour = LOOKS.get(str(modality), ("s", "purple"))
        axes.scatter(rows.x, rows.y, s=14, marker=marker, color=COLOURS[colour], alpha=0.65, linewidths=0, label=str(modality))
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    same = float(tokens.same.iloc[0])
    axes.set_xlabel("" if same != same else f"{same:.0%} of the nearest tokens are of the same modality")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
