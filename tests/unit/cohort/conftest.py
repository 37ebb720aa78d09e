"""A small cohort folder that is right; each test breaks one thing."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

PATIENTS = tuple(f"{number:03d}" for number in range(1, 13))
GENES = ("TP53", "EGFR", "MYC", "KRAS")


def write_features(path: Path, n_patches: int = 3, width: int = 4, **datasets: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.full((n_patches, width), 0.5, dtype=np.float16)
        file["coords"] = np.zeros((n_patches, 2), dtype=np.int32)
        for name, values in datasets.items():
            if name in file:
                del file[name]
            file[name] = values


@pytest.fixture
def cohort_folder(tmp_path: Path) -> Path:
    """Twelve patients: 001 has two slides, 012 has none; 011 is not in rna.csv."""
    folder = tmp_path / "small"
    (folder / "features").mkdir(parents=True)
    rows = ["patient_id,site,age,sex,stage,grade,subtype,os_time,os_event"]
    for number, patient in enumerate(PATIENTS):
        subtype = "LumA" if number % 2 else "Basal"
        rows.append(f"{patient},0{number % 3},{50 + number},male,Stage II,G2,{subtype},{500 + 100 * number}.0,{number % 2}")
    (folder / "clinical.csv").write_text("\n".join(rows) + "\n")
    slides = [("001-A", "001"), ("001-B", "001"), *((f"{patient}-A", patient) for patient in PATIENTS[1:11])]
    (folder / "slides.csv").write_text("slide_id,patient_id\n" + "".join(f"{slide},{patient}\n" for slide, patient in slides))
    for number, (slide, _) in enumerate(slides):
        write_features(folder / "features" / f"{slide}.h5", n_patches=2 + number)
    table = [",".join(("patient_id", *GENES))]
    table += [f"{patient},0.5,-1,{number},2.25" for number, patient in enumerate(PATIENTS) if patient != "011"]
    (folder / "rna.csv").write_text("\n".join(table) + "\n")
    (folder / "hallmark.gmt").write_text("GROWTH\tmade up\tMYC\tEGFR\nDEATH\tmade up\tTP53\tBAX\n")
    return folder


@pytest.fixture
def edit(cohort_folder: Path) -> Callable[[str, str, str], None]:
    """Replaces a piece of text in one file of the folder, once."""

    def replace(name: str, old: str, new: str) -> None:
        path = cohort_folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))

    return replace
