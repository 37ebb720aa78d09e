"""Tables of other tools become cohort folders; every inversion and conversion is said."""

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort
from prognos.cohort.importers import FORMATS, ImportSourceError, import_table
from prognos.cohort.importers_parts import days_of_months

DAYS = (734.0, 364.0, 2886.0, 1219.0, 205.0, 3314.0)
CENSORED = (0, 1, 0, 1, 0, 1)
PATIENTS = tuple(f"TCGA-0{number % 3}-{number:04d}" for number in range(6))


def months(length):
    return [round(day / length, 2) for day in DAYS]


def mcat_table(path, **changes):
    """Six patients, the first with two slides."""
    rows = pd.DataFrame(
        {
            "case_id": PATIENTS,
            "slide_id": [f"{patient}-01Z-00-DX1.svs" for patient in PATIENTS],
            "site": [patient[5:7] for patient in PATIENTS],
            "is_female": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
            "oncotree_code": "BLCA",
            "age": [63, 66, 69, 59, 83, 67],
            "survival_months": months(30.44),
            "censorship": CENSORED,
            "train": 1.0,
            "TP53_rnaseq": np.linspace(-1, 1, 6),
            "MYC_rnaseq": np.linspace(2, 3, 6),
            "TP53_cnv": [-1, 0, 1, 2, 0, 0],
            "TP53_mut": [1, 0, 0, 0, 1, 0],
        }
    ).assign(**changes)
    rows = pd.concat([rows, rows.head(1).assign(slide_id=f"{PATIENTS[0]}-01Z-00-DX2.svs")])
    rows.to_csv(path, compression={"method": "zip", "archive_name": "table.csv"} if path.suffix == ".zip" else None)
    return path


def test_mcat_tables_are_inverted_and_converted_to_days(tmp_path):
    report = import_table("mcat", mcat_table(tmp_path / "tcga_blca_all_clean.csv.zip"), tmp_path / "blca")
    clinical = pd.read_csv(tmp_path / "blca" / "clinical.csv", dtype={"patient_id": str, "site": str})
    assert clinical["os_time"].tolist() == list(DAYS)
    assert clinical["os_event"].tolist() == [1 - censored for censored in CENSORED]
    assert clinical["sex"].tolist() == ["female", "male"] * 3
    assert clinical["site"].tolist()[:2] == ["00", "01"]
    for line in (
        "tcga_blca_all_clean.csv.zip: 7 rows (slides), 6 patients",
        "censorship -> os_event: inverted, 1 meant censored",
        "survival_months -> os_time: months to whole days, 30.44 days a month",
        "is_female -> sex: 1 to female, 0 to male",
        "*_rnaseq -> rna.csv.gz: 2 genes",
        "patients: 6",
        "slides: 7 of 6 patients",
        "rna: 6 patients x 2 columns",
    ):
        assert line in report.lines
    # Reverse Kaplan-Meier: the censored leave at 364 (5 at risk), 1219 (3 at risk) and 3314 (the last): 4/5, 8/15, 0.
    assert "os: 6 patients with a time above 0, 3 events, median follow-up 3314 days" in report.lines


def test_an_imported_cohort_is_read(tmp_path):
    out = tmp_path / "blca"
    features = tmp_path / "uni"
    features.mkdir()
    for slide in [f"{patient}-01Z-00-DX1" for patient in PATIENTS] + [f"{PATIENTS[0]}-01Z-00-DX2"]:
        np.save(features / f"{slide}.npy", np.zeros((3, 4), dtype=np.float32))
    import_table("porpoise", mcat_table(tmp_path / "a_all_clean.csv"), out, features=features)
    cohort = Cohort.read(out)
    assert len(cohort) == 6
    assert cohort.omics_kinds == ("rna", "cnv", "snv")
    assert cohort.tables["snv"]["TP53"].tolist() == [1, 0, 0, 0, 1, 0]
    assert len(cohort.slides) == 7
    assert cohort.event.tolist() == [not censored for censored in CENSORED]


def test_without_feature_files_the_next_step_is_said(tmp_path):
    report = import_table("mcat", mcat_table(tmp_path / "a_all_clean.csv"), tmp_path / "blca")
    assert "put the feature files in" in report.lines[-2]
    assert report.lines[-1] == f"next: prognos check {tmp_path / 'blca'}"
    assert report.text() == "\n".join(report.lines)


