"""What the risk of one patient rests on: pathways by integrated gradients, patches by the map that the model shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from prognos.cohort import Cohort
from prognos.evidence.attributions import OmicsAttributions, attributions_of, pathways_of, unexplained
from prognos.evidence.tables import INCOMPLETE
from prognos.interpret.maps import PatientMaps, maps_of
from prognos.training import Fitted, Folder

MOST_MODELS = 5
"""Models of an ensemble that are looked into: those that come first, which are the folds of the first seed."""

N_PATCHES = 5

PATHWAY_COLUMNS = ("pathway", "attribution", "agreement")
PATCH_COLUMNS = ("slide_id", "x", "y", "side", "percentile")


@dataclass(frozen=True)
class Contributions:
    """What moves the risk of one patient.

    Args:
        pathways: pathway, attribution (by how much it raises the risk, mean over the models), agreement (share of the models that say the
            same direction); the largest first, whichever the direction. They sum to the difference of the risk to that of the same
            patient with every measurement at the training median.
        patches: slide_id, x, y, side (level-0 pixels), percentile among the patient's patches (mean over the models); the highest first.
        shown: what the number of a patch is.
        n_models: how many models were looked into.
        notes: why something is not here, or not to be relied on.
    """

    pathways: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PATHWAY_COLUMNS)))
    patches: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PATCH_COLUMNS)))
    shown: str = ""
    n_models: int = 0
    notes: tuple[str, ...] = ()


def contributions(folders: Sequence[Folder], cohort: Cohort, patient: str, *, without: Sequence[str] = ()) -> Contributions:
    """What the risk of a patient rests on, over at most `MOST_MODELS` of the models of some folders.

    Args:
        folders: of the fitted models.
        cohort: has the patient, and gene sets for models that read genes without pathways.
        patient: id.
        without: modalities that the patient is taken not to have.
    """
    attributions: list[OmicsAttributions] = []
    maps: list[PatientMaps] = []
    notes: dict[str, None] = {}
    part, gene_sets = cohort.subset((patient,)), pathways_of(cohort)
    for folder in folders[:MOST_MODELS]:
        fitted = Fitted.load(folder)
        for bag, prediction in fitted.predictions(part, (patient,), without=tuple(without)):
            found = attributions_of(fitted, bag)
            if found is not None and not (gene_sets or found.pathways):
                notes["No gene sets were given, so that genes cannot be summed up by pathways (--gene-sets hallmark=FILE)."] = None
            elif found is not None:
                attributions.append(found)
            if "histology" in bag and bool(bag["histology"].present[0]):
                try:
                    maps.append(maps_of(fitted.model, fitted.name, part, bag, prediction))
                except ValueError as reason:  # a model without maps, or slides without coordinates: no patches, and the page says why
                    notes[f"No patches: {reason}"] = None
    lack = unexplained(attributions)
    if lack > INCOMPLETE:
        notes[f"The pathways lack {lack:.0%} of the difference to the training median: read them as a rough ranking."] = None
    patches, shown = _top_patches(maps)
    return Contributions(
        _ranked([one.by_pathway(gene_sets).iloc[0] for one in attributions]), patches, shown, min(MOST_MODELS, len(folders)), tuple(notes)
    )


def _ranked(attributions: Sequence[pd.Series]) -> pd.DataFrame:
    """Mean and agreement over the models, the largest mean first."""
    table = pd.DataFrame([one.to_dict() for one in attributions])
    if table.empty:
        return pd.DataFrame(columns=list(PATHWAY_COLUMNS))
    mean = table.mean()
    agreement = (np.sign(table) == np.sign(mean)).mean()
    ranked = pd.DataFrame({"pathway": mean.index, "attribution": mean.to_numpy(), "agreement": agreement.to_numpy()})
    order = np.argsort(-ranked["attribution"].abs().to_numpy(), kind="stable")
    return ranked.iloc[order].reset_index(drop=True)


def _top_patches(maps: Sequence[PatientMaps]) -> tuple[pd.DataFrame, str]:
    """The patches whose mean percentile over the models is highest, in the first map that tells patches apart in all of them."""
    if not maps:
        return pd.DataFrame(columns=list(PATCH_COLUMNS)), ""
    common = [kind for kind in maps[0].telling if all(kind.name in {other.name for other in one.telling} for one in maps)]
    if not common:
        return pd.DataFrame(columns=list(PATCH_COLUMNS)), ""
    kind = common[0]
    parts = []
    for number, slide in enumerate(maps[0].slides):
        percentile = np.mean([one.slides[number].percentiles[kind.name] for one in maps], axis=0)
        corner = {"x": slide.places.coords[:, 0], "y": slide.places.coords[:, 1], "side": slide.places.side}
        parts.append(pd.DataFrame({"slide_id": slide.slide_id, **corner, "percentile": np.round(percentile, 1)}))
    table = pd.concat(parts, ignore_index=True)
    order = np.argsort(-table["percentile"].to_numpy(), kind="stable")[:N_PATCHES]
    return table.iloc[order].reset_index(drop=True), f"{kind.name}: {kind.meaning}"
