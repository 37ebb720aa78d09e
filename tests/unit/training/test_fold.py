"""The training fold: who is in it, what it can feed, and how patients are put together for prediction."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from prognos.models import entry_of
from prognos.models.contract import Needs
from prognos.tokens.inputs import Inputs, InputsConfig
from prognos.training.fold import Fold, batches_by_size, evaluation_bags, feedable, having_any, survival_of
from prognos.types import TrainingFold


def bare(cohort, *, slides=True, omics=True, gene_sets=True, clinical=True):
    """The cohort with something taken away."""
    changes = {}
    if not slides:
        changes |= {"slides": cohort.slides.iloc[:0], "d_patch": 0}
    if not omics:
        changes |= {"tables": {}, "omics_kinds": ()}
    if not gene_sets:
        changes |= {"gene_sets": {}}
    if not clinical:
        changes |= {"clinical": cohort.clinical[["site"]]}
    return dataclasses.replace(cohort, **changes)


# Batches


def test_batches_keep_the_order_and_stay_within_the_budget():
    sizes = {"a": 4, "b": 4, "c": 9, "d": 1, "e": 1}
    assert list(batches_by_size(tuple("abcde"), sizes, budget=10)) == [("a", "b"), ("c",), ("d", "e")]


def test_the_budget_counts_padding():
    assert list(batches_by_size(("a", "b", "c"), {"a": 1, "b": 5, "c": 1}, budget=10)) == [("a", "b"), ("c",)]


def test_a_patient_above_the_budget_stands_alone():
    assert list(batches_by_size(("a", "b", "c"), {"a": 1, "b": 99, "c": 1}, budget=10)) == [("a",), ("b",), ("c",)]


def test_a_batch_has_at_most_so_many_patients():
    assert [len(batch) for batch in batches_by_size(tuple(map(str, range(7))), {}, most=3)] == [3, 3, 1]


def test_nobody_makes_no_batch():
    assert list(batches_by_size((), {})) == []


# Who is in


def test_a_patient_with_any_of_the_modalities_is_in(train):
    histology, omics = train.has("histology"), train.has("omics")
    assert having_any(train, ("histology",)).tolist() == histology.tolist()
    assert having_any(train, ("histology", "omics")).tolist() == (histology | omics).tolist()
    assert having_any(train, ()).all()
    assert not having_any(train, ("blood",)).any()


def test_omics_means_the_data_types_that_are_read(train):
    lacking = dataclasses.replace(train, tables={**train.tables, "rna": train.tables["rna"].iloc[:3]})
    assert having_any(lacking, ("omics",), ("rna",)).sum() == 3
    assert having_any(lacking, ("omics",)).tolist() == (lacking.has("rna") | lacking.has("cnv") | lacking.has("snv")).tolist()


def test_a_cohort_that_can_feed_a_model_has_no_reason_against_it(train):
    for name in ("null", "clinical", "snn", "abmil", "late-fusion", "tta"):
        assert feedable(train, entry_of(name).load().needs) is None


@pytest.mark.parametrize(
    ("model", "lacks", "reason"),
    [
        ("snn", {"omics": False}, "none of the 20 patients of tiny has omics"),
        ("abmil", {"slides": False}, "none of the 20 patients of tiny has histology"),
        ("tta", {"slides": False}, "none of the 20 patients of tiny has histology"),
        ("clinical", {"clinical": False}, "none of the 20 patients of tiny has clinical"),
        ("tta", {"gene_sets": False}, "tiny has no gene sets called 'hallmark': give them with --gene-sets hallmark=FILE.gmt"),
    ],
)
def test_what_a_cohort_lacks_is_said(train, model, lacks, reason):
    assert feedable(bare(train, **lacks), entry_of(model).load().needs) == reason


def test_the_null_needs_nothing(train):
    assert feedable(bare(train, slides=False, omics=False, gene_sets=False, clinical=False), entry_of("null").load().needs) is None


def test_the_data_types_and_gene_sets_of_the_settings_are_the_ones_that_count(train):
    needs = Needs(modalities=("omics",), omics="pathways", gene_set="hallmark")
    renamed = dataclasses.replace(train, gene_sets={"mine": train.gene_sets["hallmark"]})
    assert "hallmark" in feedable(renamed, needs)
    assert feedable(renamed, needs, InputsConfig(gene_set="mine")) is None
    without_rna = dataclasses.replace(train, tables={k: t for k, t in train.tables.items() if k != "rna"}, omics_kinds=("cnv", "snv"))
    assert feedable(without_rna, needs, InputsConfig(omics_kinds=("rna",))) == "none of the 20 patients of tiny has rna"


# The fold


@pytest.fixture
def fold(train) -> Fold:
    inputs = Inputs.learn(train, entry_of("abmil").load().needs)
    return Fold(train, inputs.reader(train), torch.device("cpu"), 3)


def test_a_fold_is_a_training_fold(fold, train):
    assert isinstance(fold, TrainingFold)
    assert fold.patients == train.patients
    assert fold.sites == tuple(train.sites)
    assert fold.survival.event.tolist() == train.event.tolist()


def test_a_fold_has_the_tokens_of_everyone_at_once(train):
    inputs = Inputs.learn(train, entry_of("snn").load().needs)
    fold = Fold(train, inputs.reader(train), torch.device("cpu"), 3)
    whole = next(iter(fold.bags(len(train.patients))))["omics"]
    assert torch.equal(fold.tokens("omics").values, whole.values)
    assert torch.equal(fold.tokens("omics").mask, whole.mask)


def test_times_keep_their_digits(train):
    times = np.full(20, 1000.1) + np.arange(20)
    assert survival_of(dataclasses.replace(train, time=times)).time.tolist() == times.tolist()


def test_a_fold_gives_every_patch_of_every_patient_in_order(fold, train):
    bags = list(fold.bags(batch_size=8))
    assert [len(bag) for bag in bags] == [8, 8, 4]
    assert sum((bag.patients for bag in bags), ()) == train.patients
    counts = torch.cat([bag["histology"].mask.sum(dim=1) for bag in bags]).tolist()
    assert counts == [fold.reader.n_patches(patient) for patient in train.patients]


def test_prediction_reads_every_patch_of_everybody_once(fold):
    bags = list(evaluation_bags(fold.reader, fold.patients))
    counts = {p: int(n) for bag in bags for p, n in zip(bag.patients, bag["histology"].mask.sum(dim=1), strict=True)}
    assert counts == {patient: fold.reader.n_patches(patient) for patient in fold.patients}


def test_a_draw_of_patches_depends_on_seed_and_patient_only(fold):
    def drawn(patients, seed):
        bags = evaluation_bags(fold.reader, patients, most_patches=3, seed=seed)
        return {p: bag["histology"].rows(i).tolist() for bag in bags for i, p in enumerate(bag.patients)}

    everyone = drawn(fold.patients, 1)
    assert all(len(rows) == min(3, fold.reader.n_patches(p)) for p, rows in everyone.items())
    assert drawn(fold.patients[::-1], 1) == everyone
    assert drawn(fold.patients[4:6], 1) == {p: everyone[p] for p in fold.patients[4:6]}
    assert drawn(fold.patients, 2) != everyone


def test_a_slide_table_without_counts_of_patches_will_do(train):
    plain = dataclasses.replace(train, slides=train.slides[["slide_id", "patient_id", "path"]])
    assert isinstance(plain.slides, pd.DataFrame)
    assert feedable(plain, entry_of("abmil").load().needs) is None
