"""A run of a few small models on simulated patients, and a bundle of it."""

from pathlib import Path

import pytest

from prognos import cross_validate
from prognos.bundle import Bundle, make_bundle
from prognos.cohort.simulate import Truth, simulate

N_PATIENTS, N_FOLDS = 48, 2
VARIANT = {"name": "narrow", "models": ["snn"], "set": {"model.snn.d_model": 4}}


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    """48 patients of six sites; about a fifth lack slides and a fifth lack omics."""
    truth = Truth(shared=1.0, censoring=0.3, missing={"histology": 0.2, "omics": 0.2})
    place = tmp_path_factory.mktemp("bundles") / "sim"
    return simulate(place, truth, n_patients=N_PATIENTS, n_sites=6, d_patch=10, patches=(5, 8), seed=5)


@pytest.fixture(scope="session")
def run(cohort_folder) -> Path:
    """null, clinical, snn, abmil and late fusion on two folds, one epoch each."""
    training = {"epochs": 1, "batch_size": 8, "device": "cpu"}
    study = {"n_folds": N_FOLDS, "replicates": 20, "workers": 1, "variants": [VARIANT]}
    sections = {"training": training, "study": study, "model": {name: {"d_model": 8} for name in ("snn", "abmil")}}
    models = ["null", "clinical", "snn", "abmil", "late-fusion"]
    return cross_validate(cohort_folder, models, [1], out=cohort_folder.parent / "run", **sections).folder


@pytest.fixture(scope="session")
def late_fusion(run) -> Bundle:
    """A zip of late fusion, which reads slides and genes."""
    return make_bundle(run, "late-fusion", run.parent / "late-fusion.zip")
