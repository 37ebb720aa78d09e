"""Bags of real patients, where the cohorts lie beside the repository."""

import numpy as np
import pytest

from prognos.cohort import Cohort
from prognos.tokens import Inputs


@pytest.mark.slow
def test_breast_cancer_patients_become_bags(shared_data, needs):
    cohort = Cohort.read(shared_data / "tcga-brca", endpoint="dss", gene_sets={"hallmark": shared_data / "gene-sets" / "hallmark.gmt"})
    chosen = cohort.subset([patient for patient, has in zip(cohort.patients, cohort.has("histology"), strict=True) if has][:60])
    inputs = Inputs.learn(chosen, needs(("histology", "omics", "clinical"), "pathways", "hallmark"))
    assert len(inputs.shape.pathway_features) == 50
    assert inputs.shape.n_genes == sum(len(set(inputs.omics.schema.genes(kind))) for kind in cohort.omics_kinds)
    reader = inputs.reader(chosen)
    bag = reader.bag(chosen.patients[:8], n_patches=256, generator=np.random.default_rng(0))
    assert bag["histology"].values.shape == (8, 256, cohort.d_patch)
    assert bag["omics"].values.abs().max() <= 5
    assert not bag["omics"].values.isnan().any()
    n_slides = chosen.slides.groupby("patient_id").size()
    several = n_slides.index[n_slides > 1][0]
    table = chosen.slides[chosen.slides["patient_id"] == several]
    assert reader.n_patches(several) == table["n_patches"].sum()


def test_head_and_neck_patients_have_patches_and_blood_but_no_genes(shared_data, needs):
    cohort = Cohort.read(shared_data / "hancock", endpoint="os", modalities={"blood": "blood.csv"})
    chosen = cohort.subset(cohort.patients[:40])
    inputs = Inputs.learn(chosen, needs(("histology", "blood")))
    bag = inputs.reader(chosen).bag(chosen.patients)
    assert bag["histology"].values.shape[2] == cohort.d_patch
    assert int(bag["histology"].mask.sum(dim=1).max()) <= 8
    assert bag["blood"].values.shape == (40, 1, len(cohort.tables["blood"].columns))
    assert bag["blood"].values.abs().max() <= 5
