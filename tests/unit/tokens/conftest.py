"""A cohort of four patients whose files lie in a temporary folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort

PATIENTS = ("P1", "P2", "P3", "P4")


@dataclass(frozen=True)
class Needs:
    modalities: tuple[str, ...]
    omics: str = "genes"
    gene_set: str | None = None


def cohort_of(slides: pd.DataFrame, d_patch: int, tables: Mapping[str, pd.DataFrame] | None = None, **further) -> Cohort:
    tables = dict(tables or {})
    clinical = pd.DataFrame({"age": [50.0, 60.0, 70.0, 65.0]}, index=pd.Index(PATIENTS, name="patient_id"))
    values = {
        "name": "small",
        "endpoint": "os",
        "clinical": clinical,
        "time": np.array([10.0, 20.0, 30.0, 40.0]),
        "event": np.array([True, False, True, True]),
        "slides": slides,
        "tables": tables,
        "omics_kinds": tuple(kind for kind in ("rna", "cnv", "snv") if kind in tables),
        "gene_sets": {},
        "folds": None,
        "exclusions": (),
        "notes": (),
        "d_patch": d_patch,
        "subtype": None,
    }
    return Cohort(**(values | further))


def slide(folder: Path, name: str, values: np.ndarray, coords: np.ndarray | None = None, **attributes) -> Path:
    path = folder / f"{name}.h5"
    with h5py.File(path, "w") as file:
        file["features"] = values
        if coords is not None:
            file["coords"] = coords
        file.attrs.update(attributes)
    return path


@dataclass(frozen=True)
class Slides:
    """P1 has slides A and C, P2 has B, P3 a slide D without a patch, P4 none."""

    folder: Path
    values: Mapping[str, np.ndarray]
    coords: Mapping[str, np.ndarray]
    table: pd.DataFrame

    def cohort(self, **further) -> Cohort:
        return cohort_of(self.table, 3, **further)


@pytest.fixture
def slides(tmp_path) -> Slides:
    generator = np.random.default_rng(0)
    sizes = {"A": 4, "B": 5, "C": 2, "D": 0}
    owner = {"A": "P1", "B": "P2", "C": "P1", "D": "P3"}
    values = {name: generator.normal(size=(size, 3)).astype(np.float32) for name, size in sizes.items()}
    coords = {name: generator.integers(0, 100_000, size=(size, 2)) for name, size in sizes.items()}
    folder = tmp_path / "features"
    folder.mkdir()
    paths = {name: slide(folder, name, values[name], coords[name], encoder="uni") for name in sizes}
    table = pd.DataFrame(
        {"slide_id": list(sizes), "patient_id": [owner[name] for name in sizes], "path": [str(path) for path in paths.values()]}
    )
    return Slides(folder, values, coords, table)


@pytest.fixture
def needs() -> type[Needs]:
    return Needs


@pytest.fixture
def write_slide():
    return slide


@pytest.fixture
def make_cohort():
    return cohort_of
