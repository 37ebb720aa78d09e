"""Subtypes of the cohorts beside the repository: classes as the tables have them, and folds that spread them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort
from prognos.cohort.folds import assign_folds, folds_of
from prognos.cohort.split_card import split_card
from prognos.cohort.subtype import Classes
from prognos.config import make_recipe
from prognos.study.run import read_cohorts

PAM50 = ("LumA", "LumB", "Basal", "Her2", "Normal")
HYPERMUTATED = {"hypermutated": ["MSI", "HM-SNV"]}
GLIOMAS = ("AASTR", "AOAST", "ASTR", "GBM", "OAST", "ODG")
FAR = 600.0  # seconds: the search ends by its own, however busy the machine is


def labels_of(cohort, column):
    """Labels of the kept patients as clinical.csv has them."""
    return cohort.clinical[column].fillna("")


def numbers(cohort):
    return dict(zip(cohort.subtype_classes, np.bincount(cohort.subtype_index[cohort.subtype_index >= 0]).tolist(), strict=True))


@pytest.fixture(scope="module")
def breast(shared_data):
    return Cohort.read(shared_data / "tcga-brca", endpoint="dss", subtype="pam50", subtype_classes=PAM50)


@pytest.fixture(scope="module")
def stomach(shared_data):
    return Cohort.read(shared_data / "tcga-stad", endpoint="os", merge=HYPERMUTATED)


@pytest.mark.slow
def test_histology_of_breast_cancer_has_two_classes_and_others_count_as_missing(shared_data):
    section = {"path": str(shared_data / "tcga-brca"), "endpoint": "dss"}
    (cohort,) = read_cohorts(make_recipe({"cohort": section}, ['cohort.subtype_classes=["IDC", "ILC"]'])).values()
    there = labels_of(cohort, "subtype").value_counts()
    assert cohort.subtype_classes == ("IDC", "ILC")
    assert numbers(cohort) == {"IDC": there["IDC"], "ILC": there["ILC"]}
    assert (cohort.subtype_index < 0).sum() == len(cohort) - there["IDC"] - there["ILC"] > 0
    assert f"subtype: {there['other']} labels are not among the classes and count as missing ('other' of {there['other']})." in cohort.notes


@pytest.mark.slow
def test_expression_subtypes_of_breast_cancer_keep_the_stated_order(breast):
    there = labels_of(breast, "pam50").value_counts()
    assert numbers(breast) == {name: there[name] for name in PAM50}
    assert breast.subtype.name == "pam50"


@pytest.mark.slow
def test_two_subtypes_of_stomach_cancer_merge(stomach):
    there = labels_of(stomach, "subtype").value_counts()
    assert stomach.subtype_classes == ("CIN", "EBV", "GS", "hypermutated")
    assert numbers(stomach)["hypermutated"] == there["MSI"] + there["HM-SNV"]
    assert stomach.subset(stomach.patients[:7]).subtype_classes == stomach.subtype_classes


@pytest.mark.slow
def test_gliomas_have_their_oncotree_codes(shared_data):
    cohort = Cohort.read(shared_data / "tcga-gbmlgg", endpoint="os")
    assert cohort.subtype_classes == GLIOMAS
    there = labels_of(cohort, "subtype").value_counts()
    assert numbers(cohort) == {name: there[name] for name in GLIOMAS}
    folds = folds_of(cohort)
    assert folds.note.startswith("folds as given; not site-preserving")
    assert all(f" {name}" in folds.note for name in GLIOMAS)
    counts = Classes.of(cohort).counted(folds.fold.to_numpy())
    assert bool((counts == 0).any(axis=None)) == any("every class" in warning for warning in folds.warnings)


def unevenness(cohort, fold):
    """Mean over classes and folds of how far a fold's share of a class is from its even share."""
    counts = Classes.of(cohort).counted(fold.to_numpy())
    return float((counts / counts.sum() - 1 / len(counts)).abs().to_numpy().mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("breast", 0.8), ("stomach", 1.0)])
def test_made_folds_of_whole_sites_spread_the_classes_and_keep_the_events(name, share, request):
    """Two sites of the stomach cohort have most of its events, so that its folds leave the classes little freedom."""
    cohort = replace(request.getfixturevalue(name), folds=None)
    plain = assign_folds(cohort.patients, cohort.sites, cohort.event, time_limit=FAR)
    folds = assign_folds(cohort.patients, cohort.sites, cohort.event, time_limit=FAR, classes=Classes.of(cohort))
    assert folds.site_preserving
    assert pd.Series(folds.fold.to_numpy()).groupby(cohort.sites).nunique().eq(1).all()
    assert unevenness(cohort, folds.fold) < share * unevenness(cohort, plain.fold)
    for extreme in (max, min):
        with_classes, without = (extreme(np.bincount(made.fold, weights=cohort.event)) for made in (folds, plain))
        assert abs(with_classes - without) <= 2
    assert len(split_card(cohort, folds)["classes"]) == 5
    assert folds.note.count(" to ") == 1 + len(cohort.subtype_classes)
