import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.contract.tiny_cohort import fitted_on_train, tiny_cohort, tiny_fit

from prognos.evidence.attributions import pathway_attributions
from prognos.interpret.gradients import integrated_gradients
from prognos.predict import contributions
from prognos.predict.contributions import MOST_MODELS, N_PATCHES


@pytest.fixture(scope="module")
def cohort():
    """A patient with slides and omics comes first."""
    whole = tiny_cohort()
    complete = whole.has("histology") & whole.has("omics")
    return whole.subset(tuple(np.array(whole.patients)[complete]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where fitted models are saved once."""
    place = tmp_path_factory.mktemp("fitted")

    def saved(name):
        return place / name if (place / name).exists() else fitted_on_train(name).save(place / name)

    return saved


def test_the_pathways_of_a_patient_are_those_that_a_study_shows_of_the_same_patient(cohort, folder):
    patient = cohort.patients[0]
    found = contributions([folder("snn")], cohort, patient).pathways.set_index("pathway")["attribution"]
    studied = pathway_attributions(fitted_on_train("snn"), cohort, (patient,)).set_index("pathway")["attribution"]
    np.testing.assert_allclose(found[studied.index], studied, atol=1e-6)


def test_a_pathway_of_a_model_of_pathways_is_its_token(cohort, folder):
    found = contributions([folder("tta")], cohort, cohort.patients[0]).pathways
    assert set(found["pathway"]) == set(fitted_on_train("tta").inputs.omics.schema.pathways)


def test_pathways_that_do_not_sum_to_the_difference_are_said_to_be_a_rough_ranking(cohort, folder, monkeypatch):
    exact = contributions([folder("snn")], cohort, cohort.patients[0])
    assert exact.notes == ()
    few = partial(integrated_gradients, steps=1)  # one point of the quadrature, where the gradient of a bent line is another one
    monkeypatch.setattr("prognos.evidence.attributions.integrated_gradients", few)
    rough = contributions([folder("tta")], cohort, cohort.patients[0])
    assert any(
        re.fullmatch(r"The pathways lack \d+% of the difference to the training median: read them as a rough ranking.", note)
        for note in rough.notes
    )


def test_pathways_are_ranked_by_their_mean_over_the_models(cohort, folder):
    one = contributions([folder("snn")], cohort, cohort.patients[0])
    same = contributions([folder("snn")] * 2, cohort, cohort.patients[0])
    assert one.pathways["attribution"].abs().is_monotonic_decreasing
    np.testing.assert_allclose(same.pathways["attribution"], one.pathways["attribution"])
    assert one.pathways["agreement"].tolist() == [1.0] * len(one.pathways)
    assert contributions([folder("snn")] * 7, cohort, cohort.patients[0]).n_models == MOST_MODELS


def test_without_gene_sets_a_model_of_genes_has_no_pathways_and_says_so(cohort, folder):
    found = contributions([folder("snn")], replace(cohort, gene_sets={}), cohort.patients[0])
    assert found.pathways.empty
    assert found.notes == ("No gene sets were given, so that genes cannot be summed up by pathways (--gene-sets hallmark=FILE).",)


def test_the_patches_that_stand_out_are_those_of_highest_attention(cohort, folder):
    patient = cohort.patients[0]
    found = contributions([folder("abmil")], cohort, patient)
    fitted = fitted_on_train("abmil")
    _, prediction = next(fitted.predictions(cohort.subset((patient,)), (patient,)))
    attention = np.sort(prediction.evidence["attention"][0].numpy())[::-1]
    n_patches = len(attention)
    assert len(found.patches) == min(N_PATCHES, n_patches)
    # the highest of n has the percentile 100 (n - 1/2) / n
    assert found.patches["percentile"].iloc[0] == pytest.approx(100 * (n_patches - 0.5) / n_patches, abs=0.06)
    assert found.patches["percentile"].is_monotonic_decreasing
    assert found.shown.startswith("attention: ")
    assert found.pathways.empty


def test_a_model_that_shows_no_number_of_patches_says_so(cohort, tmp_path):
    tiny_fit(cohort, "must", config={"specific": "nystrom"}, training={"epochs": 1}).save(tmp_path)
    found = contributions([tmp_path], cohort, cohort.patients[0])
    assert found.patches.empty
    assert found.notes == ("No patches: must shows no number for single patches, so there is no map to draw: explain another model.",)
    assert len(found.pathways)


def test_a_modality_that_is_left_out_contributes_nothing(cohort, folder):
    found = contributions([folder("tta")], cohort, cohort.patients[0], without=["omics"])
    assert found.pathways.empty
    assert len(found.patches)
