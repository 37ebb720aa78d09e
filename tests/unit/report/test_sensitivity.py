from dataclasses import replace

import numpy as np
import pytest
from tests.unit.report.evidence_of_a_run import COHORT, RECIPE, with_variants

from prognos.report.figures import cohort_overview
from prognos.report.fits import FitFacts
from prognos.report.run_folder import CohortFacts, RunFolder
from prognos.report.sensitivity import in_words, sensitivity, settings_of, value_of


def test_a_key_has_a_panel_with_the_value_of_the_base_among_those_of_the_variants(finished: RunFolder):
    rows = sensitivity(with_variants(finished), COHORT)
    weight = rows[rows.panel == "tta: contrast_weight"]
    assert weight.number.tolist() == [0.02, 0.5, 2.0]
    assert weight["mean"].tolist() == [0.66, 0.662, 0.64]
    assert weight.base.tolist() == [False, True, False]
    assert weight.pattern.unique().tolist() == ["complete"]


def test_settings_that_are_no_numbers_are_categories(finished: RunFolder):
    rows = sensitivity(with_variants(finished), COHORT)
    assert rows[rows.panel == "tta: co_attention"].value.tolist() == ["full", "cross"]
    assert np.isnan(rows[rows.panel == "tta: co_attention"].number).all()
    assert rows[rows.panel == "tta: several settings"].value.tolist() == ["the base", "neither"]


def test_a_variant_that_was_not_applicable_has_no_panel(finished: RunFolder):
    run = with_variants(finished)
    run = replace(run, comparison=run.comparison[run.comparison.variant != "cross"])
    assert "tta: co_attention" not in set(sensitivity(run, COHORT).panel)


def test_a_variant_without_models_is_of_those_whose_settings_it_changes():
    assert [(setting.model, setting.key) for setting in settings_of(RECIPE)][-1] == ("tta", "several settings")
    common = '[study]\nmodels = ["snn", "tta"]\n[[study.variants]]\nname = "long"\nset = { "training.epochs" = 50 }\n'
    assert [(setting.model, setting.key, setting.value) for setting in settings_of(common)] == [
        ("snn", "training.epochs", 50),
        ("tta", "training.epochs", 50),
    ]


@pytest.mark.parametrize("recipe", ["", "no = toml = at all"])
def test_a_recipe_that_is_absent_or_spoilt_has_no_settings(recipe):
    assert settings_of(recipe) == []


def test_the_value_of_the_base_is_looked_up_where_the_fitted_model_has_it():
    fit = FitFacts(config={"rank": 64}, training={"epochs": 30}, inputs={"config": {"n_patches": 4096, "omics_kinds": ["rna"]}})
    found = [value_of(fit, key) for key in ("rank", "training.epochs", "tokens.n_patches", "omics.kinds", "unheard")]
    assert found == [64, 30, 4096, ["rna"], None]
    assert value_of(None, "rank") is None


def test_settings_are_said_in_words():
    assert [in_words(value) for value in (True, False, None, ["rna", "cnv"], 0.5)] == ["on", "off", "not set", "rna, cnv", "0.5"]


def test_the_overview_counts_patients_by_combination_site_and_year(finished: RunFolder):
    overview = {
        "combinations": [
            {"modalities": "clinical + omics", "patients": 150, "events": 60},
            {"modalities": "clinical", "patients": 50, "events": 9},
        ],
        "sites": [{"patients": 120, "events": 40}, {"patients": 80, "events": 29}],
    }
    rows = cohort_overview.data(replace(finished, cohorts={COHORT: CohortFacts(overview=overview)}), COHORT)
    assert rows[rows.panel == "What patients have"][["name", "events", "censored"]].values.tolist() == [
        ["clinical + omics", 60, 90],
        ["clinical", 9, 41],
    ]
    assert rows[rows.panel == "Sites"][["name", "events", "censored"]].values.tolist() == [["1", 40, 80], ["2", 29, 51]]
    patients = finished.predictions.drop_duplicates("patient_id")
    first_year = patients[patients.time < 365]
    years = rows[rows.panel == "Follow-up"]
    assert (years.events + years.censored).sum() == len(patients)
    assert years[["events", "censored"]].iloc[0].tolist() == [first_year.event.sum(), (~first_year.event).sum()]


def test_a_run_that_does_not_say_who_has_what_has_the_follow_up_alone(finished: RunFolder):
    assert cohort_overview.data(finished, COHORT).panel.unique().tolist() == ["Follow-up"]
