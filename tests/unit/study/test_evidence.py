import json

import numpy as np
import pandas as pd
import pytest
from tests.contract.tiny_cohort import fitted_on_train, tiny_cohort, train_and_test

from prognos.evidence.collected import patients_looked_at, prototype_use
from prognos.evidence.tables import TABLES, file_of
from prognos.metrics.occupancy import effective_number
from prognos.study.evidence import collect_evidence, fits_of, gene_sets_of


@pytest.fixture(scope="module")
def cohort():
    return tiny_cohort()


@pytest.fixture(scope="module")
def collected(cohort, tmp_path_factory):
    """A run with one fit of tta, snn and abmil, and its evidence."""
    run = write_run(tmp_path_factory.mktemp("evidence") / "run", cohort)
    return run, collect_evidence(run, {cohort.name: cohort})


def write_run(run, cohort, names=("tta", "snn", "abmil")):
    test = train_and_test(cohort)[1]
    for name in names:
        folder = run / "models" / cohort.name / name / "seed-1" / "fold-0"
        fitted_on_train(name).save(folder)
        pd.DataFrame({"patient_id": list(test.patients)}).to_csv(folder / "predictions.csv", index=False)
    return run


def test_every_table_has_its_columns_and_only_models_with_omics_are_looked_at(collected, cohort):
    run, written = collected
    assert written == [run / file_of(name) for name in TABLES]
    for name, columns in TABLES.items():
        table = pd.read_csv(run / file_of(name))
        assert tuple(table.columns) == columns
        assert set(table.model) <= {"tta", "snn"}
        assert set(table.cohort) == {cohort.name}


def test_shares_of_prototypes_sum_to_one_in_each_modality(collected):
    prototypes = pd.read_csv(collected[0] / file_of("prototypes"))
    assert prototypes.groupby("modality").share.sum().to_numpy() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert len(prototypes) == 2 * 4  # the small tta has four prototypes


@pytest.mark.parametrize("name", ["attnmisl", "tta"])
def test_the_use_of_prototypes_is_told_without_the_rest_of_the_evidence(cohort, name):
    fitted, patients = fitted_on_train(name), train_and_test(cohort)[1].patients
    use = prototype_use(fitted, cohort, patients)
    model, shares = fitted.model, {}
    for bag, prediction in fitted.predictions(cohort, patients):
        for i in range(len(bag)):
            for m, weights in model.prototype_weights(prediction, i).items():
                if bool(bag[m].present[i]):
                    n = weights.shape[1]
                    shares.setdefault(m, []).append([float((weights.argmax(dim=1) == k).float().mean()) for k in range(n)])
    for m, rows in shares.items():
        share = np.mean(rows, axis=0)
        told = {"prototypes": len(share), "effective": effective_number(share), "largest": share.max()}
        assert use[m] == pytest.approx(told, abs=1e-3)
    assert set(use) == set(shares)


def test_attention_to_pathways_of_tta_sums_to_the_share_of_looks_at_omics(collected):
    attention = pd.read_csv(collected[0] / file_of("pathway_attention"))
    assert 0 < attention.attention.sum() <= 1 + 1e-4


def test_a_fit_that_was_collected_is_not_looked_at_again_until_its_weights_change(collected, cohort):
    run, _ = collected
    seen = []
    collect_evidence(run, {cohort.name: cohort}, progress=seen.append)
    assert seen == []
    place = fits_of(run, "snn")[0].collected / "collected.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "weights_sha256": "other"}))
    collect_evidence(run, {cohort.name: cohort}, progress=seen.append)
    assert [(one.done, one.total, one.share) for one in seen] == [(1, 1, 1.0)]


def test_the_same_run_gives_the_same_bytes(collected, cohort, tmp_path):
    run = write_run(tmp_path / "again", cohort, ("snn",))
    collect_evidence(run, {cohort.name: cohort})
    first = [(fits_of(one, "snn")[0].collected / "gene_attributions.csv.gz").read_bytes() for one in (collected[0], run)]
    assert first[0] == first[1]


def test_the_draw_of_patients_depends_on_neither_model_nor_order_and_prefers_complete_patients(cohort):
    drawn = patients_looked_at(cohort, cohort.patients, 0, most=12)
    assert drawn == patients_looked_at(cohort, cohort.patients[::-1], 0, most=12)
    whole = set(np.array(cohort.patients)[cohort.has("histology") & cohort.has("omics")])
    assert len(drawn) == 12
    assert set(drawn) <= whole
    assert patients_looked_at(cohort, cohort.patients[:5], 0, most=5) == tuple(sorted(cohort.patients[:5]))


def test_a_cohort_without_the_tested_patients_is_refused(cohort, tmp_path):
    run = write_run(tmp_path / "run", cohort, ("snn",))
    train, test = train_and_test(cohort)
    with pytest.raises(ValueError, match=rf"{len(test)} of the {len(test)} patients whom .* tested in fold 0 are not in {cohort.name}"):
        collect_evidence(run, {cohort.name: train})


def test_another_cohort_than_that_of_the_run_is_refused(collected, cohort):
    with pytest.raises(ValueError, match=f"holds no fitted model of other: give the cohort folder .*{cohort.name}"):
        collect_evidence(collected[0], {"other": cohort})


def test_a_folder_without_fits_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no fitted model that reads omics"):
        fits_of(tmp_path)


def test_a_model_that_the_run_does_not_have_is_refused_with_the_nearest(collected):
    with pytest.raises(ValueError, match="there is no model 'tts'; did you mean 'tta'"):
        fits_of(collected[0], "tts")


def test_gene_sets_of_a_run_are_those_of_its_recipe_that_are_still_there(tmp_path):
    (tmp_path / "here.gmt").write_text("A\t\tG1\n")
    (tmp_path / "recipe.toml").write_text(f'[omics.gene_sets]\nhallmark = "{tmp_path}/here.gmt"\nold = "{tmp_path}/gone.gmt"\n')
    assert gene_sets_of(tmp_path) == {"hallmark": f"{tmp_path}/here.gmt"}
    assert gene_sets_of(tmp_path / "nowhere") == {}
