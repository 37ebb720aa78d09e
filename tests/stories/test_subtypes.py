"""Subtype and survival learnt together: from a cohort with classes to a page, and to a new patient who lacks something."""

import pandas as pd
import pytest

from prognos.cohort.simulate import Truth, simulate

SMALL = ("model.mcti.d_model=8", "model.mcti.heads=2", "model.mcti.n_top=4", "model.mcti.n_groups=3", "model.mcti.blocks=1")
CLASSES = 3


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Seventy simulated patients with a subtype each, but for five."""
    folder = simulate(tmp_path_factory.mktemp("subtypes") / "sim", Truth.demo(), n_patients=70, patches=(5, 12), n_classes=CLASSES, seed=5)
    clinical = pd.read_csv(folder / "clinical.csv", dtype=str)
    clinical.loc[:4, "subtype"] = ""
    clinical.to_csv(folder / "clinical.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def finished(prognos, cohort, quick, tmp_path_factory):
    """The model and two of its controls on two folds, complete and without genes."""
    out = tmp_path_factory.mktemp("runs") / "subtypes"
    recipe = tmp_path_factory.mktemp("recipes") / "subtypes.toml"
    recipe.write_text(
        f'[cohort]\npath = "{cohort}"\nendpoint = "os"\n[study]\nmodels = ["clinical", "mcti"]\nseeds = [1]\nn_folds = 2\n'
        'missing = ["none", "omics"]\nreference = "mcti"\n'
        '[[study.variants]]\nname = "survival-only"\nmodels = ["mcti"]\nset = { "model.mcti.subtype_weight" = 0.0 }\n'
        '[[study.variants]]\nname = "subtype-only"\nmodels = ["mcti"]\nset = { "model.mcti.survival_weight" = 0.0 }\n'
    )
    small = [argument for override in SMALL for argument in ("--set", override)]
    result = prognos("run", recipe, *quick, *small, "--out", out)
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
def test_patients_without_a_label_are_predicted_and_no_subtype_metric_counts_them(finished, cohort):
    table = pd.read_csv(finished / "subtypes.csv", keep_default_na=False)
    complete = table[(table.missing == "none") & (table.variant == "base")]
    unknown = complete[complete.subtype == ""].patient_id.unique()
    assert len(unknown) == 5
    assert complete.groupby("patient_id").probability.sum().round(4).eq(1).all()
    assert complete.patient_id.nunique() == 70
    labelled = pd.read_csv(cohort / "clinical.csv", dtype=str, keep_default_na=False).subtype.ne("").sum()
    assert labelled == 65


@pytest.mark.slow
def test_a_control_without_subtypes_has_no_subtype_metric_and_one_without_survival_has_no_order_of_risks(finished):
    comparison = pd.read_csv(finished / "comparison.csv", keep_default_na=False, na_values=[""])
    means = comparison[comparison.missing == "none"].set_index(["variant", "model", "metric"])["mean"]
    assert 0 < means["base", "mcti", "subtype_auc"] <= 1
    assert 0 < means["subtype-only", "mcti", "subtype_auc"] <= 1
    assert ("survival-only", "mcti", "subtype_auc") not in means.dropna().index
    assert means["subtype-only", "mcti", "concordance"] == 0.5


@pytest.mark.slow
def test_the_learnt_groups_of_genes_can_be_read_with_what_they_have_in_common_with_gene_sets(finished):
    groups = pd.read_csv(finished / "gene_groups.csv.gz", keep_default_na=False)
    assert set(groups.variant) == {"base", "survival-only", "subtype-only"}
    assert set(groups.group) <= {0, 1, 2}
    assert groups.groupby(["variant", "fold", "kind", "gene"]).size().eq(1).all()
    assert set(pd.read_csv(finished / "gene_group_sets.csv").collection) <= {"hallmark", "functional"}
    page = (finished / "report.html").read_text()
    assert '<section id="subtypes">' in page
    assert "Groups of genes that mcti learnt on sim" in page


@pytest.mark.slow
def test_a_new_patient_without_genes_gets_a_risk_and_the_probabilities_of_the_subtypes(finished, prognos, cohort, tmp_path):
    patient = pd.read_csv(cohort / "clinical.csv", dtype=str).patient_id[7]
    asked = ("--cohort", cohort, "--patient", patient, "--without", "omics")
    result = prognos("predict", finished, "--model", "mcti", *asked, "--out", tmp_path / "answer")
    assert result.returncode == 0, result.stderr
    assert "subtype: type-" in result.stderr
    table = pd.read_csv(tmp_path / "answer" / "subtypes.csv")
    assert len(table) == CLASSES
