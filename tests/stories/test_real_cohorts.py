"""Every cohort beside the repository is read and counted as the description beside it counts it."""

import re

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort
from prognos.cohort.check import check
from prognos.cohort.clinical import ClinicalEncoder
from prognos.cohort.read import read_folder

COHORTS = ("hancock", *(f"tcga-{name}" for name in ("blca", "brca", "crc", "gbmlgg", "kirc", "luad", "lusc", "stad", "ucec")))
ENDPOINTS = ("os", "dss", "pfi", "dfi", "rfs")
KINDS = ("rna", "cnv", "snv")


def tables(readme):
    """The Markdown tables with a row a cohort, joined into one: cohort -> column -> cell."""
    rows: dict[str, dict[str, str]] = {name: {} for name in COHORTS}
    header: list[str] = []
    for line in readme.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif cells[0] in rows and header[0] == "cohort":
            rows[cells[0]] |= dict(zip(header[1:], cells[1:], strict=True))
    return rows


@pytest.fixture(scope="module")
def stated(shared_data):
    return tables(shared_data / "README.md")


@pytest.fixture(scope="module", params=COHORTS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def counted(shared_data, name):
    return check(shared_data / name, "os", values=False)


@pytest.fixture(scope="module")
def folder(shared_data, name):
    return read_folder(shared_data / name, gene_sets={}, modalities={})


def number(cell):
    return None if cell == "-" else float(cell)


@pytest.mark.slow
def test_patients_slides_and_patches_are_counted(counted, folder, name, stated):
    expected = stated[name]
    assert counted.n_patients == number(expected["patients"])
    for modality, column in (("histology", "with features"), *zip(KINDS, KINDS, strict=True)):
        patients = counted.modalities["patients"].get(modality)
        assert patients == number(expected[column]), modality
    held = folder.having()
    assert sum(all(patient in patients for patients in map(set, held.values())) for patient in folder.patients) == number(
        expected["all of the folder's kinds"]
    )
    if expected["slides"] == "-":
        assert counted.patches.empty
    else:
        slides = counted.patches.loc["slide"]
        assert slides["n"] == number(expected["slides"])
        assert slides[["min", "median", "max"]].tolist() == [float(n) for n in expected["patches a slide min / median / max"].split("/")]
    in_splits = None if folder.folds is None else len(folder.folds)
    assert in_splits == number(expected["in splits.csv"])


@pytest.mark.slow
def test_endpoints_are_counted(counted, name, stated):
    expected = stated[name]
    not_positive = dict(zip(ENDPOINTS, re.split(r",\s*", expected["times <= 0 (os, dss, pfi, dfi, rfs)"]), strict=True))
    alone = dict(zip(ENDPOINTS, re.split(r",\s*", expected["time or event alone (same order)"]), strict=True))
    for endpoint in ENDPOINTS:
        cell = expected[f"{endpoint} n / events"]
        if cell == "-":
            assert endpoint not in counted.endpoints.index or counted.endpoints.loc[endpoint, "known"] == 0
            continue
        row = counted.endpoints.loc[endpoint]
        assert [row["known"], row["events"]] == [int(n) for n in cell.split("/")]
        assert row["not_positive"] == int(not_positive[endpoint])
        assert row["alone"] == int(alone[endpoint])


@pytest.mark.slow
def test_genes_and_labels_are_counted(counted, folder, name, stated):
    expected = stated[name]
    for kind in KINDS:
        assert counted.modalities["columns"].get(kind) == number(expected[f"{kind} genes"]), kind
    largest = number(expected["largest rna z-score"])
    if largest is not None:
        assert round(float(folder.tables["rna"].values.to_numpy().max())) == largest
    for part in expected["subtype labels"].split(";"):
        labels, column = (part.split(":")[1], "pam50") if "PAM50" in part else (part, "subtype")
        there = folder.text[column].replace("", None).value_counts().to_dict()
        told = {} if labels.strip() == "-" else dict(re.findall(r"([\w -]*\w) (\d+)", labels.strip()))
        assert there == {label.strip(): int(count) for label, count in told.items()}


@pytest.mark.slow
def test_published_folds_share_sites_only_where_that_is_stated(folder, name, stated):
    if "site-stratified" not in stated[name]:
        assert folder.folds is None
        return
    assert len(folder.folds) == number(stated[name]["of them here"])
    sites = folder.text["site"].reindex(folder.folds.index)
    shared = pd.crosstab(sites, folder.folds.to_numpy()).gt(0).sum(axis=1).gt(1).any()
    assert shared == (stated[name]["site-stratified"] == "no")


@pytest.mark.slow
def test_every_patient_is_kept_or_left_out_by_one_rule(counted):
    cohort = counted.cohort
    left_out = [patient for exclusion in counted.exclusions for patient in exclusion.patients]
    assert len(left_out) == len(set(left_out))
    assert len(cohort) + len(left_out) == counted.n_patients
    assert (cohort.time > 0).all()
    assert counted.n_events == cohort.event.sum() > 0
    assert cohort.sites.astype(bool).all()
    with_two_slides = cohort.slides["patient_id"].duplicated().any()
    assert with_two_slides == (len(cohort.slides) > cohort.has("histology").sum())
    encoded = ClinicalEncoder.learn(cohort.clinical).encode(cohort.clinical)
    assert np.isfinite(encoded).all()
    assert encoded.shape[1] >= 2


@pytest.mark.slow
def test_stages_and_grades_of_real_patients_are_read(counted):
    """Only labels that state no stage or grade are missing."""
    for note in counted.notes:
        if "labels that count as missing" in note:
            labels = re.findall(r"'([^']*)' of", note)
            assert all(re.fullmatch(r"(Stage |G|p?T)?X|p?Tis|Stage 0|Stage Tis|pT0|\[.*\]", label) for label in labels), note


@pytest.mark.slow
def test_gene_sets_are_covered_as_stated(shared_data):
    sets = {"hallmark": "hallmark.gmt", "functional": "functional-groups.gmt"}
    found = check(
        shared_data / "tcga-brca", "dss", gene_sets={key: shared_data / "gene-sets" / file for key, file in sets.items()}, values=False
    )
    stated = (shared_data / "README.md").read_text(encoding="utf-8").replace(",", "").replace("\n", " ")
    for collection, phrase in (("hallmark", "few Hallmark genes"), ("functional", "transcription factors")):
        text = re.search(phrase + r" \((\d+) of (\d+); per set\s+(\d+)% to (\d+)% median (\d+)%\)", stated)
        assert text is not None
        rows = found.genes[found.genes["collection"] == collection]
        genes = {gene for members in found.cohort.gene_sets[collection].values() for gene in members}
        measured = genes & set(found.cohort.tables["rna"].columns)
        share = 100 * rows["rna"] / rows["genes"]
        assert [len(measured), len(genes)] == [int(text[1]), int(text[2])]
        assert [round(share.min()), round(share.max()), round(share.median())] == [int(text[n]) for n in (3, 4, 5)]


@pytest.mark.slow
def test_further_tables_of_head_and_neck_patients_are_modalities(shared_data):
    declared = {"blood": "blood.csv", "pathology": "pathological.csv", "icd": "icd_codes.csv", "tma": "tma_cell_density.csv"}
    cohort = Cohort.read(shared_data / "hancock", endpoint="rfs", modalities=declared)
    assert cohort.modalities == ("clinical", "histology", *declared)
    assert cohort.omics_kinds == ()
    assert all(len(patient) == 3 for patient in cohort.patients)
    assert any(patient.startswith("00") for patient in cohort.patients)


@pytest.mark.slow
def test_every_feature_value_of_a_real_cohort_is_read(shared_data):
    found = check(shared_data / "tcga-blca", "dss")
    assert sum(found.coordinates.values()) == found.patches.loc["slide", "n"]
    assert set(found.coordinates) == {"level0 pixels"}
