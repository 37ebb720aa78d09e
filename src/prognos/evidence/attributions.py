"""What genes and pathways add to the risk that a fitted model gives: integrated gradients, summed as a reader asks for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from prognos.cohort import Cohort
from prognos.interpret.gradients import integrated_gradients
from prognos.omics import OmicsSchema
from prognos.tokens.inputs import DEFAULT_GENE_SET
from prognos.training import Fitted
from prognos.types import Bag

IN_NO_SET = "genes of no pathway"
"""Where the attributions of genes go that no gene set names, in models that read genes without pathways."""


@dataclass(frozen=True)
class OmicsAttributions:
    """What the omics features add to the risks of some patients.

    Args:
        patients: ids of those who have omics.
        values: by how much each token's feature raises the risk; one token of all features in models of genes.
        risk: what the model says.
        baseline: what it says with every feature at 0: median RNA, neutral copy number, no mutation.
        schema: which feature stands where.
        pathways: whether tokens are pathways.
    """

    patients: tuple[str, ...]
    values: Float[np.ndarray, "patients tokens width"]
    risk: Float[np.ndarray, " patients"]
    baseline: Float[np.ndarray, " patients"]
    schema: OmicsSchema
    pathways: bool

    @property
    def unexplained(self) -> float:
        """See `unexplained`, of these patients."""
        return unexplained((self,))

    def by_feature(self) -> Float[np.ndarray, "patients features"]:
        """One number a feature of the schema; a feature of several pathways has the sum over them."""
        if not self.pathways:
            return self.values[:, 0]
        found = np.zeros((len(self.patients), len(self.schema.features)))
        for token, places in enumerate(self.schema.members):
            found[:, list(places)] += self.values[:, token, : len(places)]
        return found

    def by_pathway(self, gene_sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """One column a pathway, index the patients; rows sum to what the attributions of all features sum to.

        Args:
            gene_sets: the pathways of a model of genes: the attribution of a gene that several of them name is shared equally between
                these, and what none names stands in a column of its own. A model of pathways has its own, and they are not looked at.
        """
        if self.pathways:
            return pd.DataFrame(self.values.sum(axis=2), index=list(self.patients), columns=list(self.schema.pathways))
        members = {name: frozenset(genes) for name, genes in gene_sets.items()}
        belongs = np.array([[gene in genes for genes in members.values()] for _, gene in self.schema.features], dtype=float)
        belongs = belongs.reshape(len(self.schema.features), len(members))
        named = belongs.sum(axis=1, keepdims=True)
        shares = np.divide(belongs, named, out=np.zeros_like(belongs), where=named > 0)
        found = pd.DataFrame(self.values[:, 0] @ shares, index=list(self.patients), columns=list(members))
        found = found.loc[:, belongs.any(axis=0)]
        return found.assign(**{IN_NO_SET: self.values[:, 0] @ (named[:, 0] == 0)}) if (named == 0).any() else found


def unexplained(found: Sequence[OmicsAttributions]) -> float:
    """The part of the risk differences to the baseline that attributions do not sum to: sum |lack| / sum |difference|, over all patients.

    NaN where the models say the same with and without omics.
    """
    differences = [one.risk - one.baseline for one in found]
    lack = sum(np.abs(difference - one.values.sum(axis=(1, 2))).sum() for difference, one in zip(differences, found, strict=True))
    whole = sum(np.abs(difference).sum() for difference in differences)
    return float(lack / whole) if whole > 0 else float("nan")


def omics_attributions(fitted: Fitted, cohort: Cohort, patients: Sequence[str]) -> OmicsAttributions:
    """What each omics feature adds to the risks of those patients who have omics, from all their patches.

    Raises:
        ValueError: the model reads no omics, or none of the patients has any.
    """
    if fitted.inputs.omics is None:
        raise ValueError(f"{fitted.name} reads no omics, so there is nothing to attribute to genes: choose a model that does.")
    found = [one for bag, _ in fitted.predictions(cohort, patients) if (one := attributions_of(fitted, bag)) is not None]
    if not found:
        raise ValueError(f"none of the {len(patients)} patients has omics that {fitted.name} reads: choose others.")
    return replace(
        found[0],
        patients=tuple(patient for one in found for patient in one.patients),
        values=np.concatenate([one.values for one in found]),
        risk=np.concatenate([one.risk for one in found]),
        baseline=np.concatenate([one.baseline for one in found]),
    )


def attributions_of(fitted: Fitted, bag: Bag) -> OmicsAttributions | None:
    """The same of the patients of one bag, as `Fitted.predictions` gives it; None where nobody in it has omics, or the model reads none."""
    if fitted.inputs.omics is None or not bool(bag["omics"].present.any()):
        return None
    has = torch.nonzero(bag["omics"].present).flatten().tolist()
    found = integrated_gradients(fitted.model, _part(_given(fitted, bag), has))
    return OmicsAttributions(
        found.patients, found.values, found.risk, found.baseline, schema=fitted.inputs.omics.schema, pathways=fitted.inputs.pathways
    )


def pathway_attributions(fitted: Fitted, cohort: Cohort, patients: Sequence[str]) -> pd.DataFrame:
    """By how much each pathway raises the risk of each patient who has omics: patient_id, pathway, attribution.

    The attributions of a patient sum to the difference of the risk to that with median RNA, neutral copy number and no mutation, as far
    as `OmicsAttributions.unexplained` says.

    Args:
        fitted: a model that reads omics.
        cohort: has the patients, and gene sets for models that read genes without pathways.
        patients: whose risks.

    Raises:
        ValueError: the model reads no omics, or none of the patients has any.
    """
    return long_form(omics_attributions(fitted, cohort, patients).by_pathway(pathways_of(cohort)))


def pathways_of(cohort: Cohort) -> Mapping[str, Sequence[str]]:
    """The gene sets by which genes are summed up: `hallmark`, else the first collection, else none."""
    return cohort.gene_sets.get(DEFAULT_GENE_SET) or next(iter(cohort.gene_sets.values()), {})


def long_form(by_pathway: pd.DataFrame) -> pd.DataFrame:
    """patient_id, pathway, attribution of a table of patients x pathways."""
    patients, pathways = by_pathway.index.to_numpy(object), by_pathway.columns.to_numpy(object)
    keys = {"patient_id": np.repeat(patients, len(pathways)), "pathway": np.tile(pathways, len(patients))}
    return pd.DataFrame({**keys, "attribution": by_pathway.to_numpy(float).ravel()})


def _given(fitted: Fitted, bag: Bag) -> Bag:
    """The bag as the model gets it, where something else fills in what patients lack."""
    if fitted.filler is None:
        return bag
    device = bag["omics"].values.device
    return fitted.filler(bag.to("cpu")).to(device)


def _part(bag: Bag, places: Sequence[int]) -> Bag:
    """Some of the patients of a bag."""
    index = torch.tensor(list(places), device=bag["omics"].values.device)
    return Bag(tuple(bag.patients[place] for place in places), {name: tokens.of(index) for name, tokens in bag.modalities.items()})
