"""A check counts what a cohort holds, reads every feature value, and reports all defects at once."""

import h5py
import numpy as np
import pytest
from tests.unit.cohort.conftest import write_features

from prognos.cohort import CohortError
from prognos.cohort.check import check


def test_a_check_counts_the_cohort(cohort_folder, edit):
    edit("clinical.csv", "600.0,1", ",1")
    edit("clinical.csv", "700.0,0", "-1,0")
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n" + "".join(f"{n:03d},{n % 2}\n" for n in range(1, 12)))
    found = check(cohort_folder)
    assert found.n_patients == 12
    assert len(found.cohort) == 9
    assert found.n_events == 4
    assert [(exclusion.rule, len(exclusion.patients)) for exclusion in found.exclusions] == [
        ("no time", 1),
        ("time of 0 or below", 1),
        ("not in the given splits", 1),
    ]
    assert found.endpoints.loc["os"].to_dict() == {"known": 11, "events": 5, "not_positive": 1, "alone": 1}
    assert found.modalities.loc["histology", ["patients", "kept", "columns"]].tolist() == [11, 9, 4]
    assert found.modalities.loc["rna", ["patients", "kept", "columns", "missing", "largest"]].tolist() == [11, 8, 4, 0, 11.0]
    assert found.overlaps.loc["histology + rna"].tolist() == [10, 8]


def test_median_follow_up_is_that_of_the_reverse_kaplan_meier(cohort_folder):
    # Odd patients are censored, from day 500 in steps of 200, among 12, 10, 8, 6, 4, 2 at risk.
    remaining, expected = 1.0, None
    for number, day in enumerate(range(500, 1600, 200)):
        at_risk = 12 - 2 * number
        remaining *= 1 - 1 / at_risk
        if remaining <= 0.5 and expected is None:
            expected = day
    assert check(cohort_folder).median_follow_up == expected


def test_patches_are_counted_by_slide_and_by_patient(cohort_folder):
    # Slides have 2, 3, ... 13 patches; patient 001 has the first two.
    patches = check(cohort_folder).patches
    assert patches.loc["slide"].tolist() == [12, 2, 7.5, 13]
    assert patches.loc["patient"].tolist() == [11, 4, 8, 13]


def test_genes_are_counted_by_gene_set_and_table(cohort_folder):
    (cohort_folder / "cnv.csv").write_text("patient_id,BAX\n001,1\n")
    found = check(cohort_folder, gene_sets={"hallmark": cohort_folder / "hallmark.gmt"})
    assert found.genes.loc["GROWTH"].tolist() == ["hallmark", 2, 2, 2, 0]
    assert found.genes.loc["DEATH"].tolist() == ["hallmark", 2, 2, 1, 1]
    assert "hallmark, rna: 3 of 4 genes" in found.text()


def test_a_gene_set_that_is_not_measured_is_named(cohort_folder, edit):
    edit("hallmark.gmt", "TP53\tBAX", "BAK\tBAX")
    assert "nothing of DEATH" in check(cohort_folder, gene_sets={"hallmark": cohort_folder / "hallmark.gmt"}).text()


def test_gene_sets_without_an_omics_table_are_said(cohort_folder):
    (cohort_folder / "rna.csv").unlink()
    found = check(cohort_folder, gene_sets={"hallmark": cohort_folder / "hallmark.gmt"})
    assert "hallmark: 2 gene sets, but there is no omics table" in found.text()


def test_the_printed_check_says_everything(cohort_folder, edit):
    edit("clinical.csv", "600.0,1", ",1")
    text = check(cohort_folder).text()
    for line in (
        "patients in the table: 12",
        "kept: 11",
        "events: 5 (45%)",
        "median follow-up (reverse Kaplan-Meier): 1300 days (3.6 years)",
        "sites: 3 (0 patients without)",
        "folds: none given; they will be made",
        "no time: 1 (002)",
        "os: 11 patients, 5 events; 1 with time or event alone",
        "rna: 10 kept, 11 in all; 4 columns",
        "per slide: 2 / 7.5 / 13 (min / median / max of 12)",
        "coordinates: level0 pixels: 12 slides",
        "subtype\n  column: subtype\n  Basal: 6\n  LumA: 5\n  without a label: 0",
        "clinical covariates known of 11: age 11, sex 11, stage 11, grade 11.",
    ):
        assert line in text


def test_classes_are_printed_in_their_order_with_those_without_a_label(cohort_folder, edit):
    edit("clinical.csv", "LumA", "")
    edit("clinical.csv", "Basal", "Her2")
    edit("clinical.csv", ",subtype,", ",pam50,")
    (cohort_folder / "cohort.toml").write_text('[cohort]\nsubtype = "pam50"\nsubtype_classes = ["LumA", "Basal"]\n')
    found = check(cohort_folder)
    assert "subtype\n  column: pam50\n  LumA: 5\n  Basal: 5\n  without a label: 2" in found.text()
    assert "pam50: 1 labels are not among the classes and count as missing ('Her2' of 1)." in found.notes


def test_the_column_of_the_subtype_can_be_named_for_a_check(cohort_folder):
    assert "subtype\n  column: sex\n  male: 12\n  without a label: 0" in check(cohort_folder, subtype="sex").text()
    (cohort_folder / "cohort.toml").write_text('[cohort]\nsubtype = "sex"\n')
    assert "column: sex" in check(cohort_folder).text()
    assert "column: grade" in check(cohort_folder, subtype="grade").text()


def test_a_follow_up_that_is_not_reached_is_said(cohort_folder):
    path = cohort_folder / "clinical.csv"
    path.write_text(path.read_text().replace(",0\n", ",1\n"))
    assert "median follow-up (reverse Kaplan-Meier): not reached" in check(cohort_folder).text()


