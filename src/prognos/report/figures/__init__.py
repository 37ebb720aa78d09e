"""Every figure of the report, written out: what it is called, how to read it, its data and its drawing."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures import (
    calibration,
    component_cosines,
    component_map,
    exclusion_flow,
    fold_scores,
    forest,
    kaplan_meier,
    robustness,
    subtype_confusion,
    training_curves,
)
from prognos.report.run_folder import RunFolder


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure; its data has a column `panel`, and each panel becomes a picture.

    Args:
        title: what it is called.
        reading: one sentence on how to read it.
        data: the numbers of one cohort, all panels.
        draw: the picture of the rows of one panel.
    """

    title: str
    reading: str
    data: Callable[[RunFolder, str], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]


FIGURES: dict[str, FigureKind] = {
    "exclusion_flow": FigureKind(
        "Who is in",
        "From top to bottom: the patients of the table, those left out by each rule (branching right), those that every model was "
        "trained and tested on.",
        exclusion_flow.data,
        exclusion_flow.draw,
    ),
    "forest": FigureKind(
        "Concordance and differences",
        "A dot is the mean over folds, its line the 95% interval; a diamond in another colour marks a difference whose interval "
        "leaves out zero, and everything else is within noise.",
        forest.data,
        forest.draw,
    ),
    "robustness": FigureKind(
        "Missing modalities",
        "From left to right more and more patients lack the modality; a line that stays level belongs to a model that does without it, "
        "and upright lines are 95% intervals.",
        robustness.data,
        robustness.draw,
    ),
    "fold_scores": FigureKind(
        "Every fold",
        "Each mark is one fold (mean over seeds, the thin line from the lowest to the highest seed), the dark bar the mean over "
        "folds: folds that lie far apart mean that another split would give another number.",
        fold_scores.data,
        fold_scores.draw,
    ),
    "kaplan_meier": FigureKind(
        "Risk groups",
        "The curves show the share of patients without an event in the group that the model called low and high risk; they should "
        "lie apart, and small ticks are patients whose follow-up ended there.",
        kaplan_meier.data,
        kaplan_meier.draw,
    ),
    "calibration": FigureKind(
        "Calibration",
        "Each point is a group of patients with similar predictions, its line a 95% interval; points on the dashed diagonal mean "
        "that as many patients stayed without an event as was predicted, points above it that the model was too pessimistic.",
        calibration.data,
        calibration.draw,
    ),
    "subtype_confusion": FigureKind(
        "Which subtype is taken for which",
        "Rows are the observed subtypes and columns the most probable ones, each with its patients (mean over seeds) and their share of "
        "the row: blue where the model is right, orange where it takes one subtype for another, stronger for a larger share.",
        subtype_confusion.data,
        subtype_confusion.draw,
    ),
    "component_cosines": FigureKind(
        "How alike the components are",
        "A line rises where patients have that cosine: specific components should have nothing in common (near 0), and what the "
        "modalities share should be the same from wherever it is read (near 1); the mean stands beside the name.",
        component_cosines.data,
        component_cosines.draw,
    ),
    "component_map": FigureKind(
        "Whether the components add up",
        "Each number is the mean cosine over patients (± standard deviation) of a modality's global vector, in rows, with a sum of "
        "specific and shared component, in columns: high on the diagonal, where the sum should be the vector, and low elsewhere.",
        component_map.data,
        component_map.draw,
    ),
    "training_curves": FigureKind(
        "Training",
        "A line is one term of the loss on the training patients, averaged over all fits, its band from the lowest to the highest "
        "fit; it should fall and level off.",
        training_curves.data,
        training_curves.draw,
    ),
}
