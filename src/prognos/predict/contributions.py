"""What the risk of one patient rests on: pathways by leaving each out, patches by the map that the model shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from prognos.cohort import Cohort
from prognos.interpret.maps import PatientMaps, maps_of
from prognos.training import Fitted, Folder
from prognos.types import Bag

MOST_MODELS = 5
"""Models of an ensemble that are looked into: those that come first, which are the folds of the first seed."""

N_PATCHES = 5

PATHWAY_COLUMNS = ("pathway", "attribution", "agreement")
PATCH_COLUMNS = ("slide_id", "x", "y", "side", "percentile")


@dataclass(frozen=True)
class Contributions:
    """What moves the risk of one patient.

    Args:
        pathways: pathway, attribution (by how much the risk is higher than without the pathway, mean over the models), agreement (share of
            the models that say the same direction); the largest first, whichever the direction.
        patches: slide_id, x, y, side (level-0 pixels), percentile among the patient's patches (mean over the models); the highest first.
        shown: what the number of a patch is.
        n_models: how many models were looked into.
        notes: why something is not here.
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
    attributions: list[Mapping[str, float]] = []
    maps: list[PatientMaps] = []
    notes: dict[str, None] = {}
    part = cohort.subset((patient,))
    for folder in folders[:MOST_MODELS]:
        fitted = Fitted.load(folder)
        for bag, prediction in fitted.predictions(part, (patient,), without=tuple(without)):
            if "omics" in bag and bool(bag["omics"].present[0]):
                attributions.append(pathway_removals(fitted, part, bag))
                if not attributions[-1]:
                    notes["No gene sets were given, so that no pathway can be left out (--gene-sets hallmark=FILE)."] = None
            if "histology" in bag and bool(bag["histology"].present[0]):
                try:
                    maps.append(maps_of(fitted.model, fitted.name, part, bag, prediction))
                except ValueError as reason:  # a model without maps, or slides without coordinates: no patches, and the page says why
                    notes[f"No patches: {reason}"] = None
    patches, shown = _top_patches(maps)
    return Contributions(_ranked(attributions), patches, shown, min(MOST_MODELS, len(folders)), tuple(notes))


def pathway_removals(fitted: Fitted, cohort: Cohort, bag: Bag) -> dict[str, float]:
    """By how much the risk of the first patient of a bag is higher with each pathway than without it.

    Without: the pathway's scaled values are 0, which is the training median of RNA, the neutral copy number and no mutation. In a model
    of pathway tokens a gene of two pathways stays in the other one.

    Args:
        fitted: the model.
        cohort: whose gene sets are the pathways of a model that reads genes; `hallmark`, else the first.
        bag: of one patient, as `Fitted.predictions` gives it.
    """
    pathways = pathway_places(fitted, cohort)
    if not pathways:
        return {}
    with torch.no_grad():
        whole = _risk(fitted, bag, bag["omics"].values)
        values = {name: _removed(bag["omics"].values, places, tokens=fitted.inputs.pathways) for name, places in pathways.items()}
        return {name: whole - _risk(fitted, bag, removed) for name, removed in values.items()}


def pathway_places(fitted: Fitted, cohort: Cohort) -> dict[str, list[int]]:
    """For each pathway, its token in a model of pathways, or the places of its features in a model of genes."""
    assert fitted.inputs.omics is not None, "a bag with omics has a scaler of them"
    schema = fitted.inputs.omics.schema
    if fitted.inputs.pathways:
        return {name: [token] for token, name in enumerate(schema.pathways)}
    sets = cohort.gene_sets.get("hallmark") or next(iter(cohort.gene_sets.values()), {})
    members = {name: frozenset(genes) for name, genes in sets.items()}
    found = {name: [place for place, (_, gene) in enumerate(schema.features) if gene in genes] for name, genes in members.items()}
    return {name: places for name, places in found.items() if places}


def _removed(values: Tensor, places: Sequence[int], *, tokens: bool) -> Tensor:
    changed = values.clone()
    if tokens:
        changed[:, list(places)] = 0
    else:
        changed[:, :, list(places)] = 0
    return changed


def _risk(fitted: Fitted, bag: Bag, omics: Tensor) -> float:
    changed = replace(bag, modalities={**bag.modalities, "omics": replace(bag["omics"], values=omics)})
    device = omics.device
    given = changed if fitted.filler is None else fitted.filler(changed.to("cpu")).to(device)
    return float(fitted.model(given).risk[0])


def _ranked(attributions: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """Mean and agreement over the models, the largest mean first."""
    table = pd.DataFrame(list(attributions))
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
