"""AnnData and MuData files become cohort folders; the packages are optional and stand-ins take their place here."""

import sys
import types

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort
from prognos.cohort.importers import ImportSourceError, import_table

DAYS = (734.0, 364.0, 2886.0, 1219.0, 205.0, 3314.0)
EVENTS = (1, 0, 1, 0, 1, 0)
PATIENTS = tuple(f"00{number}" for number in range(6))


def written(path, text):
    path.write_text(text)
    return path


class Matrix:
    """What we use of an AnnData object."""

    def __init__(self, obs):
        self.obs, self.obs_names = obs, obs.index
        self.var_names = pd.Index(["TP53", "MYC"])
        self.X = np.arange(2.0 * len(obs)).reshape(-1, 2)
        self.n_obs, self.n_vars = self.X.shape


def reading(monkeypatch, package, reader, content):
    monkeypatch.setitem(sys.modules, package, types.SimpleNamespace(**{reader: lambda path: content}))


def observations():
    return pd.DataFrame({"os_time": DAYS, "os_event": EVENTS, "age": 60.0}, index=list(PATIENTS))


def test_a_matrix_file_becomes_clinical_and_expression_tables(tmp_path, monkeypatch):
    reading(monkeypatch, "anndata", "read_h5ad", Matrix(observations()))
    report = import_table("h5ad", written(tmp_path / "a.h5ad", ""), tmp_path / "out")
    cohort = Cohort.read(tmp_path / "out")
    assert cohort.tables["rna"]["MYC"].tolist() == [1, 3, 5, 7, 9, 11]
    assert cohort.time.tolist() == list(DAYS)
    assert "a.h5ad: 6 patients x 2 genes" in report.lines


def test_a_file_of_several_matrices_gives_omics_and_further_modalities(tmp_path, monkeypatch):
    matrix = Matrix(observations())
    content = types.SimpleNamespace(obs=observations().assign(**{"rna:depth": 1.0}), n_obs=6, mod={"cnv": matrix, "protein": matrix})
    reading(monkeypatch, "mudata", "read_h5mu", content)
    report = import_table("h5mu", written(tmp_path / "a.h5mu", ""), tmp_path / "out")
    assert "protein -> protein.csv.gz (a further modality): 6 patients x 2 columns" in report.lines
    cohort = Cohort.read(tmp_path / "out")
    assert cohort.modalities == ("clinical", "omics", "protein")
    assert "rna:depth" not in cohort.clinical


def test_a_matrix_file_without_outcome_is_refused(tmp_path, monkeypatch):
    reading(monkeypatch, "anndata", "read_h5ad", Matrix(observations()[["age"]]))
    with pytest.raises(
        ImportSourceError, match=r"obs has no pair of columns <endpoint>_time \(days\) and <endpoint>_event .*it has age: add them"
    ):
        import_table("h5ad", written(tmp_path / "a.h5ad", ""), tmp_path / "out")


def test_a_matrix_file_that_the_package_cannot_read_is_named(tmp_path, monkeypatch):
    def broken(path):
        raise OSError("truncated")

    monkeypatch.setitem(sys.modules, "anndata", types.SimpleNamespace(read_h5ad=broken))
    with pytest.raises(ImportSourceError, match=r"a.h5ad cannot be read by anndata \(truncated\): write it again"):
        import_table("h5ad", written(tmp_path / "a.h5ad", ""), tmp_path / "out")


@pytest.mark.parametrize(("format", "package"), [("h5ad", "anndata"), ("h5mu", "mudata")])
def test_without_the_optional_package_its_name_is_said(tmp_path, monkeypatch, format, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportSourceError, match=rf"reading .{format} needs {package}: pip install 'prognos\[anndata\]'"):
        import_table(format, written(tmp_path / f"a.{format}", ""), tmp_path / "out")
