"""A small cohort in memory, and a fit that needs no training."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from prognos import files
from prognos.cohort import Cohort
from prognos.config import make_recipe
from prognos.study.run import run_cohorts
from prognos.training import FitProgress, Fitted


def make_cohort(name="small", n_patients=20, *, slides=True, omics=True, gene_sets=True, folds=True, kinds=("rna",)):
    """Patients p00, p01 ... at two sites; p00 has no slide, p01 no omics; fold = number of the patient modulo 2."""
    patients = [f"p{number:02d}" for number in range(n_patients)]
    index = pd.Index(patients, name="patient_id")
    clinical = pd.DataFrame({"age": 50.0 + np.arange(n_patients), "site": ["a", "b"] * (n_patients // 2)}, index=index)
    slide_table = pd.DataFrame(
        {
            "slide_id": [f"s{patient}" for patient in patients[1:]],
            "patient_id": patients[1:],
            "path": [f"/nowhere/s{patient}.h5" for patient in patients[1:]],
            "n_patches": 7,
        }
    )
    with_omics = index[[0, *range(2, n_patients)]]
    table = pd.DataFrame(np.arange(2.0 * len(with_omics), dtype=np.float32).reshape(-1, 2), index=with_omics, columns=["G1", "G2"])
    return Cohort(
        name=name,
        endpoint="os",
        clinical=clinical,
        time=100.0 + 10.0 * np.arange(n_patients),
        event=np.arange(n_patients) % 3 != 0,
        slides=slide_table if slides else slide_table.iloc[:0],
        tables={kind: table for kind in kinds} if omics else {},
        omics_kinds=tuple(kinds) if omics else (),
        gene_sets={"hallmark": {"SET": ("G1", "G2")}} if gene_sets else {},
        folds=pd.Series(np.arange(n_patients) % 2, index=index, name="fold") if folds else None,
        exclusions=(),
        notes=(),
        d_patch=3 if slides else 0,
        subtype=None,
    )


class StubModel(torch.nn.Linear):
    """A model of two weights and a bias, without prototypes."""

    def prototype_banks(self):
        return {}


@dataclass(frozen=True)
class StubFitted:
    """The risk of a patient is a number that depends on the patient, the seed and the patients it was fitted on."""

    patients: tuple
    seed: int
    log: pd.DataFrame
    threshold: float = 0.25
    similar: bool = False
    classes: tuple = ()

    @property
    def model(self):
        return StubModel(2, 1)

    def gene_groups(self):
        return pd.DataFrame(columns=["kind", "gene", "group", "share"])

    def predict(self, cohort, patients=None, *, without=(), absent=None, horizons=None):
        lost = [len(without) + len((absent or {}).get(patient, ())) for patient in cohort.patients]
        risk = np.array([int(patient[1:]) / 7 + self.seed + len(self.patients) / 100 for patient in cohort.patients]) - np.array(lost)
        curves = np.exp(-np.outer(np.exp(risk / 10), np.asarray(horizons) / 1000))
        nothing = np.array(lost) >= 2
        cosines = np.where([patient == "p04" for patient in cohort.patients], np.nan, risk / 100)
        return SimpleNamespace(
            patients=cohort.patients,
            risk=risk,
            horizons=horizons,
            survival=curves,
            without_input=nothing,
            not_converged=nothing & False,
            similarities={("specific a", "specific b"): cosines} if self.similar else {},
            subtypes=self.classes,
            subtype_probabilities=self.probabilities(risk) if self.classes else None,
        )

    def probabilities(self, risk):
        """The higher the risk, the more probable the first class."""
        scores = np.exp(np.outer(risk / 10, np.arange(len(self.classes), 0, -1)))
        return scores / scores.sum(axis=1, keepdims=True)

    def save(self, folder):
        files.write_json(Path(folder) / "fitted.json", {"seed": self.seed})
        files.write_csv(Path(folder) / "log.csv", self.log)


class StubFit:
    """Records what it was given; fails for models named in `failing`."""

    def __init__(self):
        self.calls = []
        self.failing = {}
        self.similar = set()
        self.classes = {}

    def __call__(self, cohort, model, *, seed, config, training, inputs, options):
        self.calls.append(SimpleNamespace(cohort=cohort, model=model, seed=seed, config=config, training=training, options=options))
        if model in self.failing:
            raise self.failing[model]
        epochs = training.get("epochs", 4)
        log = pd.DataFrame({"stage": "main", "epoch": range(epochs), "step": range(epochs)})
        if options.validation is not None:
            log["validation_concordance"] = [0.5, 0.7, 0.7, 0.6][:epochs]
        options.progress(FitProgress("main", epochs, epochs, 0.0))
        return StubFitted(cohort.patients, seed, log, similar=model in self.similar, classes=self.classes.get(model, ()))

    def load(self, folder):
        assert (Path(folder) / "fitted.json").is_file()
        return Fitted.__new__(Fitted)


@pytest.fixture
def stub_fit():
    return StubFit()


@pytest.fixture
def cohort():
    return make_cohort()


@pytest.fixture
def build():
    """Makes cohorts that differ from the small one."""
    return make_cohort


@pytest.fixture
def study_of(cohort, stub_fit, tmp_path):
    """Runs a study of the small cohort with the stub."""

    def study(models=("null", "snn"), own=cohort, out="run", resume=False, fit=stub_fit, **sections):
        values = {"cohort": {"path": str(tmp_path / own.name)}, **sections}
        values["study"] = {
            "models": list(models),
            "workers": 1,
            "replicates": 0,
            "metrics": ["concordance", "integrated_brier"],
            **sections.get("study", {}),
        }
        return run_cohorts(make_recipe(values), {own.name: own}, tmp_path / out, resume=resume, training=(fit, fit.load))

    return study
