"""A cohort folder becomes a cohort, or one error that lists everything that is wrong with it."""

import gzip

import h5py
import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort


def excluded(cohort):
    return {exclusion.rule: exclusion.patients for exclusion in cohort.exclusions}


# What is read


def test_a_cohort_is_joined_by_patient_id(cohort_folder):
    cohort = Cohort.read(cohort_folder)
    assert cohort.name == "small"
    assert cohort.endpoint == "os"
    assert cohort.patients == tuple(f"{number:03d}" for number in range(1, 13))
    assert cohort.time[:3].tolist() == [500.0, 600.0, 700.0]
    assert cohort.event[:3].tolist() == [False, True, False]
    assert cohort.sites[:4].tolist() == ["00", "01", "02", "00"]
    assert cohort.modalities == ("clinical", "histology", "omics")
    assert cohort.omics_kinds == ("rna",)
    assert cohort.tables["rna"].loc["003", "MYC"] == 2
    assert cohort.tables["rna"].to_numpy().dtype == np.float32
    assert cohort.d_patch == 4
    assert cohort.folds is None
    assert cohort.exclusions == ()
    assert cohort.notes == ()


def test_a_patient_may_have_several_slides_or_none(cohort_folder):
    cohort = Cohort.read(cohort_folder)
    assert cohort.slides["slide_id"].head(3).tolist() == ["001-A", "001-B", "002-A"]
    assert cohort.slides["n_patches"].head(3).tolist() == [2, 3, 4]
    assert cohort.has("histology").tolist() == [True] * 11 + [False]
    assert cohort.has("rna").tolist() == [True] * 10 + [False, True]
    assert cohort.has("omics").tolist() == cohort.has("rna").tolist()
    assert not cohort.has("cnv").any()


def test_a_modality_that_no_cohort_has_is_refused(cohort_folder):
    with pytest.raises(ValueError, match="small has no modality 'blood'; known: clinical, histology, omics, rna, cnv, snv"):
        Cohort.read(cohort_folder).has("blood")


def test_columns_of_numbers_are_numbers_and_ids_and_sites_are_text(cohort_folder):
    clinical = Cohort.read(cohort_folder).clinical
    assert clinical["age"].tolist()[:2] == [50.0, 51.0]
    assert clinical["stage"].tolist()[:2] == ["Stage II", "Stage II"]
    assert clinical["site"].tolist()[:2] == ["00", "01"]
    assert clinical.index.name == "patient_id"


def test_a_site_called_na_is_a_site(cohort_folder, edit):
    edit("clinical.csv", "001,00,50", "001,NA,50")
    edit("clinical.csv", "002,01,51", "002,,51")
    assert Cohort.read(cohort_folder).sites[:2].tolist() == ["NA", ""]


