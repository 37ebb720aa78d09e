"""Prototypes in a plane, as large as the share of tokens that they take (TTA, Fig. 7)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.evidence import first_fits, fit_in_words, of_cohort
from prognos.report.figures.style import COLOURS, INK, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "prototype", "x", "y", "histology", "omics"]
LARGEST = 2500.0  # area of a disc, in square points, of a prototype that takes everything

NAMES = {"histology": "patches", "omics": "pathways"}
LOOKS: Mapping[str, Any] = {
    "histology": {"facecolors": COLOURS["sky"], "linewidths": 0, "alpha": 0.6},
    "omics": {"facecolors": "none", "edgecolors": COLOURS["vermillion"], "linewidths": 1.3},
}


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model and bank, of its first fit: place of each prototype, and the shares of patches and pathways that it takes first."""
    pieces = []
    for _, rows in first_fits(of_cohort(run, "prototypes", cohort)).groupby(["label", "bank"], sort=False):
        shares = rows.pivot(index="prototype", columns="modality", values="share").reindex(columns=["histology", "omics"])
        places = rows.drop_duplicates("prototype").set_index("prototype")[["x", "y"]]
        bank = "" if rows.bank.iloc[0] == "shared" else f", {rows.bank.iloc[0]}"
        pieces.append(places.join(shares).reset_index().assign(panel=fit_in_words(rows) + bank))
    if not pieces:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(pieces, ignore_index=True).dropna(subset=["x", "y"])[COLUMNS]


@styled
def draw(prototypes: pd.DataFrame) -> Figure:
    """One panel: a filled disc for the patches and a ring for the pathways of each prototype, with its number."""
    figure = sheet(3.9, prototypes.panel.iloc[0])
    axes = figure.add_subplot()
    for modality, look in LOOKS.items():
        axes.scatter(prototypes.x, prototypes.y, s=LARGEST * prototypes[modality].fillna(0.0), **look)
        axes.scatter([], [], s=60, label=f"share of {NAMES[modality]}", **look)
    for row in prototypes.itertuples():
        axes.text(row.x, row.y, f"{row.prototype:.0f}", ha="center", va="center", fontsize=7, color=INK)
    axes.margins(0.12)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
