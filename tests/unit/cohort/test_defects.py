"""Everything that is wrong with a cohort folder is said at once: what, where and what to do."""

import gzip
import re

import h5py
import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort, CohortError
from prognos.cohort.defects import naming, nearest

# Defects: name -> what to break, what the message must say


def replaced(name, old, new):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, 1))


def written(name, content):
    def write(folder):
        (folder / name).write_bytes(content) if isinstance(content, bytes) else (folder / name).write_text(content)

    return write


def features(name, **datasets):
    def write(folder):
        with h5py.File(folder / "features" / f"{name}.h5", "w") as file:
            for key, values in datasets.items():
                file[key] = values

    return write


def cut_in_half(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])


def removed(name):
    return lambda folder: (folder / name).unlink()


def renamed(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def all_renumbered(name):
    return lambda folder: (folder / name).write_text(re.sub(r"(?m)^0+", "", (folder / name).read_text()))


def transposed(folder):
    frame = pd.read_csv(folder / "rna.csv", dtype={"patient_id": str}).set_index("patient_id").T
    frame.rename_axis("gene").to_csv(folder / "rna.csv")


SPLITS = "patient_id,fold\n" + "".join(f"{number:03d},{number % 2}\n" for number in range(1, 13))
CLINICAL = "clinical.csv"

DEFECTS = {
    "no clinical table": (
        removed(CLINICAL),
        r"small: there is no clinical.csv; the folder holds features, hallmark.gmt, rna.csv and 1 more; add it",
    ),
    "empty file": (written(CLINICAL, ""), r"clinical.csv: the file is empty; export the table again"),
    "header only": (written(CLINICAL, "patient_id,os_time,os_event\n"), r"clinical.csv: there is a header but no row"),
    "header of one table only": (written("rna.csv", "patient_id,TP53\n"), r"rna.csv: there is a header but no row"),
    "wrong encoding": (
        written(CLINICAL, "patient_id,os_time,os_event\nMüller,1,1\n".encode("latin-1")),
        r"not UTF-8 \(byte 29 is 0xfc\); save",
    ),
    "semicolons": (
        written(CLINICAL, "patient_id;os_time;os_event\n1;2;1\n"),
        r"columns are separated by semicolons; export the table with commas",
    ),
    "tabs": (written(CLINICAL, "patient_id\tos_time\tos_event\n1\t2\t1\n"), r"columns are separated by tabs; export the table with commas"),
    "a row too long": (
        replaced(CLINICAL, "003,02", "003,02,7"),
        r"clinical.csv: the CSV cannot be read \(.*Expected 9 fields in line 4, saw 10",
    ),
    "a file that was cut": (cut_in_half("rna.csv"), r"rna.csv: the last line has \d of 5 cells: the file was cut; copy or export"),
    "damaged gzip": (written("cnv.csv.gz", gzip.compress(b"patient_id,TP53\n001,1\n")[:-9]), r"cnv.csv.gz: the gzip file is damaged"),
    "no gzip at all": (written("cnv.csv.gz", b"patient_id,TP53\n001,1\n"), r"cnv.csv.gz: the gzip file is damaged \(Not a gzipped file"),
    "a table twice": (written("rna.csv.gz", b""), r"rna.csv and rna.csv.gz are both there; keep one, or name it under \[files\] rna"),
    "no patient column": (
        replaced(CLINICAL, "patient_id", "patient"),
        r"clinical.csv: there is no column 'patient_id' \(did you mean 'patient'\?.*patient_id = \"its name\" under \[columns\]",
    ),
    "duplicate patient": (
        replaced(CLINICAL, "\n002,", "\n001,"),
        r"clinical.csv: 1 patients have more than one row \(001\); keep one row a patient",
    ),
    "duplicate column": (
        replaced(CLINICAL, ",stage,", ",age,"),
        r"clinical.csv: 1 columns occur more than once \('age'\); rename or remove",
    ),
    "empty id": (replaced(CLINICAL, "\n002,", "\n,"), r"clinical.csv, column patient_id: 1 rows have no patient_id \(line 3\); fill it in"),
    "spaces in an id": (
        replaced(CLINICAL, "\n002,", "\n002 ,"),
        r"column patient_id: 1 ids have spaces around them \('002 '\); remove the spaces",
    ),
    "unreadable time": (
        replaced(CLINICAL, "600.0,1", "two years,1"),
        r"clinical.csv, column os_time: 1 times are not a number \('two years' of 002\); write days",
    ),
    "infinite time": (replaced(CLINICAL, "600.0,1", "inf,1"), r"column os_time: 1 times are not a number \('inf' of 002\)"),
    "event coded 2": (
        replaced(CLINICAL, "600.0,1", "600.0,2"),
        r"clinical.csv, column os_event: 1 events are not 0, 1 or empty \('2' of 002\); write 1 where the event was observed",
    ),
    "event in words": (replaced(CLINICAL, "600.0,1", "600.0,dead"), r"column os_event: 1 events are not 0, 1 or empty \('dead' of 002\)"),
    "no time column": (
        replaced(CLINICAL, "os_time", "os_days"),
        r"no endpoint is complete: 'os_time' is not there; add the column, or map it",
    ),
    "no endpoint": (
        replaced(CLINICAL, "os_time,os_event", "a,b"),
        r"there is no endpoint; columns are site, age, sex and 5 more; add <endpoint>_time",
    ),
    "empty time column": (
        lambda folder: (folder / CLINICAL).write_text(re.sub(r"\d+\.0,(\d)\n", r",\1\n", (folder / CLINICAL).read_text())),
        r"clinical.csv, column os_time: the column is empty for all patients; fill it, or name another endpoint",
    ),
    "no event at all": (
        lambda folder: (folder / CLINICAL).write_text((folder / CLINICAL).read_text().replace(",1\n", ",0\n")),
        r"column os_event: none of the 12 kept patients has an event; check that 1 means observed",
    ),
    "nobody left": (
        written("splits.csv", SPLITS.replace("\n0", "\n9")),
        r"12 of 12 rows are of no patient of clinical.csv \(901, 902, 903 and 9 more",
    ),
    "several endpoints": (
        replaced(CLINICAL, "age,sex", "dss_time,dss_event"),
        r"there are 2 endpoints \(dss, os\); name one: --endpoint dss",
    ),
    "gene not a number": (
        replaced("rna.csv", "002,0.5,-1", "002,0.5,low"),
        r"rna.csv: one cell is not a number \('low' in column EGFR of patient 002\); write a number, or leave the cell empty",
    ),
    "infinite gene": (replaced("rna.csv", "002,0.5,-1", "002,0.5,inf"), r"rna.csv: 1 cells are infinite \(columns EGFR; patients 002\)"),
    "duplicate gene": (replaced("rna.csv", "MYC", "EGFR"), r"rna.csv: 1 columns occur more than once \('EGFR'\)"),
    "duplicate patient in a table": (replaced("rna.csv", "\n002,", "\n001,"), r"rna.csv: 1 patients have more than one row \(001\)"),
    "genes x patients": (transposed, r"rna.csv: columns are patients, rows are genes; transpose the table"),
    "table without patients": (
        replaced("rna.csv", "patient_id", "index"),
        r"rna.csv: there is no column 'patient_id'; the first is 'index'",
    ),
    "table of ids only": (written("rna.csv", "patient_id\n001\n"), r"rna.csv: there is no column beside patient_id"),
    "ids without their zeros": (
        all_renumbered("rna.csv"),
        r"rna.csv: 11 of 11 rows are of no patient of clinical.csv \(1, 2, 3 and 8 more\); the ids were read as numbers somewhere and lost",
    ),
    "strangers in a table": (
        lambda folder: (folder / "rna.csv").write_text((folder / "rna.csv").read_text().replace("\n01", "\nX").replace("\n00", "\nY")),
        r"rna.csv: 11 of 11 rows are of no patient of clinical.csv \(Y1, Y2, Y3 and 8 more\); use the same ids in both files",
    ),
    "slides of strangers": (
        lambda folder: (folder / "slides.csv").write_text((folder / "slides.csv").read_text().replace(",00", ",9")),
        r"slides.csv: 10 of 12 slides are of no patient of clinical.csv \(91, 92, 93 and 6 more\)",
    ),
    "slide listed twice": (
        replaced("slides.csv", "001-B,001", "002-A,001"),
        r"slides.csv: 1 slides are listed more than once \(002-A; of patients 001, 002\); keep one row a slide",
    ),
    "no slide column": (replaced("slides.csv", "slide_id", "slide"), r"slides.csv: there is no column 'slide_id' \(did you mean 'slide'\?"),
    "empty slide id": (replaced("slides.csv", "001-A,", ","), r"slides.csv, column slide_id: 1 rows have no slide_id \(line 2\)"),
    "impossible resolution": (
        written("slides.csv", "slide_id,patient_id,mpp\n001-A,001,0.5\n002-A,002,-1\n"),
        r"slides.csv, column mpp: 1 values are not positive numbers \(micrometres per pixel\): '-1' of 002-A",
    ),
    "slide without features": (
        removed("features/003-A.h5"),
        r"slides.csv: 1 of 12 slides have no feature file \(003-A\); add features/<slide_id>.h5, or remove the slides",
    ),
    "no features at all": (
        renamed("features", "features-of-uni"),
        r"slides.csv: 12 slides are listed but there is no folder of features; add features/",
    ),
    "truncated features": (
        cut_in_half("features/003-A.h5"),
        r"features: 1 feature file is unusable: 003-A.h5: cannot be read as .h5 \(\d+ bytes",
    ),
    "features that are no HDF5": (written("features/003-A.h5", "no"), r"003-A.h5: cannot be read as .h5 \(2 bytes"),
    "no features inside": (
        features("003-A", embeddings=np.zeros((2, 4))),
        r"003-A.h5: no dataset is called 'features' or 'feats'; it holds embeddings",
    ),
    "features of one axis": (features("003-A", features=np.zeros(4)), r"003-A.h5: features have shape \(4,\); expected \(patches, width\)"),
    "features of two widths": (
        features("003-A", features=np.zeros((2, 8))),
        r"features: features have 2 widths: 4 \(11 slides: 001-A, 001-B, 002-A and 8 more\); 8 \(1 slides: 003-A\); extract all",
    ),
    "coordinates of other patches": (
        features("003-A", features=np.zeros((2, 4)), coords=np.zeros((3, 2))),
        r"003-A.h5: 2 rows of features but coordinates of shape \(3, 2\)",
    ),
    "patient in two folds": (
        written("splits.csv", SPLITS + "001,0\n"),
        r"splits.csv: 1 patients are listed more than once \(001\), 1 of them in two folds \(001\); each patient is tested in one fold",
    ),
    "patient twice in a fold": (
        written("splits.csv", SPLITS + "001,1\n"),
        r"splits.csv: 1 patients are listed more than once \(001\); each patient",
    ),
    "fold not a number": (
        written("splits.csv", SPLITS.replace("001,1", "001,one")),
        r"splits.csv, column fold: 1 folds are not whole numbers from 0 \('one' of 001\); number the folds",
    ),
    "one fold": (
        written("splits.csv", "patient_id,fold\n001,0\n002,0\n"),
        r"splits.csv: all 2 patients are in fold 0; give at least two folds",
    ),
    "no fold column": (written("splits.csv", "patient_id,split\n001,0\n"), r"splits.csv: there is no column 'fold'"),
    "unreadable toml": (written("cohort.toml", "[cohort\n"), r"cohort.toml: cannot be read as TOML \(.*line 1.*\); correct the line"),
    "unknown section": (written("cohort.toml", "[chort]\n"), r"cohort.toml: there is no section \[chort\] \(did you mean 'cohort'\?"),
    "unknown key": (
        written("cohort.toml", '[cohort]\nendpont = "os"\n'),
        r"cohort.toml, \[cohort\]: there is no key 'endpont' \(did you mean 'endpoint'\?",
    ),
    "value of a wrong kind": (
        written("cohort.toml", "[cohort]\nendpoint = 3\n"),
        r"cohort.toml, \[cohort\]: endpoint = 3 is not a text; correct it",
    ),
    "classes of a wrong kind": (
        written("cohort.toml", '[cohort]\nsubtype_classes = "a"\n'),
        r"subtype_classes = 'a' is not a list of texts",
    ),
    "merge of a wrong kind": (written("cohort.toml", '[cohort]\nmerge = ["a"]\n'), r"merge = \['a'\] is not \{ new = \[\"a\", \"b\"\] \}"),
    "gene sets of a wrong kind": (
        written("cohort.toml", '[omics]\ngene_sets = "a"\n'),
        r"gene_sets = 'a' is not \{ name = \"file.gmt\" \}",
    ),
    "declared file not there": (
        written("cohort.toml", '[files]\nrna = "rna_seq.csv"\n'),
        r"rna = 'rna_seq.csv', but there is no such file \(did you mean 'rna.csv'\?.*\); correct the name or add the file",
    ),
    "declared file no table": (
        written("cohort.toml", '[files]\nrna = "rna.xlsx"\n'),
        r"rna = 'rna.xlsx' is not a table; name a file that ends in .csv",
    ),
    "declared folder not there": (
        written("cohort.toml", '[files]\nfeatures = "uni"\n'),
        r"\[files\]: features = 'uni', but there is no such folder",
    ),
    "modality with a taken name": (written("cohort.toml", '[modalities]\nrna = "rna.csv"\n'), r"a further modality cannot be called 'rna'"),
    "unknown subtype class": (
        written("cohort.toml", '[cohort]\nsubtype_classes = ["LumA", "Bassal"]\n'),
        r"column subtype: no patient has the subtype 'Bassal' \(did you mean 'Basal'\?.*\); correct the label",
    ),
    "unknown subtype column": (
        written("cohort.toml", '[cohort]\nsubtype = "subtypes"\n'),
        r"no column 'subtypes' for the subtype \(did you mean 'subtype'\?",
    ),
    "gene sets not GMT": (
        lambda folder: written("cohort.toml", '[omics.gene_sets]\nhallmark = "rna.csv"\n')(folder),
        r"gene sets 'hallmark': .*rna.csv, line 1: not GMT.*; give a GMT file",
    ),
    "empty gene set": (
        lambda folder: (
            written("cohort.toml", '[omics.gene_sets]\nhallmark = "hallmark.gmt"\n')(folder),
            written("hallmark.gmt", "GROWTH\tx\tMYC\nDEATH\tx\n")(folder),
        ),
        r"gene sets 'hallmark': .*hallmark.gmt, line 2: the gene set 'DEATH' is empty",
    ),
    "gene sets of other names": (
        lambda folder: (
            written("cohort.toml", '[omics.gene_sets]\nhallmark = "hallmark.gmt"\n')(folder),
            written("hallmark.gmt", "GROWTH\tx\tENSG01\tENSG02\n")(folder),
        ),
        r"gene sets 'hallmark', hallmark.gmt: none of its 2 genes \(ENSG01, ENSG02\) is among the 4 columns .* have EGFR, KRAS, MYC and 1",
    ),
    "parquet without pyarrow": (
        lambda folder: (removed("rna.csv")(folder), written("rna.parquet", b"PAR1")(folder)),
        r"rna.parquet: (Parquet needs pyarrow, which is not installed; pip install pyarrow|the Parquet file cannot be read)",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_says_what_where_and_what_to_do(cohort_folder, name):
    damage, message = DEFECTS[name]
    damage(cohort_folder)
    with pytest.raises(CohortError) as caught:
        Cohort.read(cohort_folder)
    told = [str(defect) for defect in caught.value.defects]
    assert any(re.search(message, text) for text in told), "\n".join(told)
    assert all(text in str(caught.value) for text in told)


def test_a_defect_names_the_patients_it_concerns(cohort_folder, edit):
    edit("clinical.csv", "600.0,1", "600.0,2")
    edit("clinical.csv", "800.0,1", "800.0,dead")
    with pytest.raises(CohortError) as caught:
        Cohort.read(cohort_folder)
    (defect,) = caught.value.defects
    assert defect.patients == ("002", "004")
    assert str(caught.value).startswith("small has one defect:")


def test_all_defects_are_reported_at_once(cohort_folder, edit):
    edit("clinical.csv", "600.0,1", "soon,2")
    edit("rna.csv", "002,0.5", "002,low")
    (cohort_folder / "features" / "003-A.h5").write_bytes(b"")
    (cohort_folder / "features" / "004-A.h5").unlink()
    (cohort_folder / "splits.csv").write_text("patient_id,fold\n001,x\n")
    (cohort_folder / "cohort.toml").write_text('[cohort]\nsubtype = "pam50"\n[colums]\na = "b"\n')
    with pytest.raises(CohortError) as caught:
        Cohort.read(cohort_folder, gene_sets={"hallmark": "absent.gmt"})
    assert len(caught.value.defects) == 9
    assert str(caught.value).startswith("small has 9 defects:\n  1. ")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CohortError, match="there is no such folder; correct the path"):
        Cohort.read(tmp_path / "absent")


def test_an_unknown_endpoint_is_refused_with_the_nearest(cohort_folder, edit):
    with pytest.raises(CohortError, match=r"clinical.csv: there is no endpoint 'so' \(did you mean 'os'\? Known: os\); name one of those"):
        Cohort.read(cohort_folder, endpoint="so")
    edit("clinical.csv", ",age,", ",dss_time,")
    with pytest.raises(CohortError, match="endpoint 'dss' needs a column 'dss_event', which is not there; add it"):
        Cohort.read(cohort_folder, endpoint="dss")


def test_nobody_left_says_which_rules_left_them_out(cohort_folder):
    path = cohort_folder / "clinical.csv"
    path.write_text(re.sub(r"\d+\.0,", "-1,", path.read_text()).replace("-1,1\n", ",1\n", 1))
    with pytest.raises(CohortError, match=r"none of 12 patients is left \(1 no time, 11 time of 0 or below\)"):
        Cohort.read(cohort_folder)


def test_barcodes_of_specimens_are_recognised(cohort_folder):
    for name in ("clinical.csv", "slides.csv", "rna.csv"):
        path = cohort_folder / name
        path.write_text(re.sub(r"(^|,)(0\d\d)(,|$)", r"\1TCGA-AA-0\2\3", path.read_text(), flags=re.M))
    path = cohort_folder / "rna.csv"
    path.write_text(re.sub(r"(?m)^(TCGA-AA-0\d\d\d),", r"\1-01A,", path.read_text()))
    with pytest.raises(CohortError, match="barcodes of specimens: keep their first 12 characters"):
        Cohort.read(cohort_folder)


def test_at_most_three_names_are_given_and_how_many_there_are():
    assert naming(["a", "b", "c"]) == "a, b, c"
    assert naming(list("abcde")) == "a, b, c and 2 more"
    assert nearest("xyz", []) == "Known: none"
    assert nearest("aba", [*map(str, range(20))]).endswith("and 8 more")
