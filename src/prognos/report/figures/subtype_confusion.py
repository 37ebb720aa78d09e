"""Which subtype is taken for which: observed against most probable, over the held-out patients of all folds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prognos.metrics import confusion
from prognos.report.figures.style import COLOURS, INK, LABEL_CHARACTERS, sheet, styled, wrapped
from prognos.report.risk_groups import panel_name
from prognos.report.run_folder import RunFolder, missing_in_words

COLUMNS = ["panel", "observed", "predicted", "patients", "share"]
STRONGEST = 0.6  # opacity of a square; numbers stay readable on it, dark or light
LONGEST_LEVEL = 24  # characters of all names of columns together; longer ones stand upright


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: patients (mean over seeds) of each observed and most probable subtype, and their share of the observed one."""
    table = run.subtypes[run.subtypes.cohort == cohort]
    patterns = sorted(dict.fromkeys(table.missing), key=lambda missing: missing not in ("none", ""))
    pieces = []
    for label, rows in table[table.missing.isin(patterns[:1])].groupby("label", sort=False):
        classes = list(dict.fromkeys(rows["class"]))
        patients = np.mean([_counts(of_seed, classes) for _, of_seed in rows.groupby("seed")], axis=0)
        total = patients.sum(axis=1, keepdims=True)
        share = np.divide(patients, total, out=np.full_like(patients, np.nan), where=total > 0)
        names = {"observed": np.repeat(classes, len(classes)), "predicted": np.tile(classes, len(classes))}
        panel = panel_name(str(label), missing_in_words(patterns[0]))
        pieces.append(pd.DataFrame({"panel": panel, **names, "patients": patients.ravel(), "share": share.ravel()}))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


def _counts(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """The confusion of one seed; a patient counts once in each fold that tests this patient."""
    wide = rows.pivot(index=["fold", "patient_id"], columns="class", values="probability")[classes]
    observed = rows.drop_duplicates(["fold", "patient_id"]).set_index(["fold", "patient_id"])["subtype"].loc[wide.index]
    label = np.array([classes.index(name) if name in classes else -1 for name in observed], dtype=np.int64)
    return confusion(wide.to_numpy(float), label, len(classes))


@styled
def draw(cells: pd.DataFrame) -> Figure:
    """One panel: a square for each pair, stronger for a larger share, with count and share in it."""
    classes = list(dict.fromkeys(cells.observed))
    upright = sum(len(name) for name in classes) > LONGEST_LEVEL
    below = 0.07 * min(LABEL_CHARACTERS, max(len(name) for name in classes)) if upright else 0.0
    figure = sheet(1.2 + 0.5 * len(classes) + below, cells.panel.iloc[0])
    axes = figure.add_subplot()
    for cell in cells.itertuples():
        place = classes.index(cell.predicted), classes.index(cell.observed)
        colour = COLOURS["blue"] if cell.observed == cell.predicted else COLOURS["vermillion"]
        known = cell.share == cell.share
        corner = (place[0] - 0.5, place[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="none", alpha=STRONGEST * cell.share if known else 0.0))
        axes.text(*place, f"{round(cell.patients, 1):g}\n{cell.share:.0%}" if known else "–", ha="center", va="center", color=INK)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    names = [wrapped(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=90 if upright else 0)
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("most probable")
    axes.set_ylabel("observed")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return figure
