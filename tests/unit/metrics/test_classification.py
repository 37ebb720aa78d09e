import numpy as np
import pytest

from prognos.metrics import METRICS, HeldOutFold, balanced_accuracy, confusion, one_vs_rest_auc
from prognos.metrics.bootstrap import Resamples, draw_counts

# Five patients of three classes, and one whose class is not known.
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]],
)
LABEL = np.array([0, 0, 1, 2, 2, -1])


def fold_of(probabilities=PROBABILITIES, label=LABEL, classes=("a", "b", "c")) -> HeldOutFold:
    n_patients = len(probabilities)
    return HeldOutFold(
        np.arange(n_patients, dtype=float),
        np.arange(1.0, n_patients + 1),
        np.ones(n_patients, dtype=bool),
        label=label,
        probabilities=probabilities,
        classes=classes,
    )


def test_the_auc_is_the_mean_over_classes_of_pairs_in_which_the_own_patient_has_the_higher_probability():
    # class 0: patients with .7, .3 against .3, .1, .4: .7 beats three, .3 ties with .3 and beats .1: (3 + 1.5) / 6
    # class 1: .4 against .2, .5, .3, .2: beats three of four
    # class 2: .6, .4 against .1, .2, .3: both beat all three
    assert one_vs_rest_auc(PROBABILITIES, LABEL) == pytest.approx((4.5 / 6 + 3 / 4 + 6 / 6) / 3)


def test_balanced_accuracy_is_the_mean_over_classes_of_the_share_that_is_recognised():
    # class 0: .7 is the largest of its row, .3 is not: 1 of 2; class 1: 1 of 1
    # class 2: .6 is, and .4 ties with class 0, which comes first: 1 of 2
    assert balanced_accuracy(PROBABILITIES, LABEL) == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)


def test_the_confusion_counts_observed_classes_in_rows_and_the_most_probable_in_columns():
    assert confusion(PROBABILITIES, LABEL, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_a_class_that_does_not_occur_counts_in_no_mean():
    without_b = np.array([0, 0, -1, 2, 2, -1])
    # class 0 now stands against .1 and .4: .7 beats both, .3 beats .1: 3 / 4
    assert one_vs_rest_auc(PROBABILITIES, without_b) == pytest.approx((3 / 4 + 1) / 2)
    assert balanced_accuracy(PROBABILITIES, without_b) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert confusion(PROBABILITIES, without_b, 3)[1].tolist() == [0, 0, 0]


def test_constant_probabilities_know_nothing():
    constant = np.tile([0.5, 0.3, 0.2], (6, 1))
    assert one_vs_rest_auc(constant, LABEL) == 0.5
    assert balanced_accuracy(constant, LABEL) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", [one_vs_rest_auc, balanced_accuracy])
@pytest.mark.parametrize(
    ("probabilities", "label", "message"),
    [
        (PROBABILITIES, np.array([1, 1, -1, 1, -1, -1]), "3 patients have a known class, of 1 different ones: two or more classes"),
        (PROBABILITIES, np.full(6, -1), "0 patients have a known class, of 0 different ones"),
        (PROBABILITIES[0], LABEL, r"probabilities have the shape \(3,\) and labels \(6,\): give patients x classes"),
        (PROBABILITIES, LABEL[:5], r"probabilities have the shape \(6, 3\) and labels \(5,\)"),
        (np.where(PROBABILITIES == 0.7, np.nan, PROBABILITIES), LABEL, r"1 of 18 probabilities of classes are not finite .* \(nan\)"),
        (2 * PROBABILITIES, LABEL, r"3 of 18 probabilities .* lie outside 0 to 1 \(1.4, 1.2, 2\): give probabilities, not scores"),
        (PROBABILITIES, np.array([0, 0, 1, 3, 2, -2]), r"2 of 6 labels \(3, -2\) are no index of one of 3 classes: number them from 0"),
        (PROBABILITIES, np.array([0.5, 0, 1, 2, 2, -1]), r"1 of 6 labels \(0.5\)"),
    ],
)
def test_what_cannot_be_scored_raises_and_is_never_one_half(metric, probabilities, label, message):
    with pytest.raises(ValueError, match=message):
        metric(probabilities, label)


def test_a_confusion_of_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="there are probabilities of 3 classes, not of 2: give a column for every class"):
        confusion(PROBABILITIES, LABEL, 2)


def test_a_fold_knows_the_classes_that_its_patients_lack():
    assert fold_of().absent_classes == ()
    assert fold_of(label=np.array([0, 0, -1, 0, 0, -1])).absent_classes == ("b", "c")


def test_a_fold_whose_classes_have_no_names_is_refused():
    with pytest.raises(ValueError, match=r"probabilities of subtypes have the shape \(6, 3\); 6 patients and 2 classes need \(6, 2\)"):
        fold_of(classes=("a", "b"))


def test_the_table_gives_both_metrics_of_a_fold():
    fold = fold_of()
    assert METRICS["subtype_auc"].value(fold) == one_vs_rest_auc(PROBABILITIES, LABEL)
    assert METRICS["subtype_balanced_accuracy"].value(fold) == balanced_accuracy(PROBABILITIES, LABEL)


@pytest.mark.parametrize("name", ["subtype_auc", "subtype_balanced_accuracy"])
def test_the_bootstrap_is_a_loop_over_drawn_patients_and_has_no_number_where_one_class_is_drawn(name):
    fold, metric = fold_of(), METRICS[name]
    counts = np.vstack([draw_counts(6, 200, [1, name]), [[1, 1, 1, 1, 1, 1], [3, 3, 0, 0, 0, 0], [0, 0, 0, 0, 0, 6]]])
    replicates = metric.replicates(Resamples(fold, counts))
    for count, replicate in zip(counts, replicates, strict=True):
        drawn = np.repeat(np.arange(6), count)
        if len(set(LABEL[drawn]) - {-1}) < 2:
            assert np.isnan(replicate)
        else:
            assert replicate == pytest.approx(metric.value(fold_of(PROBABILITIES[drawn], LABEL[drawn])), abs=1e-12)
    assert np.isnan(replicates[-2:]).all()


def test_the_order_of_patients_does_not_change_the_replicates():
    generator = np.random.default_rng(0)
    probabilities, label = generator.dirichlet(np.ones(3), 40).round(1), generator.integers(-1, 3, 40)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    counts, order = draw_counts(40, 50, [2]), generator.permutation(40)
    for name in ("subtype_auc", "subtype_balanced_accuracy"):
        one = METRICS[name].replicates(Resamples(fold_of(probabilities, label), counts))
        other = METRICS[name].replicates(Resamples(fold_of(probabilities[order], label[order]), counts[:, order]))
        np.testing.assert_allclose(one, other, atol=1e-12)
