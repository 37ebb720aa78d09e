"""The files of an answer: predictions.csv, survival.csv.gz, subtypes.csv, and a JSON file for each of some patients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from prognos import files
from prognos.predict.answer import COLUMNS, Answer, facts_of
from prognos.predict.contributions import Contributions
from prognos.predict.outcome import KEYS, Known

NOT_FOR_PATIENTS = "Research software: not for decisions about a patient."


def write(
    answer: Answer, out: Path, *, contributed: Mapping[str, Contributions] | None = None, known: Known | None = None, cohort: str = ""
) -> list[Path]:
    """Writes an answer; returns the paths.

    Args:
        answer: what was predicted.
        out: folder.
        contributed: patients who get a file of their own, and what their risk rests on.
        known: their outcome; `predictions.csv` and `survival.csv.gz` then have what `prognos evaluate` needs besides.
        cohort: name of their cohort, for that.
    """
    table, survival = answer.table[list(COLUMNS)], answer.survival
    if known is not None:
        keys = _keys(answer, cohort)
        rows = known.table.reindex(table["patient_id"])
        table = table.assign(time=rows["time"].to_numpy(), event=rows["event"].to_numpy(), threshold=answer.threshold, **keys)
        survival = survival[survival["horizon"] > 0].assign(**keys)  # at day 0 there is nothing to score
    written = [files.write_csv(out / "predictions.csv", table), files.write_csv(out / "survival.csv.gz", survival)]
    if len(answer.subtypes):
        written.append(files.write_csv(out / "subtypes.csv", answer.subtypes))
    for patient, rests_on in (contributed or {}).items():
        written.append(files.write_json(out / f"patient-{patient}.json", patient_facts(answer, patient, rests_on)))
    return written


def patient_facts(answer: Answer, patient: str, contributed: Contributions) -> dict[str, Any]:
    """Everything that is known of one patient, in JSON's types; null for what is not."""
    row = answer.table.set_index("patient_id").loc[patient]
    curve = answer.survival[answer.survival["patient_id"] == patient]
    subtypes = answer.subtypes[answer.subtypes["patient_id"] == patient]
    return {
        "patient_id": patient,
        "notice": NOT_FOR_PATIENTS,
        "model": vars(answer.about) | {"n_models": answer.n_models},
        "risk": _plain(row["risk"]),
        "low": _plain(row["low"]),
        "high": _plain(row["high"]),
        "threshold": answer.threshold,
        "group": row["group"],
        "percentile": _plain(row["percentile"]),
        "missing": [name for name in row["missing"].split(";") if name],
        "filled_by": row["filled_by"],
        "unusual": None if patient not in answer.reasons else [vars(reason) for reason in answer.reasons[patient]],
        "absent_features": len(answer.absent),
        "survival": _records(curve.drop(columns="patient_id").assign(training=list(answer.marginal))),
        "subtypes": _records(subtypes.drop(columns="patient_id")),
        "pathways": _records(contributed.pathways),
        "patches": _records(contributed.patches),
        "patches_show": contributed.shown,
        "notes": list(contributed.notes),
        "text": dict(facts_of(answer, patient)),
    }


def _keys(answer: Answer, cohort: str) -> dict[str, Any]:
    model, _, variant = answer.about.label.partition("@")
    return dict(zip(KEYS, (model, variant or "base", cohort, 0, 0), strict=True))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
