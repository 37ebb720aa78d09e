"""Tables as published with MCAT and PORPOISE, SurvPath, MMP and the TCGA clinical data resource."""

import re
from pathlib import Path

import pandas as pd

from prognos.cohort.defects import naming, nearest
from prognos.cohort.importers_parts import (
    ImportSourceError,
    Parts,
    clinical_covariates,
    column,
    days_of_months,
    event_of,
    number_table,
    numbers,
    one_row_a_patient,
    read_source,
    slide_rows,
    without_empty_words,
)
from prognos.cohort.published_splits import PARTS, read_splits

SUFFIXES = {"_rnaseq": "rna", "_cnv": "cnv", "_mut": "snv"}
RESOURCE_ENDPOINTS = ("OS", "DSS", "PFI", "DFI")


def from_mcat(source: Path, project: str | None) -> Parts:
    """MCAT, PORPOISE: `NAME_all_clean.csv.zip`, a row a slide, months, 1 for censored, genes with a suffix by data type."""
    path = _single(source, "*_all_clean.csv*")
    frame = read_source(path)
    parts = _from_months(frame, path.name)
    parts.said.insert(0, f"{path.name}: {len(frame)} rows (slides), {frame['case_id'].nunique()} patients")
    patients = frame.drop_duplicates("case_id")
    for suffix, kind in SUFFIXES.items():
        genes = [str(name) for name in frame if str(name).endswith(suffix)]
        if genes:
            table = patients[genes].rename(columns=lambda name, suffix=suffix: name.removesuffix(suffix))
            parts.tables[kind] = number_table(table, patients["case_id"], path.name)
            parts.said.append(f"*{suffix} -> {kind}.csv.gz: {len(genes)} genes")
    if source.is_dir() and any(source.glob("splits_*.csv")):
        parts.folds = read_splits(source)
    return parts


def from_survpath(source: Path, project: str | None) -> Parts:
    """SurvPath: a metadata table (months, 1 for censored), `rna_clean.csv`, clinical table and `splits_0.csv` ... of one cohort.

    The folder may be the whole repository; `project` then says which cohort. Of several `rna_clean.csv` the one with most genes is taken.
    """
    if not source.is_dir():
        raise ImportSourceError(f"{source} is not a folder: give the folder that holds metadata, rna_clean.csv and splits of one cohort.")
    everything = [path for path in sorted(source.rglob("*.csv")) if _is_of(path.relative_to(source), project)]
    tables = {path: _header(path) for path in everything if not path.name.startswith("splits_")}
    path = _one([path for path, names in tables.items() if "survival_months" in names], "a table with survival_months", source)
    frame = read_source(path)
    parts = _from_months(frame, path.name)
    parts.said.insert(0, f"{path.name}: {len(frame)} rows (slides), {frame['case_id'].nunique()} patients")
    expression = sorted((path for path in tables if path.name == "rna_clean.csv"), key=lambda path: -len(tables[path]))
    if expression:
        if len(expression) > 1:
            parts.said.append(f"of {len(expression)} rna_clean.csv the widest is taken: {expression[0].relative_to(source)}")
        parts.tables["rna"] = _expression(expression[0], set(frame["case_id"]), parts.said)
    clinical = [path for path in tables if path.name.endswith("_clinical.csv")]
    if clinical:
        _join_clinical(parts, _one(clinical, "a table *_clinical.csv", source))
    folders = sorted({path.parent for path in everything if path.name.startswith("splits_")})
    if folders:
        parts.folds = read_splits(_one(folders, "a folder with splits_0.csv", source))
    return parts


def _is_of(path: Path, project: str | None) -> bool:
    """Whether a file is of this cohort, by the words of its path."""
    return project is None or project.lower() in re.split(r"[/\\_.]", path.as_posix().lower())


