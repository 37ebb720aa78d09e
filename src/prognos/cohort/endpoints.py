"""Endpoints of clinical.csv: which there are, and the time and event of each patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.cohort.defects import Defect, naming, nearest
from prognos.cohort.tables import EMPTY

DAYS_THAT_LOOK_LIKE_YEARS = 40.0
DAYS_THAT_LOOK_LIKE_MONTHS = 400.0
MEDIAN_OF_MONTHS = 100.0


@dataclass(frozen=True)
class Outcome:
    """Time (days) and event (1 observed, 0 censored) of one endpoint, NaN where the cell is empty."""

    endpoint: str
    time: Float[np.ndarray, " patients"]
    event: Float[np.ndarray, " patients"]


def endpoint_names(clinical: pd.DataFrame) -> tuple[tuple[str, ...], dict[str, str]]:
    """Endpoints with both columns, and for those with one column only the column that is missing."""
    times = [name.removesuffix("_time") for name in map(str, clinical.columns) if name.endswith("_time")]
    events = [name.removesuffix("_event") for name in map(str, clinical.columns) if name.endswith("_event")]
    complete = tuple(name for name in times if name in events)
    missing = {name: f"{name}_event" for name in times if name not in events}
    missing |= {name: f"{name}_time" for name in events if name not in times}
    return complete, missing


def chosen_endpoint(clinical: pd.DataFrame, asked: str | None, where: str) -> str | Defect:
    """The endpoint that was asked for, or the only one there is; otherwise what is wrong."""
    complete, missing = endpoint_names(clinical)
    if asked is not None:
        if asked in complete:
            return asked
        if asked in missing:
            remedy = f'add it, or write {missing[asked]} = "its name" under [columns] in cohort.toml'
            return Defect(f"endpoint {asked!r} needs a column {missing[asked]!r}, which is not there", where, remedy)
        return Defect(f"there is no endpoint {asked!r} ({nearest(asked, complete)})", where, "name one of those that are there")
    if len(complete) == 1:
        return complete[0]
    if complete:
        remedy = f"name one: --endpoint {complete[0]}, or [cohort] endpoint in cohort.toml"
        return Defect(f"there are {len(complete)} endpoints ({', '.join(complete)})", where, remedy)
    if missing:
        lacking = naming(repr(column) for column in missing.values())
        return Defect(f"no endpoint is complete: {lacking} is not there", where, "add the column, or map it under [columns] in cohort.toml")
    remedy = "add <endpoint>_time (days) and <endpoint>_event (1 observed, 0 censored), or map them under [columns] in cohort.toml"
    return Defect(f"there is no endpoint; columns are {naming(clinical.columns)}", where, remedy)


def read_outcome(clinical: pd.DataFrame, endpoint: str, where: str) -> tuple[Outcome, list[Defect]]:
    """Time and event of one endpoint from columns of text, and the cells that are neither a value nor empty."""
    defects = []
    time_column, event_column = f"{endpoint}_time", f"{endpoint}_event"
    time, empty, unreadable = _parsed(clinical[time_column])
    if unreadable.any():
        remedy = "write days, or leave the cell empty"
        defects.append(_cells(clinical, time_column, unreadable, "times are not a number", where, remedy))
    event, no_event, _ = _parsed(clinical[event_column])
    odd = ~no_event & ~np.isin(event, (0.0, 1.0))
    if odd.any():
        remedy = "write 1 where the event was observed, 0 where the patient is censored, nothing where it is unknown"
        defects.append(_cells(clinical, event_column, odd, "events are not 0, 1 or empty", where, remedy))
    for column, nothing in ((time_column, empty), (event_column, no_event)):
        if nothing.all():
            defects.append(Defect("the column is empty for all patients", f"{where}, column {column}", "fill it, or name another endpoint"))
    return Outcome(endpoint, time, np.where(odd, np.nan, event)), defects


def _parsed(text: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finite numbers, which cells are empty, and which hold something else."""
    stripped = text.str.strip()
    empty = stripped.isin(EMPTY).to_numpy()
    numbers = pd.to_numeric(stripped.where(~empty, None), errors="coerce").to_numpy(dtype=np.float64)
    unreadable = ~empty & ~np.isfinite(numbers)
    return np.where(np.isfinite(numbers), numbers, np.nan), empty, unreadable


def _cells(clinical: pd.DataFrame, column: str, wrong: np.ndarray, what: str, where: str, remedy: str) -> Defect:
    patients = tuple(clinical.index[wrong])
    cells = naming(f"{value!r} of {patient}" for value, patient in zip(clinical.loc[wrong, column], patients, strict=True))
    return Defect(f"{len(patients)} {what} ({cells})", f"{where}, column {column}", remedy, patients)


def time_unit_notes(outcome: Outcome) -> Sequence[str]:
    """A question when the times are too short to be days."""
    known = outcome.time[outcome.time > 0]
    if not len(known):
        return ()
    longest, median = float(known.max()), float(np.median(known))
    said = f"{outcome.endpoint}_time: the longest is {longest:g} and the median {median:g}"
    if longest < DAYS_THAT_LOOK_LIKE_YEARS:
        return (f"{said}: are these years? prognos counts days; multiply by 365.25.",)
    if longest < DAYS_THAT_LOOK_LIKE_MONTHS and median < MEDIAN_OF_MONTHS:
        return (f"{said}: are these months? prognos counts days; multiply by 30.44.",)
    return ()
