"""Every figure of the report, written out: what it is called, how to read it, its data and its drawing."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures import (
    calibration,
    cohort_overview,
    component_cosines,
    component_map,
    cumulative_incidence,
    decision_curve,
    distribution_calibration,
    exclusion_flow,
    fold_scores,
    forest,
    gene_ranking,
    kaplan_meier,
    pathway_attention,
    pathway_prototypes,
    pathway_ranking,
    prototype_map,
    prototype_pathways,
    robustness,
    sensitivity,
    subtype_confusion,
    token_map,
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
    "cohort_overview": FigureKind(
        "Patients",
        "Each column is a group of patients, those with an event below in orange and those of whom none was seen above in blue: by what "
        "was measured of them (dots below), by the year of the event or the last look, and by site.",
        cohort_overview.data,
        cohort_overview.draw,
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
    "distribution_calibration": FigureKind(
        "D-calibration",
        "Each bar is the share of patients whose predicted survival at their own time lies in that tenth, and all bars end at the dashed "
        "line if the curves are right; bars high at the left mean that events come earlier than predicted, at both ends that the model is "
        "too sure.",
        distribution_calibration.data,
        distribution_calibration.draw,
    ),
    "decision_curve": FigureKind(
        "Decision curves",
        "From left to right patients are treated only at ever higher predicted probabilities; the strategy whose line is highest at the "
        "threshold that you would choose serves patients best, and a model below “treat nobody” does harm there.",
        decision_curve.data,
        decision_curve.draw,
    ),
    "cumulative_incidence": FigureKind(
        "Incidence beside competing events",
        "A full line rises to the share of the risk group that has had the event by then; the thin broken line of the same colour is "
        "1 − Kaplan-Meier, and the gap between them is what it overstates.",
        cumulative_incidence.data,
        cumulative_incidence.draw,
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
    "pathway_ranking": FigureKind(
        "Pathways that move the risk",
        "A dot is a pathway's share of all that the omics add to or take from the risks of held-out patients (integrated gradients, mean "
        "over fits), its line from the lowest to the highest fit: where lines overlap, the order is chance.",
        pathway_ranking.data,
        pathway_ranking.draw,
    ),
    "gene_ranking": FigureKind(
        "Genes that move the risk",
        "A dot is a gene's share of what the strongest genes add to or take from the risks of held-out patients (mean over fits), its line "
        "from the lowest to the highest fit, 0 where a fit does not have it among its strongest.",
        gene_ranking.data,
        gene_ranking.draw,
    ),
    "pathway_attention": FigureKind(
        "Pathways that are looked at",
        "A dot is a pathway's share of the attention to pathways (mean over held-out patients and fits), its line from the lowest to the "
        "highest fit; shares near the equal one say that the model tells no pathway from another.",
        pathway_attention.data,
        pathway_attention.draw,
    ),
    "prototype_map": FigureKind(
        "Prototypes",
        "Numbers are prototypes, close together where they are alike (t-SNE: distances between groups mean nothing); discs and rings are "
        "as large as the share of patches and pathways that a prototype takes first, and one large disc means that the others are idle.",
        prototype_map.data,
        prototype_map.draw,
    ),
    "pathway_prototypes": FigureKind(
        "Prototypes of each pathway",
        "In each row the eight prototypes of which the pathway has most weight, the darker the more (mean over held-out patients): rows "
        "that are alike mean that the prototypes do not tell pathways apart.",
        pathway_prototypes.data,
        pathway_prototypes.draw,
    ),
    "prototype_pathways": FigureKind(
        "Pathways of each prototype",
        "A bar counts the pathways that have the prototype among their eight strongest; the dashed line is where all bars would end if "
        "every prototype served as many.",
        prototype_pathways.data,
        prototype_pathways.draw,
    ),
    "token_map": FigureKind(
        "Tokens before and after APART",
        "Marks are tokens of held-out patients, close together where they are alike (t-SNE: only neighbourhoods mean something); the share "
        "below is counted among the vectors themselves, and if it is high before, APART had nothing left to part.",
        token_map.data,
        token_map.draw,
    ),
    "sensitivity": FigureKind(
        "What a setting changes",
        "Marks are the concordance with its 95% interval for each value of one setting, the ringed one being the base; intervals that "
        "overlap as far as this mean that the setting does not matter here, or that the cohort is too small to tell.",
        sensitivity.data,
        sensitivity.draw,
    ),
    "training_curves": FigureKind(
        "Training",
        "A line is one term of the loss on the training patients, averaged over all fits, its band from the lowest to the highest "
        "fit; it should fall and level off.",
        training_curves.data,
        training_curves.draw,
    ),
}