def from_mmp(source: Path, project: str | None) -> Parts:
    """MMP, PANTHER: folders `NAME_k=0` ... with train.csv and test.csv, days, 1 for censored; the fold is the k of the test part."""
    folders = sorted(source.glob("*k=*")) if source.is_dir() else []
    names = sorted({folder.name.rsplit("k=", 1)[0] for folder in folders})
    if project is not None:
        names = [name for name in names if project.lower() in name.lower()]
        folders = [folder for folder in folders if folder.name.rsplit("k=", 1)[0] in names]
    if len(names) != 1:
        found = ", ".join(name.rstrip("_") for name in names) or "none"
        raise ImportSourceError(
            f"{source} must hold the splits of one cohort, NAME_k=0, NAME_k=1 ... (found: {found}): name it with project."
        )
    read = [read_source(folder / f"{part}.csv") for folder in folders for part in PARTS if (folder / f"{part}.csv").is_file()]
    for table in read:
        column(table, "case_id", source.name)
        column(table, "slide_id", source.name)
    frame = pd.concat(read, ignore_index=True).fillna("").drop_duplicates(["case_id", "slide_id"])
    said = [f"{len(folders)} splits {names[0].rstrip('_')}: {len(frame)} slides, {frame['case_id'].nunique()} patients"]
    endpoints: list[str] = []
    skipped: list[str] = []
    for name in [str(name).removesuffix("_survival_days") for name in frame if str(name).endswith("_survival_days")]:
        codes = set(without_empty_words(frame.get(f"{name}_censorship", pd.Series(dtype=str))).astype(str)) - {""}
        usable = bool(codes) and codes <= {"0", "1", "0.0", "1.0"}
        (endpoints if usable else skipped).append(name)
    if not endpoints:
        raise ImportSourceError(f"{source}: no pair of columns <endpoint>_survival_days and <endpoint>_censorship is usable.")
    pairs = [f"{name}_{column}" for name in endpoints for column in ("survival_days", "censorship")]
    patients = one_row_a_patient(frame, "case_id", pairs, source.name)
    clinical = pd.DataFrame({"patient_id": patients["case_id"]}).join(clinical_covariates(patients, said))
    for name in endpoints:
        clinical[f"{name}_time"] = numbers(patients[f"{name}_survival_days"], f"{name}_survival_days")
        clinical[f"{name}_event"] = event_of(patients[f"{name}_censorship"], f"{name}_censorship", inverted=True)
        said.append(
            f"{name}_censorship -> {name}_event: inverted, 1 meant censored; {name}_survival_days -> {name}_time: days as they were"
        )
    if skipped:
        said.append(f"not imported: {naming(skipped)}, whose censorship has codes other than 0 and 1")
    folds = _folds_of_splits(folders)
    return Parts(clinical, slide_rows(frame, "case_id", "slide_id", said), {}, folds, said)


def from_clinical_resource(source: Path, project: str | None) -> Parts:
    """TCGA-CDR: one row a patient, days, 1 for observed; redacted patients are left out."""
    frame = _spreadsheet(source) if source.suffix == ".xlsx" else read_source(source)
    ids = column(frame, "bcr_patient_barcode", source.name)
    said = [f"{source.name}: {len(frame)} patients"]
    if project is not None:
        types = column(frame, "type", source.name).str.upper()
        wanted = project.upper().removeprefix("TCGA-").split("+")
        unknown = [name for name in wanted if name not in set(types)]
        if unknown:
            raise ImportSourceError(f"{source.name} has no patients of type {naming(unknown)} ({nearest(unknown[0], sorted(set(types)))}).")
        frame = frame[types.isin(wanted)]
        said.append(f"type {', '.join(wanted)}: {len(frame)} patients")
    if "Redaction" in frame:
        redacted = frame["Redaction"].str.strip().str.lower() == "redacted"
        frame = frame[~redacted]
        said.append(f"{int(redacted.sum())} redacted patients left out")
    ids = ids.loc[frame.index].str.strip()
    clinical = pd.DataFrame({"patient_id": ids, "site": ids.str.split("-").str[1]})
    said.append("bcr_patient_barcode -> site: its second field")
    clinical = clinical.join(clinical_covariates(frame, said).drop(columns="site", errors="ignore"))
    for name in RESOURCE_ENDPOINTS:
        if name in frame and f"{name}.time" in frame:
            ours = name.lower()
            clinical[f"{ours}_time"] = numbers(frame[f"{name}.time"], f"{name}.time")
            clinical[f"{ours}_event"] = event_of(frame[name], name, inverted=False)
            said.append(f"{name} -> {ours}_event, {name}.time -> {ours}_time: as they were (1 observed, days)")
    return Parts(clinical, said=said)