def test_folds_are_printed_with_their_events(cohort_folder):
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n" + "".join(f"{n:03d},{n > 6:d}\n" for n in range(1, 13)))
    assert "folds: 0: 6 patients, 3 events, 1: 6 patients, 3 events" in check(cohort_folder).text()


def test_labels_that_count_as_missing_are_noted(cohort_folder, edit):
    edit("clinical.csv", "Stage II", "Stage X")
    edit("clinical.csv", "male", "unknown")
    notes = check(cohort_folder).notes
    assert "stage: labels that count as missing: 'Stage X' of 1." in notes
    assert "sex: labels that count as missing: 'unknown' of 1." in notes


def test_an_age_in_days_is_questioned(cohort_folder, edit):
    edit("clinical.csv", "001,00,50", "001,00,18262")
    assert "age: the largest is 18262: are these days or months? prognos counts years." in check(cohort_folder).notes


def test_extreme_expression_is_noted(cohort_folder, edit):
    edit("rna.csv", "001,0.5", "001,36893")
    assert any(note.startswith("rna: values up to 36893; they are scaled by median") for note in check(cohort_folder).notes)


def test_coordinates_of_different_or_unknown_units_are_noted(cohort_folder):
    with h5py.File(cohort_folder / "features" / "002-A.h5", "w") as file:
        file["feats"], file["coords"] = np.zeros((2, 4)), np.zeros((2, 2))
    np.save(cohort_folder / "features" / "003-A.npy", np.zeros((2, 4)))
    (cohort_folder / "features" / "003-A.h5").unlink()
    found = check(cohort_folder)
    assert found.coordinates == {"level0 pixels": 10, "micrometres": 1, "unknown": 1}
    assert "coordinates are in several units: maps of these slides have different scales." in found.notes
    assert "coordinates of 1 slides are of unknown unit: maps need one, training does not." in found.notes


def test_tables_that_nothing_declares_are_noted(cohort_folder):
    (cohort_folder / "blood.csv").write_text("patient_id,leukocytes\n001,6.5\n")
    assert any(note.startswith("1 tables are not used (blood.csv): name them under [modalities]") for note in check(cohort_folder).notes)
    assert not any("blood.csv" in note for note in check(cohort_folder, modalities={"blood": "blood.csv"}).notes)


def spoil(folder, name, value):
    with h5py.File(folder / "features" / f"{name}.h5", "r+") as file:
        file["features"][1, 2] = value


def test_features_that_are_not_finite_are_a_defect(cohort_folder):
    spoil(cohort_folder, "003-A", np.nan)
    spoil(cohort_folder, "004-A", np.inf)
    with pytest.raises(
        CohortError, match=r"2 feature files have unusable values: 003-A.h5: 1 of 5 patches are not finite; 004-A.h5: 1 of 6"
    ):
        check(cohort_folder)
    assert len(check(cohort_folder, values=False).cohort) == 12


def test_features_damaged_behind_their_header_are_a_defect(cohort_folder):
    path = cohort_folder / "features" / "003-A.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.random.default_rng(0).standard_normal((200, 4)), chunks=(200, 4), compression="gzip")
        place = file["features"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + 64] = b"\0" * 64
    path.write_bytes(content)
    with pytest.raises(CohortError, match=r"1 feature file has unusable values: 003-A.h5: cannot be read as .h5") as caught:
        check(cohort_folder)
    assert caught.value.defects[0].patients == ("003",)


def test_a_check_reports_the_defects_of_every_part_at_once(cohort_folder, edit):
    edit("clinical.csv", "600.0,1", "600.0,2")
    edit("rna.csv", "002,0.5", "002,low")
    spoil(cohort_folder, "003-A", np.nan)
    with pytest.raises(CohortError) as caught:
        check(cohort_folder, endpoint="os", gene_sets={"hallmark": "absent.gmt"}, subtype="pam50")
    assert len(caught.value.defects) == 5


def defects_with_spoilt_features(folder):
    """Values, a header and a width that are wrong, on top of what is wrong already."""
    spoil(folder, "003-A", np.nan)
    (folder / "features" / "004-A.h5").write_bytes(b"no HDF5")
    write_features(folder / "features" / "006-A.h5", width=7)
    with pytest.raises(CohortError) as caught:
        check(folder)
    told = str(caught.value)
    for part in ("003-A.h5: 1 of 5 patches are not finite", "004-A.h5: cannot be read as .h5", "features have 2 widths"):
        assert part in told
    assert all("" not in defect.patients for defect in caught.value.defects)
    assert len(caught.value.defects) == 4
    return told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("slide_id,patient_id", "slide_id,case", "there is no column 'patient_id'"),
        ("005-A,005", ",005", "1 rows have no slide_id (line 7)"),
        ("005-A,005", "005-A,005\n005-A,005", "1 slides are listed more than once (005-A; of patients 005)"),
    ],
    ids=["no column", "no id", "a slide twice"],
)
def test_a_defect_of_the_slide_table_hides_none_of_the_feature_files(cohort_folder, edit, old, new, said):
    edit("slides.csv", old, new)
    assert said in defects_with_spoilt_features(cohort_folder)


def test_a_resolution_that_is_none_hides_no_feature_file(cohort_folder):
    path = cohort_folder / "slides.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},mpp", *(f"{row},-1" for row in rows)]) + "\n")
    assert "12 values are not positive numbers (micrometres per pixel)" in defects_with_spoilt_features(cohort_folder)


def test_slides_of_nobody_known_hide_no_feature_file(cohort_folder):
    path = cohort_folder / "slides.csv"
    path.write_text(path.read_text().replace(",0", ",X0"))
    assert "12 of 12 slides are of no patient of clinical.csv" in defects_with_spoilt_features(cohort_folder)