def test_tables_may_be_gzipped(cohort_folder):
    for name in ("clinical", "rna"):
        path = cohort_folder / f"{name}.csv"
        (cohort_folder / f"{name}.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(Cohort.read(cohort_folder)) == 12


def test_a_byte_order_mark_is_not_part_of_the_first_column(cohort_folder):
    path = cohort_folder / "clinical.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(Cohort.read(cohort_folder)) == 12


def test_slide_ids_may_carry_the_ending_of_the_slide(cohort_folder, edit):
    edit("slides.csv", "001-A,", "001-A.svs,")
    assert Cohort.read(cohort_folder).slides.loc[0, "path"].endswith("001-A.h5")


def test_a_resolution_in_the_slide_table_is_kept(cohort_folder, edit):
    path = cohort_folder / "slides.csv"
    path.write_text(
        path.read_text().replace("patient_id\n", "patient_id,mpp\n").replace("\n00", ",0.25\n00").replace("d,mpp,0.25", "d,mpp")
    )
    path.write_text(path.read_text().rstrip("\n") + ",\n")
    mpp = Cohort.read(cohort_folder).slides["mpp"]
    assert mpp[0] == 0.25
    assert np.isnan(mpp.iloc[-1])


def test_a_slide_without_a_patch_counts_as_absent(cohort_folder):
    for name in ("002-A", "003-A"):
        with h5py.File(cohort_folder / "features" / f"{name}.h5", "w") as file:
            file["features"] = np.zeros((0,) if name == "002-A" else (0, 4), dtype=np.float32)
            file["coords"] = np.zeros((0, 2))
    cohort = Cohort.read(cohort_folder)
    assert cohort.has("histology")[:4].tolist() == [True, False, False, True]
    assert cohort.notes == ("slides: 2 without a patch count as absent (002-A, 003-A).",)


def test_feature_files_of_no_listed_slide_are_noticed(cohort_folder, edit):
    edit("slides.csv", "002-A,002\n", "")
    assert Cohort.read(cohort_folder).notes == ("slides: 1 feature files are of no listed slide (002-A.h5).",)


def test_a_stated_number_of_patches_that_differs_from_the_file_is_noticed(cohort_folder):
    path = cohort_folder / "slides.csv"
    rows = pd.read_csv(path, dtype=str).assign(n_patches="2")
    rows.to_csv(path, index=False)
    (note,) = Cohort.read(cohort_folder).notes
    assert note == "slides: n_patches differs from the feature file for 11 slides (001-B, 002-A, 003-A and 8 more); the file counts."


def test_features_without_a_slide_table_are_noticed(cohort_folder):
    (cohort_folder / "slides.csv").unlink()
    cohort = Cohort.read(cohort_folder)
    assert cohort.modalities == ("clinical", "omics")
    assert cohort.d_patch == 0
    assert "features is there but slides.csv is not: histology is not used." in cohort.notes


def test_missing_values_in_a_table_are_counted_and_an_empty_row_is_absent(cohort_folder, edit):
    edit("rna.csv", "001,0.5,-1,0,2.25", "001,,NA,0,2.25")
    edit("rna.csv", "002,0.5,-1,1,2.25", "002,,,,")
    cohort = Cohort.read(cohort_folder)
    assert cohort.has("rna")[:3].tolist() == [True, False, True]
    assert cohort.notes == ("rna: 1 rows without any value count as absent (002).", "rna: 2 of 40 values are missing.")


def test_few_rows_of_no_known_patient_are_counted(cohort_folder, edit):
    edit("rna.csv", "012,", "900,")
    cohort = Cohort.read(cohort_folder)
    assert "900" not in cohort.tables["rna"].index
    assert cohort.notes == ("rna.csv: 1 of 11 rows are of no patient of clinical.csv (900); they are not used.",)


def test_further_tables_are_modalities(cohort_folder):
    (cohort_folder / "blood.csv").write_text("patient_id,leukocytes\n002,6.5\n")
    cohort = Cohort.read(cohort_folder, modalities={"blood": "blood.csv"})
    assert cohort.modalities == ("clinical", "histology", "omics", "blood")
    assert cohort.has("blood").sum() == 1
    (cohort_folder / "cohort.toml").write_text('[modalities]\nblood = "blood.csv"\n')
    assert "blood" in Cohort.read(cohort_folder).modalities


def test_the_toml_file_gives_other_names_places_and_columns(cohort_folder, edit):
    (cohort_folder / "tables").mkdir()
    (cohort_folder / "clinical.csv").rename(cohort_folder / "tables" / "patients.csv")
    (cohort_folder / "features").rename(cohort_folder / "uni")
    edit("tables/patients.csv", "patient_id,site", "case_id,site")
    edit("tables/patients.csv", "os_time", "OS.time")
    (cohort_folder / "cohort.toml").write_text(
        '[cohort]\nname = "renamed"\nendpoint = "os"\n[files]\nclinical = "tables/patients.csv"\nfeatures = "uni"\n'
        '[columns]\npatient_id = "case_id"\nos_time = "OS.time"\n[omics.gene_sets]\nhallmark = "hallmark.gmt"\n'
    )
    cohort = Cohort.read(cohort_folder)
    assert cohort.name == "renamed"
    assert len(cohort) == 12
    assert cohort.gene_sets == {"hallmark": {"GROWTH": ("MYC", "EGFR"), "DEATH": ("TP53", "BAX")}}


def test_gene_sets_may_be_given_by_the_caller(cohort_folder):
    cohort = Cohort.read(cohort_folder, gene_sets={"mine": cohort_folder / "hallmark.gmt"})
    assert list(cohort.gene_sets["mine"]) == ["GROWTH", "DEATH"]


def test_a_cohort_of_clinical_covariates_alone_keeps_everybody(cohort_folder):
    for name in ("slides.csv", "rna.csv"):
        (cohort_folder / name).unlink()
    (cohort_folder / "features").rename(cohort_folder.parent / "elsewhere")
    cohort = Cohort.read(cohort_folder)
    assert len(cohort) == 12
    assert cohort.modalities == ("clinical",)


def test_new_patients_are_read_without_outcome(cohort_folder, edit):
    edit("clinical.csv", "os_time,os_event", "a,b")
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n001,0\n002,1\n")
    cohort = Cohort.read(cohort_folder, outcome=False)
    assert len(cohort) == 12
    assert cohort.endpoint == ""
    assert np.isnan(cohort.time).all()
    assert not cohort.event.any()
    assert cohort.folds is None


# Who is left out


def test_each_patient_is_left_out_by_the_first_rule_that_applies(cohort_folder, edit):
    edit("clinical.csv", "500.0,0", ",0")
    edit("clinical.csv", "600.0,1", "NaN,")
    edit("clinical.csv", "700.0,0", "0,1")
    edit("clinical.csv", "800.0,1", "-3,")
    edit("clinical.csv", "900.0,0", "900.0,")
    edit("slides.csv", "011-A,011\n", "")
    folds = "".join(f"{number:03d},{number % 2}\n" for number in range(1, 12) if number != 6)
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n" + folds)
    cohort = Cohort.read(cohort_folder)
    assert excluded(cohort) == {
        "no time": ("001", "002"),
        "time of 0 or below": ("003", "004"),
        "no event code": ("005",),
        "no usable modality": ("011",),
        "not in the given splits": ("006", "012"),
    }
    assert cohort.patients == ("007", "008", "009", "010")
    assert cohort.folds.tolist() == [1, 0, 1, 0]
    assert str(cohort.exclusions[0]) == "2 left out: no time (001, 002)"
    assert set(cohort.slides["patient_id"]) == set(cohort.patients)
    assert tuple(cohort.tables["rna"].index) == cohort.patients


def test_a_table_of_which_no_kept_patient_has_a_row_is_no_modality(cohort_folder):
    (cohort_folder / "cnv.csv").write_text("patient_id,TP53\n001,-1\n")
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n" + "".join(f"{n:03d},{n % 2}\n" for n in range(2, 13)))
    cohort = Cohort.read(cohort_folder)
    assert cohort.omics_kinds == ("rna",)
    assert "cnv: none of the kept patients has it." in cohort.notes


@pytest.mark.parametrize(("divide", "unit"), [(365.25, "years"), (30.4375, "months")])
def test_an_implausible_time_unit_is_questioned(cohort_folder, divide, unit):
    path = cohort_folder / "clinical.csv"
    frame = pd.read_csv(path, dtype={"patient_id": str, "site": str})
    frame["os_time"] = (frame["os_time"] / divide).round(2)
    frame.to_csv(path, index=False)
    (note,) = Cohort.read(cohort_folder).notes
    assert f"are these {unit}? prognos counts days" in note


# Subtypes


def test_labels_outside_the_stated_classes_are_missing_and_classes_merge(cohort_folder, edit):
    edit("clinical.csv", "G2,LumA", "G2,LumB")
    edit("clinical.csv", "G2,Basal", "G2,")
    edit("clinical.csv", "G2,Basal", "G2,Her2")
    (cohort_folder / "cohort.toml").write_text('[cohort]\nsubtype_classes = ["Luminal", "Basal"]\nmerge = { Luminal = ["LumA", "LumB"] }\n')
    labels = Cohort.read(cohort_folder).subtype
    assert labels.tolist()[:5] == [None, "Luminal", None, "Luminal", "Basal"]


def test_a_subtype_column_can_be_named_and_an_empty_one_is_none(cohort_folder, edit):
    edit("clinical.csv", "subtype", "pam50")
    assert Cohort.read(cohort_folder).subtype is None
    assert Cohort.read(cohort_folder, subtype="pam50").subtype.iloc[0] == "Basal"
    path = cohort_folder / "clinical.csv"
    path.write_text(path.read_text().replace("LumA", "").replace("Basal", ""))
    assert Cohort.read(cohort_folder, subtype="pam50").subtype is None


# Subsets


def test_a_subset_keeps_the_order_given(cohort_folder):
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n" + "".join(f"{n:03d},{n % 2}\n" for n in range(1, 13)))
    cohort = Cohort.read(cohort_folder)
    part = cohort.subset(["012", "001", "011"])
    assert part.patients == ("012", "001", "011")
    assert part.time.tolist() == [1600.0, 500.0, 1500.0]
    assert part.slides["slide_id"].tolist() == ["001-A", "001-B", "011-A"]
    assert part.tables["rna"].index.tolist() == ["012", "001"]
    assert part.folds.tolist() == [0, 1, 1]
    assert part.subtype.tolist() == ["LumA", "Basal", "Basal"]
    assert part.has("histology").tolist() == [False, True, True]
    assert len(cohort.subset([])) == 0


def test_a_subset_of_strangers_or_doubles_is_refused(cohort_folder):
    cohort = Cohort.read(cohort_folder)
    with pytest.raises(ValueError, match=r"2 patients are not in small \(900, 901\): choose among Cohort.patients"):
        cohort.subset(["001", "900", "901"])
    with pytest.raises(ValueError, match=r"1 patients are named more than once \(001\): name each patient once"):
        cohort.subset(["001", "001"])


def test_reading_writes_nothing_into_the_folder(cohort_folder):
    before = sorted((path, path.stat().st_mtime_ns) for path in cohort_folder.rglob("*"))
    Cohort.read(cohort_folder)
    assert sorted((path, path.stat().st_mtime_ns) for path in cohort_folder.rglob("*")) == before