def _from_months(frame: pd.DataFrame, where: str) -> Parts:
    """Survival in months with 1 for censored: `survival_months`, `censorship`, and with `_dss`, `_pfi` ... at their end."""
    column(frame, "case_id", where)
    column(frame, "survival_months", where)
    column(frame, "censorship", where)
    ends = [str(name).removeprefix("survival_months") for name in frame if str(name).startswith("survival_months")]
    ends = [end for end in ends if f"censorship{end}" in frame]
    pairs = [f"{name}{end}" for end in ends for name in ("survival_months", "censorship")]
    frame = frame.assign(case_id=frame["case_id"].str.strip())
    patients = one_row_a_patient(frame, "case_id", pairs, where)
    said: list[str] = []
    clinical = pd.DataFrame({"patient_id": patients["case_id"]}).join(clinical_covariates(patients, said))
    for end in ends:
        endpoint = end.lstrip("_") or "os"
        days, length = days_of_months(numbers(patients[f"survival_months{end}"], f"{where}, survival_months{end}"))
        clinical[f"{endpoint}_time"] = days
        clinical[f"{endpoint}_event"] = event_of(patients[f"censorship{end}"], f"{where}, censorship{end}", inverted=True)
        said.append(f"censorship{end} -> {endpoint}_event: inverted, 1 meant censored")
        said.append(f"survival_months{end} -> {endpoint}_time: months to whole days, {length:g} days a month")
    return Parts(clinical, slide_rows(frame, "case_id", "slide_id", said), said=said)


def _folds_of_splits(folders: list[Path]) -> pd.Series:
    """The folds of the split folders of one cohort, which may lie among those of others."""
    if len(list(folders[0].parent.glob("*k=*"))) == len(folders):
        return read_splits(folders[0].parent)
    tested: dict[str, int] = {}
    for folder in folders:
        number = int(folder.name.rsplit("k=", 1)[1])
        held_out, trained = (set(read_source(folder / f"{part}.csv")["case_id"].str.strip()) for part in ("test", "train"))
        wrong = sorted(held_out & (trained | set(tested)))
        if wrong:
            raise ImportSourceError(f"{folder.name}: {len(wrong)} patients are tested twice or trained on as well ({naming(wrong)}).")
        tested |= dict.fromkeys(sorted(held_out), number)
    return pd.Series(tested, name="fold").rename_axis("patient_id")


def _expression(path: Path, patients: set[str], said: list[str]) -> pd.DataFrame:
    """Expression with patients as rows or as columns, whichever the ids say."""
    frame = pd.read_csv(path, index_col=0, dtype=str, keep_default_na=False, na_filter=False)
    as_rows, as_columns = frame.index.isin(patients).mean(), frame.columns.isin(patients).mean()
    if max(as_rows, as_columns) == 0:
        raise ImportSourceError(
            f"{path.name}: neither its rows ({naming(frame.index)}) nor its columns are patients of the metadata table."
        )
    if as_columns > as_rows:
        frame = frame.T
        said.append(f"{path.name}: genes x patients turned round")
    said.append(f"{path.name} -> rna.csv.gz: {frame.shape[1]} genes")
    known = frame.index.isin(patients)
    if not known.all():
        said.append(f"{path.name}: {int((~known).sum())} rows of no patient of the metadata table left out")
        frame = frame[known]
    return number_table(frame, frame.index.to_series(), path.name)


def _join_clinical(parts: Parts, path: Path) -> None:
    extra = read_source(path).drop_duplicates("case_id").set_index("case_id")
    added = [name for name in ("stage", "grade", "subtype") if name in extra and name not in parts.clinical]
    for name in added:
        parts.clinical[name] = without_empty_words(extra[name]).reindex(parts.clinical["patient_id"]).fillna("").to_numpy()
    parts.said.append(f"{path.name} -> {', '.join(added) or 'nothing new'}")


def _spreadsheet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ImportSourceError(f"there is no file {path}: correct the path.")
    try:
        return pd.read_excel(path, dtype=str, keep_default_na=False, na_filter=False)
    except ImportError as error:
        raise ImportSourceError(f"{path.name}: reading .xlsx needs openpyxl: pip install openpyxl, or save the sheet as CSV.") from error
    except (ValueError, OSError, KeyError) as error:
        raise ImportSourceError(f"{path.name} cannot be read as .xlsx ({error}): save the sheet as CSV.") from error


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [name.strip().strip('"') for name in file.readline().split(",")]


def _single(source: Path, pattern: str) -> Path:
    return _one(sorted(source.glob(pattern)), f"a table {pattern}", source) if source.is_dir() else source


def _one(found: list[Path], what: str, source: Path) -> Path:
    if len(found) != 1:
        names = naming(str(path.relative_to(source)) for path in found) or "none"
        raise ImportSourceError(f"{source} must hold {what}, exactly one (found: {names}): give the folder of one cohort.")
    return found[0]