def test_a_month_has_the_length_that_gives_whole_days():
    thirty = pd.Series([day / 30 for day in DAYS])
    assert days_of_months(thirty)[0].tolist() == list(DAYS)
    assert days_of_months(thirty)[1] == 30.0
    rounded = pd.Series(months(30.44))
    assert days_of_months(rounded)[0].tolist() == list(DAYS)
    assert days_of_months(rounded)[1] == 30.44


def splits(folder, held_out="val"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        test = PATIENTS[number::3]
        columns = {"train": [patient for patient in PATIENTS if patient not in test], held_out: list(test)}
        pd.DataFrame({name: pd.Series(ids) for name, ids in columns.items()}).to_csv(folder / f"splits_{number}.csv")
    return folder


def test_splits_of_another_folder_are_added(tmp_path):
    source = mcat_table(tmp_path / "a_all_clean.csv")
    report = import_table("mcat", source, tmp_path / "blca", splits=splits(tmp_path / "5foldcv"))
    folds = pd.read_csv(tmp_path / "blca" / "splits.csv").set_index("patient_id")["fold"]
    assert folds.loc[list(PATIENTS)].tolist() == [0, 1, 2, 0, 1, 2]
    assert "folds: 0: 2, 1: 2, 2: 2" in report.lines


def test_splits_beside_the_table_are_taken_and_strangers_in_them_said(tmp_path):
    source = tmp_path / "source"
    splits(source)
    table = mcat_table(source / "a_all_clean.csv")
    frame = pd.read_csv(table, dtype=str)
    frame[frame["case_id"] != PATIENTS[5]].to_csv(table, index=False)
    report = import_table("mcat", source, tmp_path / "blca")
    assert f"splits: 1 patients are not in the table and left out ({PATIENTS[5]})" in report.lines


def survpath_folder(folder, transposed=False):
    (folder / "metadata").mkdir(parents=True)
    frame = pd.DataFrame(
        {
            "case_id": PATIENTS,
            "slide_id": [f"{patient}-DX1.svs" for patient in PATIENTS],
            "age": 60.0,
            "site": "3M",
            "survival_months": [day / 30 for day in DAYS],
            "survival_months_dss": [day / 30 for day in DAYS],
            "censorship": CENSORED,
            "censorship_dss": [1, *CENSORED[1:]],
            "is_female": 0.0,
            "oncotree_code": "STAD",
        }
    )
    frame.to_csv(folder / "metadata" / "tcga_stad.csv")
    expression = pd.DataFrame(np.ones((7, 2)), index=[*PATIENTS, "TCGA-ZZ-ZZZZ"], columns=["TP53", "MYC"])
    (expression.T if transposed else expression).to_csv(folder / "rna_clean.csv")
    clinical = pd.DataFrame({"case_id": PATIENTS, "stage": ["II", "N/A", "IV", "I", "0", "III"], "grade": "G2", "subtype": "MSTAD"})
    clinical.to_csv(folder / "tcga_stad_clinical.csv")
    splits(folder / "5foldcv")
    return folder


@pytest.mark.parametrize("transposed", [False, True])
def test_survpath_folders_have_two_endpoints_and_expression(tmp_path, transposed):
    report = import_table("survpath", survpath_folder(tmp_path / "stad", transposed), tmp_path / "out")
    clinical = pd.read_csv(tmp_path / "out" / "clinical.csv", keep_default_na=False)
    assert clinical["os_time"].tolist() == list(DAYS)
    assert clinical["os_event"].tolist() == [1 - censored for censored in CENSORED]
    assert clinical["dss_event"].tolist() == [0, *[1 - censored for censored in CENSORED[1:]]]
    assert clinical["stage"].tolist() == ["II", "", "IV", "I", "0", "III"]
    assert "survival_months_dss -> dss_time: months to whole days, 30 days a month" in report.lines
    assert "censorship_dss -> dss_event: inverted, 1 meant censored" in report.lines
    assert ("rna_clean.csv: genes x patients turned round" in report.lines) == transposed
    assert "tcga_stad_clinical.csv -> stage, grade" in report.lines
    assert "rna_clean.csv: 1 rows of no patient of the metadata table left out" in report.lines
    assert "slide_id: the ending of the slide file taken off 6 ids" in report.lines
    rna = pd.read_csv(tmp_path / "out" / "rna.csv.gz", index_col=0)
    assert rna.index.name == "patient_id"
    assert rna.shape == (6, 2)
    assert len(pd.read_csv(tmp_path / "out" / "splits.csv")) == 6


def test_a_whole_repository_is_read_when_the_cohort_is_named(tmp_path):
    source = tmp_path / "repository"
    survpath_folder(source / "stad")
    other = survpath_folder(source / "blca")
    (other / "metadata" / "tcga_stad.csv").rename(other / "metadata" / "tcga_blca.csv")
    (other / "tcga_stad_clinical.csv").rename(other / "tcga_blca_clinical.csv")
    narrow = source / "stad" / "narrow" / "rna_clean.csv"
    narrow.parent.mkdir()
    pd.DataFrame({"TP53": 1.0}, index=list(PATIENTS)).to_csv(narrow)
    with pytest.raises(
        ImportSourceError, match=r"a table with survival_months, exactly one \(found: blca.*, stad.*\): give the folder of one"
    ):
        import_table("survpath", source, tmp_path / "out")
    report = import_table("survpath", source, tmp_path / "out", project="STAD")
    assert "of 2 rna_clean.csv the widest is taken: stad/rna_clean.csv" in report.lines
    assert "rna: 6 patients x 2 columns" in report.lines


def mmp_folder(folder, name="TCGA_BLCA"):
    frame = pd.DataFrame(
        {
            "case_id": PATIENTS,
            "slide_id": [f"{patient}-DX1" for patient in PATIENTS],
            "sex": ["M", "F"] * 3,
            "tissue_source_site": [patient[5:7] for patient in PATIENTS],
            "mpp": 0.25,
            "age_at_initial_pathologic_diagnosis": 63.0,
            "ajcc_pathologic_tumor_stage": ["Stage IV", "[Not Available]", *["Stage II"] * 4],
            "histological_grade": "High Grade",
            "os_survival_days": DAYS,
            "os_censorship": [float(censored) for censored in CENSORED],
            "dss_survival_days": [*DAYS[:5], ""],
            "dss_censorship": [*[float(censored) for censored in CENSORED[:5]], ""],
            "dss_cr_survival_days": DAYS,
            "dss_cr_censorship": [-1.0, *[1.0] * 5],
        }
    )
    for number in range(3):
        split = folder / f"{name}_overall_survival_k={number}"
        split.mkdir(parents=True)
        tested = frame["case_id"].isin(PATIENTS[number::3])
        frame[tested].to_csv(split / "test.csv", index=False)
        frame[~tested].to_csv(split / "train.csv", index=False)
    return folder


def test_mmp_folders_give_folds_days_and_inverted_events(tmp_path):
    report = import_table("mmp", mmp_folder(tmp_path / "splits"), tmp_path / "out")
    clinical = pd.read_csv(tmp_path / "out" / "clinical.csv", keep_default_na=False).set_index("patient_id").loc[list(PATIENTS)]
    assert clinical["os_time"].astype(float).tolist() == list(DAYS)
    assert clinical["os_event"].tolist() == [1 - censored for censored in CENSORED]
    assert clinical["dss_event"].tolist()[-1] == ""
    assert clinical["stage"].tolist()[:2] == ["Stage IV", ""]
    assert "dss_cr_time" not in clinical
    assert "not imported: dss_cr, whose censorship has codes other than 0 and 1" in report.lines
    assert "os_censorship -> os_event: inverted, 1 meant censored; os_survival_days -> os_time: days as they were" in report.lines
    assert "tissue_source_site -> site" in report.lines
    assert "os: 6 patients with a time above 0, 3 events, median follow-up 3314 days" in report.lines
    folds = pd.read_csv(tmp_path / "out" / "splits.csv").set_index("patient_id")["fold"]
    assert folds.loc[list(PATIENTS)].tolist() == [0, 1, 2, 0, 1, 2]
    assert pd.read_csv(tmp_path / "out" / "slides.csv")["mpp"].eq(0.25).all()


def test_one_cohort_of_several_split_folders_is_named(tmp_path):
    folder = mmp_folder(mmp_folder(tmp_path / "splits"), "TCGA_STAD")
    with pytest.raises(ImportSourceError, match=r"found: TCGA_BLCA_overall_survival, TCGA_STAD_overall_survival\): name it with project"):
        import_table("mmp", folder, tmp_path / "out")
    report = import_table("mmp", folder, tmp_path / "out", project="stad")
    assert "folds: 0: 2, 1: 2, 2: 2" in report.lines


def test_a_patient_of_the_test_part_who_is_trained_on_is_refused(tmp_path):
    folder = mmp_folder(mmp_folder(tmp_path / "splits"), "TCGA_STAD")
    split = folder / "TCGA_STAD_overall_survival_k=0"
    pd.concat([pd.read_csv(split / "train.csv"), pd.read_csv(split / "test.csv").head(1)]).to_csv(split / "train.csv", index=False)
    with pytest.raises(ImportSourceError, match=r"k=0: 1 patients are tested twice or trained on as well \(TCGA-00-0000\)"):
        import_table("mmp", folder, tmp_path / "out", project="STAD")


def resource_table(path, **changes):
    pd.DataFrame(
        {
            "bcr_patient_barcode": PATIENTS,
            "type": ["COAD", "COAD", "READ", "READ", "BLCA", "BLCA"],
            "age_at_initial_pathologic_diagnosis": ["63", "[Not Available]", "70", "50", "60", "61"],
            "gender": ["MALE", "FEMALE"] * 3,
            "ajcc_pathologic_tumor_stage": "Stage IIA",
            "histological_grade": "[Not Available]",
            "Redaction": ["", "Redacted", "", "", "", ""],
            "OS": [1, 0, 1, "", 1, 0],
            "OS.time": [*DAYS[:5], "#N/A"],
            "DSS": [0, 0, 1, 0, 1, 0],
            "DSS.time": DAYS,
        }
    ).assign(**changes).to_csv(path)
    return path


def test_the_clinical_resource_is_taken_as_it_is(tmp_path):
    report = import_table("tcga-cdr", resource_table(tmp_path / "cdr.csv"), tmp_path / "out", project="COAD+READ")
    clinical = pd.read_csv(tmp_path / "out" / "clinical.csv", dtype=str, keep_default_na=False)
    assert clinical["patient_id"].tolist() == [PATIENTS[0], *PATIENTS[2:4]]
    assert clinical["site"].tolist() == ["00", "02", "00"]
    assert clinical["os_event"].tolist() == ["1", "1", ""]
    assert clinical["age"].tolist() == ["63.0", "70.0", "50.0"]
    assert "grade" not in clinical
    assert "1 redacted patients left out" in report.lines
    assert "OS -> os_event, OS.time -> os_time: as they were (1 observed, days)" in report.lines
    assert "dss: 3 patients with a time above 0, 1 events, median follow-up 1219 days" in report.lines
    with pytest.raises(ImportSourceError, match=r"no patients of type COED \(did you mean 'COAD'\?"):
        import_table("tcga-cdr", tmp_path / "cdr.csv", tmp_path / "other", project="COED")


def test_what_is_there_is_never_overwritten(tmp_path):
    source = mcat_table(tmp_path / "a_all_clean.csv")
    import_table("mcat", source, tmp_path / "out")
    with pytest.raises(
        ImportSourceError, match=r"out holds clinical.csv, slides.csv, rna.csv.gz and 2 more already: choose another folder"
    ):
        import_table("mcat", source, tmp_path / "out")


BROKEN = {
    "unknown format": (lambda path: ("mcatt", path), r"there is no format 'mcatt' \(did you mean 'mcat'\? Known: mcat, porpoise"),
    "no such file": (lambda path: ("mcat", path / "absent.csv"), r"there is no file .*absent.csv: correct the path"),
    "no such spreadsheet": (lambda path: ("tcga-cdr", path / "absent.xlsx"), r"there is no file .*absent.xlsx: correct the path"),
    "no such matrix": (lambda path: ("h5ad", path / "absent.h5ad"), r"there is no file .*absent.h5ad: correct the path"),
    "folder without table": (lambda path: ("mcat", path), r"must hold a table \*_all_clean.csv\*, exactly one \(found: none\)"),
    "not a folder": (lambda path: ("survpath", mcat_table(path / "a.csv")), r"a.csv is not a folder: give the folder that holds metadata"),
    "nothing of survpath": (lambda path: ("survpath", path), r"must hold a table with survival_months, exactly one \(found: none\)"),
    "no splits": (lambda path: ("mmp", path), r"must hold the splits of one cohort, NAME_k=0, NAME_k=1 ... \(found: none\)"),
    "header only": (lambda path: ("mcat", written(path / "a.csv", "case_id,slide_id\n")), r"a.csv has no row: export it again"),
    "empty": (lambda path: ("mcat", written(path / "a.csv", "")), r"a.csv cannot be read as CSV \(No columns to parse"),
    "other columns": (
        lambda path: ("mcat", mcat_table(path / "a.csv").rename(path / "b.csv") and renamed(path / "b.csv", "censorship", "censored")),
        r"b.csv has no column 'censorship' \(did you mean 'censored'\?.*\): is this the right format",
    ),
    "censorship in words": (
        lambda path: ("mcat", mcat_table(path / "a.csv", censorship="alive")),
        r"a.csv, censorship: 6 cells are not numbers \('alive', 'alive', 'alive' and 3 more\): correct them",
    ),
    "censorship coded 2": (
        lambda path: ("mcat", mcat_table(path / "a.csv", censorship=2)),
        r"a.csv, censorship: 6 cells are not 0, 1 or empty \('2', '2', '2' and 3 more\): correct them",
    ),
    "a gene in words": (
        lambda path: ("mcat", mcat_table(path / "a.csv", TP53_cnv="gain")),
        r"a.csv: 6 cells are not numbers \(columns TP53\)",
    ),
    "two times of a patient": (
        lambda path: ("mcat", two_times(path)),
        r"a.csv, survival_months: 1 patients have several values \(TCGA-00-0000\): keep",
    ),
    "no id": (
        lambda path: ("tcga-cdr", resource_table(path / "a.csv", bcr_patient_barcode="")),
        r"a.csv: 5 patients have no id: fill it in",
    ),
    "a patient twice": (
        lambda path: ("tcga-cdr", resource_table(path / "a.csv", bcr_patient_barcode="TCGA-AA-1")),
        r"a.csv: 1 patients have several rows \(TCGA-AA-1\): keep one row a patient",
    ),
    "expression of others": (
        lambda path: ("survpath", strangers(path)),
        r"rna_clean.csv: neither its rows \(a, b\) nor its columns are patients",
    ),
    "no usable endpoint": (
        lambda path: ("mmp", competing(path)),
        r"no pair of columns <endpoint>_survival_days and <endpoint>_censorship is usable",
    ),
}


def written(path, text):
    path.write_text(text)
    return path


def renamed(path, old, new):
    return written(path, path.read_text().replace(old, new))


def two_times(path):
    table = mcat_table(path / "a.csv")
    frame = pd.read_csv(table, dtype=str)
    frame.loc[6, "survival_months"] = "1.0"
    frame.to_csv(table, index=False)
    return table


def strangers(path):
    folder = survpath_folder(path / "stad")
    pd.DataFrame({"TP53": [1, 2]}, index=["a", "b"]).to_csv(folder / "rna_clean.csv")
    return folder


def competing(path):
    folder = mmp_folder(path / "splits")
    for table in folder.rglob("*.csv"):
        frame = pd.read_csv(table)
        frame[["case_id", "slide_id", "dss_cr_survival_days"]].assign(dss_cr_censorship=-1).to_csv(table, index=False)
    return folder


@pytest.mark.parametrize("name", BROKEN)
def test_each_source_that_cannot_be_imported_is_explained(tmp_path, name):
    make, message = BROKEN[name]
    format, source = make(tmp_path)
    with pytest.raises(ImportSourceError, match=message):
        import_table(format, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_spreadsheet_that_cannot_be_read_says_what_to_do(tmp_path):
    source = written(tmp_path / "cdr.xlsx", "no spreadsheet")
    with pytest.raises(ImportSourceError, match=r"cdr.xlsx(: reading .xlsx needs openpyxl| cannot be read as .xlsx)"):
        import_table("tcga-cdr", source, tmp_path / "out")


def test_the_formats_are_those_of_the_interface():
    assert tuple(FORMATS) == ("mcat", "porpoise", "survpath", "mmp", "tcga-cdr", "h5ad", "h5mu")
