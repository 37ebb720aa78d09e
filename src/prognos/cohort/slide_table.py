"""slides.csv joined with the feature files: path, number of patches and width of each slide, from the headers only."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.defects import Defect, naming, owners
from prognos.cohort.features import SUFFIXES, FeatureFileError, feature_shape
from prognos.cohort.tables import read_text_table, text_ids

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".czi", ".dcm", ".ome")
COLUMNS = ("slide_id", "patient_id", "path", "n_patches")


@dataclass(frozen=True)
class SlideTable:
    """Slides with a feature file.

    Args:
        slides: `slide_id`, `patient_id`, `path`, `n_patches`, and `mpp` where slides.csv has it.
        d_patch: width of the features; 0 without slides.
        defects: what is wrong with slides.csv and the headers of the feature files.
        notes: what was noticed.
    """

    slides: pd.DataFrame
    d_patch: int
    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()


def no_slides() -> pd.DataFrame:
    """The table of a cohort without slides."""
    return pd.DataFrame({name: pd.Series(dtype=np.int64 if name == "n_patches" else object) for name in COLUMNS})


def read_slide_rows(path: Path, columns: Mapping[str, str]) -> tuple[pd.DataFrame, tuple[Defect, ...]]:
    """The rows of slides.csv, each slide once, and what is wrong with single cells of it.

    Raises:
        TableDefect: the file cannot be read, lacks a column, or an id is empty: whose slides these are is not known.
    """
    rows = read_text_table(path, columns, ("slide_id", "patient_id"))
    slide_ids = text_ids(rows["slide_id"], path, "slide_id")
    patient_ids = text_ids(rows["patient_id"], path, "patient_id")
    slides = pd.DataFrame({"slide_id": slide_ids.to_numpy(), "patient_id": patient_ids.to_numpy()})
    defects = []
    if slide_ids.has_duplicates:
        repeated = slide_ids[slide_ids.duplicated()].unique()
        concerned = owners(slides.loc[slide_ids.isin(repeated), "patient_id"])
        what = f"{len(repeated)} slides are listed more than once ({naming(repeated)}; of patients {naming(concerned)})"
        defects.append(Defect(what, path.name, "keep one row a slide", concerned))
    for name in ("mpp", "n_patches"):
        if name in rows:
            text = rows[name].str.strip()
            number = pd.to_numeric(text.where(text != "", None), errors="coerce")
            wrong = (text != "") & ~((number > 0) | ((name == "n_patches") & (number == 0)))
            if wrong.any():
                cells = naming(f"{cell!r} of {slide}" for cell, slide in zip(text[wrong], slide_ids[wrong], strict=True))
                unit = "positive numbers (micrometres per pixel)" if name == "mpp" else "counts"
                what = f"{int(wrong.sum())} values are not {unit}: {cells}"
                defects.append(Defect(what, f"{path.name}, column {name}", "correct the cell or leave it empty"))
            slides[name if name == "mpp" else "stated_patches"] = number.astype(np.float64)
    return slides.loc[~slide_ids.duplicated()].reset_index(drop=True), tuple(defects)


def rows_of_files(folder: Path | None) -> pd.DataFrame:
    """Rows for every feature file of a folder, of nobody known: what is looked at when slides.csv does not say whose they are."""
    names = [] if folder is None else list(_feature_files(folder))
    return pd.DataFrame({"slide_id": names, "patient_id": ""}, dtype=object)


def join_features(rows: pd.DataFrame, folder: Path | None, where: str) -> SlideTable:
    """The rows of slides.csv with their feature files; only headers are read."""
    if folder is None:
        what = f"{len(rows)} slides are listed but there is no folder of features"
        defect = Defect(what, where, "add features/, name it under [files] features in cohort.toml, or remove slides.csv")
        return SlideTable(no_slides(), 0, (defect,))
    files = _feature_files(folder)
    paths = [_file_of(slide, files) for slide in rows["slide_id"]]
    defects = []
    absent = np.array([path is None for path in paths], dtype=bool)
    if absent.any():
        what = f"{int(absent.sum())} of {len(rows)} slides have no feature file ({naming(rows.loc[absent, 'slide_id'])})"
        remedy = f"add {folder.name}/<slide_id>.h5, or remove the slides from {where}"
        defects.append(Defect(what, where, remedy, tuple(rows.loc[absent, "patient_id"].unique())))
    shapes: list[tuple[int, int]] = []
    broken: list[str] = []
    concerned: list[str] = []
    for path, patient in zip(paths, rows["patient_id"], strict=True):
        try:
            shapes.append((-1, -1) if path is None else feature_shape(path))
        except FeatureFileError as error:
            shapes.append((-1, -1))
            broken.append(str(error))
            concerned.append(patient)
    if broken:
        listed = "; ".join(broken[:3]) + (f"; and {len(broken) - 3} more" if len(broken) > 3 else "")
        what = f"{len(broken)} feature {'files are' if len(broken) > 1 else 'file is'} unusable: {listed}"
        defects.append(Defect(what, folder.name, f"extract the features again, or remove the slides from {where}", owners(concerned)))
    n_patches, widths = np.array(shapes, dtype=np.int64).reshape(-1, 2).T
    slides = rows.assign(path=[str(path) for path in paths], n_patches=n_patches)
    defects.extend(_width_defects(slides, widths, folder.name))
    usable = n_patches > 0
    d_patch = int(widths[usable][0]) if usable.any() else 0
    kept = slides.loc[usable, [*COLUMNS, *(["mpp"] if "mpp" in slides else [])]].reset_index(drop=True)
    return SlideTable(kept, d_patch, tuple(defects), _notes(slides, files, paths))


def _feature_files(folder: Path) -> dict[str, Path]:
    """Feature files of a folder by the name of their slide; the first format of SUFFIXES where there are several."""
    found: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        found |= {path.name.removesuffix(suffix): path for path in sorted(folder.glob(f"*{suffix}"))}
    return found


def _file_of(slide: str, files: Mapping[str, Path]) -> Path | None:
    for ending in ("", *SLIDE_SUFFIXES):
        if slide.endswith(ending) and (found := files.get(slide.removesuffix(ending))) is not None:
            return found
    return None


def _width_defects(slides: pd.DataFrame, widths: np.ndarray, where: str) -> list[Defect]:
    counted = Counter(widths[slides["n_patches"].to_numpy() > 0].tolist())
    if len(counted) < 2:
        return []
    told = []
    odd = np.zeros(len(slides), dtype=bool)
    for width, count in counted.most_common():
        of_width = (widths == width) & (slides["n_patches"].to_numpy() > 0)
        told.append(f"{width} ({count} slides: {naming(slides.loc[of_width, 'slide_id'])})")
        odd |= of_width if told[1:] else False
    what = f"features have {len(counted)} widths: {'; '.join(told)}"
    return [Defect(what, where, "extract all slides with one encoder", owners(slides.loc[odd, "patient_id"]))]


def _notes(slides: pd.DataFrame, files: Mapping[str, Path], paths: list[Path | None]) -> tuple[str, ...]:
    notes = []
    bare = slides.loc[slides["n_patches"] == 0, "slide_id"]
    if len(bare):
        notes.append(f"slides: {len(bare)} without a patch count as absent ({naming(bare)}).")
    unlisted = sorted(set(files.values()) - {path for path in paths if path is not None})
    if unlisted:
        notes.append(f"slides: {len(unlisted)} feature files are of no listed slide ({naming(path.name for path in unlisted)}).")
    if "stated_patches" in slides:
        differ = slides["stated_patches"].notna() & (slides["stated_patches"] != slides["n_patches"]) & (slides["n_patches"] >= 0)
        if differ.any():
            which = naming(slides.loc[differ, "slide_id"])
            notes.append(f"slides: n_patches differs from the feature file for {int(differ.sum())} slides ({which}); the file counts.")
    return tuple(notes)
