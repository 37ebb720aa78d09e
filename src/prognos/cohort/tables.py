"""Reading one table: CSV (or Parquet) to a frame, or to a defect that says what is wrong with the file."""

import csv
import gzip
import io
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.defects import Defect, naming, nearest

SUFFIXES = (".csv", ".csv.gz", ".parquet")
EMPTY = ("", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "null", "NULL", "<NA>")
TEXT_COLUMNS = ("patient_id", "slide_id", "site", "project")  # never numbers, and "NA" is a tissue source site


class TableDefect(Exception):
    """Carries the defects of one table out of its reader; never leaves the package."""

    def __init__(self, *defects: Defect):
        super().__init__("\n".join(map(str, defects)))
        self.defects = defects


@dataclass(frozen=True)
class NumberTable:
    """A table of numbers.

    Args:
        values: float32, index `patient_id`.
        n_missing: empty cells among patients with at least one value.
        empty: patients whose whole row is empty; they are not in `values`.
    """

    values: pd.DataFrame
    n_missing: int
    empty: tuple[str, ...]


def read_text_table(path: Path, columns: Mapping[str, str], required: Iterable[str]) -> pd.DataFrame:
    """Every cell as text, empty cells as empty text; columns renamed (ours -> theirs as in `columns`).

    Raises:
        TableDefect: the file cannot be read or lacks a required column.
    """
    if path.suffix == ".parquet":
        frame = _parquet(path).astype("string").fillna("").astype(object)
    else:
        content, header = _checked(path)
        frame = _parsed(path, content, dtype=str, keep_default_na=False, na_filter=False)
        frame.columns = header
    frame = _renamed(frame, columns)
    require(frame, path, required)
    _check_rows(frame, path)
    return frame


def read_number_table(path: Path, columns: Mapping[str, str], patients: pd.Index) -> NumberTable:
    """A table patients x numbers.

    Raises:
        TableDefect: the file cannot be read, a cell is not a finite number, or a patient has two rows.
    """
    if path.suffix == ".parquet":
        frame = _parquet(path)
    else:
        content, header = _checked(path)
        id_column = header.index(columns.get("patient_id", "patient_id")) if columns.get("patient_id", "patient_id") in header else 0
        frame = _parsed(path, content, dtype={id_column: str}, na_values=list(EMPTY), low_memory=False)
        frame.columns = header
    frame = _renamed(frame, columns)
    if "patient_id" not in frame:
        raise TableDefect(_no_patient_column(frame, path, patients))
    _check_rows(frame, path)
    ids = text_ids(frame["patient_id"], path, "patient_id")
    if ids.has_duplicates:
        repeated = ids[ids.duplicated()].unique()
        raise TableDefect(
            Defect(
                f"{len(repeated)} patients have more than one row ({naming(repeated)})",
                path.name,
                "keep one row a patient",
                tuple(repeated),
            )
        )
    numbers = _numbers(frame.drop(columns="patient_id"), ids, path)
    present = numbers.notna().any(axis=1).to_numpy()
    values = numbers.loc[present]
    return NumberTable(values, int(values.isna().to_numpy().sum()), tuple(ids[~present]))


