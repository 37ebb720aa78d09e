import numpy as np
import pytest
from tests.contract.tiny_cohort import fitted_on_train, tiny_cohort, train_and_test

from prognos.evidence.attributions import IN_NO_SET, OmicsAttributions, omics_attributions, pathway_attributions
from prognos.omics import OmicsSchema

SCHEMA = OmicsSchema(("rna",), (("rna", "A"), ("rna", "B"), ("rna", "C")))
OF_GENES = OmicsAttributions(("p",), np.array([[[4.0, -1.0, 0.5]]]), np.array([5.0]), np.array([1.0]), SCHEMA, pathways=False)


@pytest.fixture(scope="module")
def tested():
    """The tiny cohort, its test patients, and those of them who have omics."""
    cohort = tiny_cohort()
    _, test = train_and_test(cohort)
    return cohort, test.patients, set(np.array(test.patients)[test.has("omics")])


@pytest.mark.parametrize("name", ["snn", "tta", "late-fusion"])
def test_the_attributions_of_a_patient_sum_to_the_risk_less_that_with_all_omics_at_the_middle(name, tested):
    cohort, patients, with_omics = tested
    found = omics_attributions(fitted_on_train(name), cohort, patients)
    assert set(found.patients) == with_omics
    assert found.unexplained < 0.02
    assert np.abs(found.risk - found.baseline).max() > 1e-4  # there is something to explain


def test_a_pathway_model_has_a_row_for_each_patient_and_pathway(tested):
    cohort, patients, with_omics = tested
    fitted = fitted_on_train("tta")
    table = pathway_attributions(fitted, cohort, patients)
    assert list(table.columns) == ["patient_id", "pathway", "attribution"]
    assert len(table) == len(with_omics) * len(fitted.inputs.omics.schema.pathways)


def test_a_gene_of_two_pathways_is_shared_between_them_and_one_of_none_stands_apart():
    found = OF_GENES.by_pathway({"first": ("A", "B"), "second": ("A",), "unmeasured": ("Z",)})
    assert found.loc["p"].to_dict() == {"first": 4.0 / 2 - 1.0, "second": 4.0 / 2, IN_NO_SET: 0.5}
    assert found.to_numpy().sum() == pytest.approx(OF_GENES.values.sum())


def test_without_gene_sets_all_genes_stand_in_one_column():
    assert OF_GENES.by_pathway({}).loc["p"].to_dict() == {IN_NO_SET: 3.5}


def test_a_feature_of_two_pathway_tokens_has_the_sum_over_them():
    schema = OmicsSchema(("rna",), SCHEMA.features, ("first", "second"), ((0, 1), (0,)))
    values = np.array([[[1.0, 2.0], [0.5, 9.0]]])  # the last one is padding
    found = OmicsAttributions(("p",), values, np.zeros(1), np.zeros(1), schema, pathways=True)
    assert found.by_feature().tolist() == [[1.5, 2.0, 0.0]]


def test_what_the_attributions_lack_is_a_share_of_the_risk_differences():
    assert OF_GENES.unexplained == pytest.approx((4.0 - 3.5) / 4.0)


def test_a_model_without_omics_is_refused(tested):
    cohort, patients, _ = tested
    with pytest.raises(ValueError, match="abmil reads no omics"):
        omics_attributions(fitted_on_train("abmil"), cohort, patients)


def test_patients_without_omics_are_refused(tested):
    cohort, patients, with_omics = tested
    without = [patient for patient in patients if patient not in with_omics]
    with pytest.raises(ValueError, match=f"none of the {len(without)} patients has omics that tta reads"):
        omics_attributions(fitted_on_train("tta"), cohort, without)
