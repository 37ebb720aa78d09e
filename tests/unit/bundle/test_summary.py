from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from prognos.bundle import TrainingSummary, absent_genes
from prognos.cohort import Cohort
from prognos.cohort.clinical import ClinicalEncoder
from prognos.omics import OmicsScaler, OmicsSchema
from prognos.tokens.inputs import Inputs, InputsConfig
from prognos.training import Fitted

N_PATIENTS = 100
GENES = [f"G{number}" for number in range(20)]


def cohort_of(values, ages=None):
    """Patients with one omics table and an age."""
    index = pd.Index([f"p{row}" for row in range(len(values))], dtype=object, name="patient_id")
    ages = np.full(len(values), 60.0) if ages is None else ages
    return Cohort(
        name="made",
        endpoint="",
        clinical=pd.DataFrame({"age": ages}, index=index),
        time=np.full(len(values), np.nan),
        event=np.zeros(len(values), dtype=bool),
        slides=pd.DataFrame({"slide_id": [], "patient_id": [], "path": [], "n_patches": []}),
        tables={"rna": pd.DataFrame(values, index=index, columns=GENES)},
        omics_kinds=("rna",),
        gene_sets={},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=0,
        subtype=None,
    )


@pytest.fixture(scope="module")
def train():
    generator = np.random.default_rng(0)
    return cohort_of(generator.normal(size=(N_PATIENTS, len(GENES))), np.linspace(30.0, 80.0, N_PATIENTS))


@pytest.fixture(scope="module")
def inputs(train):
    scaler = OmicsScaler.learn(train.tables, OmicsSchema.build(train.tables, ("rna",)), train.patients)
    return Inputs(("omics", "clinical"), InputsConfig(), omics=scaler, clinical=ClinicalEncoder.learn(train.clinical))


@pytest.fixture(scope="module")
def summary(train, inputs):
    folds = pd.Series(np.arange(N_PATIENTS) % 5, index=list(train.patients))
    return TrainingSummary.learn(train, folds, inputs)


def where(summary, cohort, inputs, **options):
    return [[reason.where for reason in reasons] for reasons in summary.unusual(cohort, cohort.patients, inputs, **options).values()]


def test_about_one_in_twenty_patients_like_those_of_training_is_unusual(summary, inputs):
    new = cohort_of(np.random.default_rng(1).normal(size=(1000, len(GENES))))
    flagged = np.mean([bool(reasons) for reasons in where(summary, new, inputs)])
    assert 0.005 < flagged < 0.12  # each of two distances at 97.5 of 100, from 100 patients


def test_limits_are_learnt_from_held_out_patients_and_not_from_those_that_were_learnt_from(train, summary, inputs):
    spread = summary.spreads["omics"]
    seen = spread.distances(train.tables["rna"].to_numpy(dtype=float))[:, 1]
    assert summary.distances["omics"]["off"][-1] > np.percentile(seen, 97.5)


def test_shifted_genes_are_unusual(summary, inputs):
    new = cohort_of(np.random.default_rng(1).normal(size=(5, len(GENES))) * 4)
    assert all("omics" in reasons for reasons in where(summary, new, inputs))
    assert where(summary, new, inputs, without=("omics",)) == [[]] * 5


def test_an_age_beyond_the_training_patients_is_unusual_and_told_with_the_range(summary, inputs):
    new = cohort_of(np.zeros((2, len(GENES))), np.array([95.0, 60.0]))
    reasons = summary.unusual(new, new.patients, inputs)
    # the 1st and 99th percentile of 30 .. 80
    assert [reason.text for reason in reasons["p0"]] == ["age is 95; of the training patients 98 of 100 lie from 30.5 to 79.5."]
    assert reasons["p1"] == ()


def test_absent_genes_are_named_and_unusual_from_a_twentieth_on(summary, inputs):
    new = cohort_of(np.zeros((1, len(GENES))))
    one, two = (replace(new, tables={"rna": new.tables["rna"].drop(columns=GENES[:number])}) for number in (1, 2))
    assert absent_genes(one, inputs) == ("rna G0",)
    assert where(summary, one, inputs) == [[]]  # 1 of 20 is not more than 5 of 100
    assert [reason.text for reason in summary.unusual(two, two.patients, inputs)["p0"]] == [
        "10% of the omics features that the model reads are absent (rna G0, rna G1)."
    ]


def test_a_summary_comes_back_from_its_numbers(summary, inputs):
    plain, arrays = summary.state()
    again = TrainingSummary.from_state(plain, arrays)
    new = cohort_of(np.random.default_rng(2).normal(size=(20, len(GENES))) * 2)
    assert again.unusual(new, new.patients, inputs) == summary.unusual(new, new.patients, inputs)


def test_the_distances_kept_are_percentiles_and_not_patients(summary):
    # 19 levels from 5 to 95 and the limit, whatever the number of patients
    assert [len(levels) for levels in summary.distances["omics"].values()] == [20, 20]
    assert all(np.ndim(array) < 2 or array.shape[0] <= 10 for array in summary.state()[1].values())


def test_of_few_patients_no_spread_is_learnt(train, inputs):
    few = train.subset(train.patients[:19])
    folds = pd.Series(np.arange(19) % 2, index=list(few.patients))
    summary = TrainingSummary.learn(few, folds, inputs)
    assert dict(summary.spreads) == {}
    assert set(summary.ranges) == {"age"}


def test_slides_are_looked_at_by_their_mean_patch_and_their_number(late_fusion, cohort_folder):
    cohort = Cohort.read(cohort_folder)
    inputs = Fitted.load(late_fusion.folders[0]).inputs
    assert late_fusion.training.patients["histology"] == int(cohort.has("histology").sum())
    slides = cohort.slides.assign(n_patches=5000)
    found = late_fusion.training.unusual(replace(cohort, slides=slides), cohort.patients, inputs)
    having = np.array(cohort.patients)[cohort.has("histology")]
    assert all("patches" in {reason.where for reason in found[patient]} for patient in having)