def text_ids(column: pd.Series, path: Path, name: str) -> pd.Index:
    """Ids as text.

    Raises:
        TableDefect: an id is empty or has spaces around it.
    """
    ids = column.astype(object).where(column.notna(), "").astype(str)
    empty = np.flatnonzero(ids == "")
    defects = []
    if len(empty):
        lines = naming(f"line {row + 2}" for row in empty)
        defects.append(
            Defect(f"{len(empty)} rows have no {name} ({lines})", f"{path.name}, column {name}", "fill it in or remove the rows")
        )
    spaced = ids[ids.str.strip() != ids]
    if len(spaced):
        shown = naming(repr(text) for text in spaced)
        defects.append(Defect(f"{len(spaced)} ids have spaces around them ({shown})", f"{path.name}, column {name}", "remove the spaces"))
    if defects:
        raise TableDefect(*defects)
    return pd.Index(ids, dtype=object, name=name)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of text as numbers where every filled cell is one; ids and sites stay text; empty cells are missing."""
    columns = {}
    for name in frame:
        text = frame[name]
        if name in TEXT_COLUMNS:
            columns[name] = text.where(text != "", None)
            continue
        text = text.where(~text.str.strip().isin(EMPTY), None)
        numbers = pd.to_numeric(text, errors="coerce").astype(np.float64)
        columns[name] = numbers if (numbers.notna() == text.notna()).all() else text
    return pd.DataFrame(columns, index=frame.index)


def require(frame: pd.DataFrame, path: Path, required: Iterable[str]) -> None:
    """Raises TableDefect for each column that is not there."""
    defects = [
        Defect(
            f"there is no column {name!r} ({nearest(name, map(str, frame.columns))})",
            path.name,
            f'rename the column, or write {name} = "its name" under [columns] in cohort.toml',
        )
        for name in required
        if name not in frame
    ]
    if defects:
        raise TableDefect(*defects)


def _checked(path: Path) -> tuple[str, list[str]]:
    """The text of a CSV file and its header, once it is known to be readable."""
    content = _text(path)
    if not content.strip():
        raise TableDefect(Defect("the file is empty", path.name, "export the table again"))
    lines = io.StringIO(content, newline="")
    try:
        header = next(csv.reader(lines))
    except csv.Error as error:
        raise TableDefect(Defect(f"the header cannot be read ({error})", path.name, "export the table as CSV")) from error
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if separator in header[0]:
                raise TableDefect(Defect(f"columns are separated by {name}", path.name, "export the table with commas"))
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        columns = f"{len(repeated)} columns occur more than once ({naming(map(repr, repeated))})"
        raise TableDefect(Defect(columns, path.name, "rename or remove the repeated columns"))
    _check_last_line(content, header, path)
    return content, header


def _check_last_line(content: str, header: list[str], path: Path) -> None:
    """A file that was cut in the middle shows it in its last line, which the parser would fill up with empty cells."""
    last = content.rstrip("\r\n").rsplit("\n", 1)[-1]
    n_cells = len(next(csv.reader([last]), []))
    if n_cells < len(header) and '"' not in last:
        what = f"the last line has {n_cells} of {len(header)} cells: the file was cut"
        raise TableDefect(Defect(what, path.name, "copy or export the table again"))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableDefect(Defect(f"the gzip file is damaged ({error})", path.name, "copy or compress the file again")) from error
    except UnicodeDecodeError as error:
        what = f"the text is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x})"
        raise TableDefect(Defect(what, path.name, "save the table as UTF-8")) from error
    except OSError as error:
        raise TableDefect(
            Defect(f"cannot be read ({error.strerror or error})", path.name, "check that the file is there and readable")
        ) from error


def _parsed(path: Path, content: str, **options: object) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(io.StringIO(content), header=0, index_col=False, **options)
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        reason = " ".join(str(error).replace("Error tokenizing data. C error:", "").split())
        raise TableDefect(Defect(f"the CSV cannot be read ({reason})", path.name, "every row needs as many cells as the header")) from error


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise TableDefect(
            Defect("Parquet needs pyarrow, which is not installed", path.name, "pip install pyarrow, or export CSV")
        ) from error
    except (OSError, ValueError) as error:
        raise TableDefect(Defect(f"the Parquet file cannot be read ({error})", path.name, "export the table again")) from error
    return frame.reset_index() if frame.index.name else frame


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    theirs = {name: ours for ours, name in columns.items() if name in frame and ours not in frame}
    return frame.rename(columns=theirs)


def _check_rows(frame: pd.DataFrame, path: Path) -> None:
    if not len(frame):
        raise TableDefect(Defect("there is a header but no row", path.name, "export the table again, or remove the file"))


def _no_patient_column(frame: pd.DataFrame, path: Path, patients: pd.Index) -> Defect:
    if len(frame.columns) and frame.columns.isin(patients).mean() > 0.5:
        return Defect("columns are patients, rows are genes", path.name, "transpose the table: one row a patient, first column patient_id")
    first = frame.columns[0]
    return Defect(
        f"there is no column 'patient_id'; the first is {first!r}",
        path.name,
        'rename the column, or write patient_id = "its name" under [columns] in cohort.toml',
    )


def _numbers(frame: pd.DataFrame, ids: pd.Index, path: Path) -> pd.DataFrame:
    if not len(frame.columns):
        raise TableDefect(Defect("there is no column beside patient_id", path.name, "add the measurements, or remove the file"))
    defects = []
    numbers = frame
    text = [name for name in frame if frame[name].dtype.kind not in "fiub"]
    if text:
        parsed = frame[text].apply(pd.to_numeric, errors="coerce")
        wrong = parsed.isna() & frame[text].notna()
        if wrong.to_numpy().any():
            defects.append(_not_numbers(frame[text], wrong, ids, path))
        numbers = frame.assign(**{str(name): parsed[name] for name in text})
    values = numbers.to_numpy(dtype=np.float32, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        rows, columns = np.nonzero(infinite)
        where = ids[np.unique(rows)]
        what = f"{infinite.sum()} cells are infinite (columns {naming(frame.columns[np.unique(columns)])}; patients {naming(where)})"
        defects.append(Defect(what, path.name, "empty the cell where the value is unknown", tuple(where)))
    if defects:
        raise TableDefect(*defects)
    return pd.DataFrame(values, index=ids, columns=[str(name) for name in frame.columns])


def _not_numbers(frame: pd.DataFrame, wrong: pd.DataFrame, ids: pd.Index, path: Path) -> Defect:
    rows, columns = np.nonzero(wrong.to_numpy())
    cells = [
        f"{frame.iat[row, column]!r} in column {frame.columns[column]} of patient {ids[row]}"
        for row, column in zip(rows[:3], columns[:3], strict=True)
    ]
    count = f"{len(rows)} cells are" if len(rows) > 1 else "one cell is"
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return Defect(
        f"{count} not a number ({', '.join(cells)}{more})",
        path.name,
        "write a number, or leave the cell empty",
        tuple(ids[np.unique(rows)]),
    )
