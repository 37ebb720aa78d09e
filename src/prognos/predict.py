"""A new patient: risk, survival curve, risk group, and what was missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prognos import files
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.config import unknown
from prognos.training import Fitted

HORIZONS = (*np.arange(0.0, 3651.0, 73.0).tolist(), 1095.0, 1825.0)
"""Days of the curves: ten years in steps of a fifth of a year, with 1, 3 and 5 years among them."""

COLUMNS = ("patient_id", "risk", "low", "high", "group", "missing", "filled_by")


@dataclass(frozen=True)
class Answer:
    """What fitted models say of patients.

    Args:
        table: the columns of predictions.csv. With several fitted models `risk` is the mean of each model's risk less its
            threshold, since models of different folds are not on one scale, and `low` and `high` are the smallest and the
            largest of them; with one model `risk` is its own and there is no spread.
        survival: patient_id, horizon, survival: the mean curve.
        n_models: how many fitted models answered.
        not_converged: patients for whom an iteration inside one of the models did not converge.
    """

    table: pd.DataFrame
    survival: pd.DataFrame
    n_models: int
    not_converged: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to be said beside the numbers."""
        if not self.not_converged:
            return ()
        count = f"{len(self.not_converged)} of {len(self.table)} patients ({naming(self.not_converged)})"
        return (
            f"an iteration inside the model did not converge for {count}: their risks rest on what it had reached; look at their data.",
        )


def load(folder: Path | str) -> Fitted:
    """The fitted model of a folder that `Fitted.save` or a study wrote.

    Raises:
        ValueError: it is not one.
    """
    return Fitted.load(Path(folder))


def fitted_folders(place: Path | str, model: str | None = None) -> list[Path]:
    """The fitted models at a place: a fold folder, or those of one model of a run.

    Args:
        place: a folder with fitted.json, the folder of one model in a run, or a run.
        model: which model of the run, `MODEL` or `MODEL@VARIANT`.

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    place = Path(place)
    if (place / "fitted.json").is_file():
        return [place]
    own = sorted(place.glob("seed-*/fold-*/fitted.json"))
    if own:
        return [path.parent for path in own]
    found = sorted(place.glob("models/*/*/seed-*/fold-*/fitted.json"))
    if not found:
        raise ValueError(f"{place} holds no fitted model: give a fold folder (with fitted.json), or a finished run with --model NAME.")
    names = list(dict.fromkeys(path.parts[-4] for path in found))
    if model is None:
        raise ValueError(f"{place} is a run of {len(names)} models: choose one with --model ({', '.join(names)}).")
    if model not in names:
        raise ValueError(f"{place}: {unknown('model', model, names)}")
    folders = [path.parent for path in found if path.parts[-4] == model]
    cohorts = list(dict.fromkeys(folder.parts[-4] for folder in folders))
    if len(cohorts) > 1:
        raise ValueError(
            f"{place} has {model} of {len(cohorts)} cohorts ({', '.join(cohorts)}): give {place}/models/COHORT/{model} instead."
        )
    return folders


def predict(
    folders: Sequence[Path],
    cohort: Cohort,
    *,
    patients: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> Answer:
    """What the fitted models of some folders say of patients.

    Args:
        folders: one fold folder, or those of one model.
        cohort: new patients; their outcome, where known, is not looked at.
        patients: which of them; everyone when None.
        without: modalities that nobody is taken to have.

    Raises:
        ValueError: for a patient or a modality that does not exist.
    """
    chosen = tuple(cohort.patients if patients is None else patients)
    absent = [patient for patient in chosen if patient not in cohort.patients]
    if absent:
        raise ValueError(f"{len(absent)} patients are not in {cohort.name} ({', '.join(absent[:3])}): look at its clinical.csv.")
    horizons = np.unique(HORIZONS)
    risks, curves, fitted, nothing, unfinished = [], [], None, np.zeros(len(chosen), dtype=bool), np.zeros(len(chosen), dtype=bool)
    for folder in folders:
        fitted = Fitted.load(folder)
        known = fitted.model.needs.modalities
        for name in without:
            if name not in (*known, *cohort.modalities):
                raise ValueError(f"--without: {unknown('modality', name, dict.fromkeys([*known, *cohort.modalities]))}")
        answered = fitted.predict(cohort, chosen, without=tuple(without), horizons=horizons.tolist())
        risks.append(answered.risk - (fitted.threshold if len(folders) > 1 else 0.0))
        curves.append(answered.survival)
        nothing = answered.without_input
        unfinished |= answered.not_converged
    assert fitted is not None, "there is a folder"
    threshold = fitted.threshold if len(folders) == 1 else 0.0
    risk = np.mean(risks, axis=0)
    missing = _missing(cohort, chosen, fitted.model.needs.modalities, without)
    table = pd.DataFrame(
        {
            "patient_id": chosen,
            "risk": risk,
            "low": np.min(risks, axis=0) if len(folders) > 1 else np.nan,
            "high": np.max(risks, axis=0) if len(folders) > 1 else np.nan,
            "group": np.where(risk > threshold, "high", "low"),
            "missing": [";".join(names) for names in missing],
            "filled_by": [_filled_by(names, none) for names, none in zip(missing, nothing.tolist(), strict=True)],
        }
    )
    long = pd.DataFrame({"patient_id": np.repeat(chosen, len(horizons)), "horizon": np.tile(horizons, len(chosen))})
    not_converged = tuple(patient for patient, one in zip(chosen, unfinished.tolist(), strict=True) if one)
    return Answer(table, long.assign(survival=np.round(np.mean(curves, axis=0).reshape(-1), 6)), len(folders), not_converged)


def write(answer: Answer, out: Path, *, pages: Sequence[str] = ()) -> list[Path]:
    """Writes predictions.csv and survival.csv.gz, and a page for each of some patients."""
    written = [
        files.write_csv(out / "predictions.csv", answer.table[list(COLUMNS)]),
        files.write_csv(out / "survival.csv.gz", answer.survival),
    ]
    return written + [files.write_text(out / f"patient-{patient}.html", page(answer, patient)) for patient in pages]


def page(answer: Answer, patient: str) -> str:
    """One patient on one self-contained page: risk, group, what was missing, the survival curve."""
    from html import escape

    row = answer.table.set_index("patient_id").loc[patient]
    curve = answer.survival[answer.survival["patient_id"] == patient]
    years, width, height = 10.0, 560, 260
    points = " ".join(
        f"{60 + day / 365.0 / years * (width - 80):.1f},{20 + (1 - alive) * (height - 60):.1f}"
        for day, alive in zip(curve["horizon"], curve["survival"], strict=True)
    )
    ticks = "".join(
        f'<text x="{60 + year / years * (width - 80):.0f}" y="{height - 20}" text-anchor="middle">{year}</text>' for year in range(0, 11, 2)
    )
    ticks += "".join(
        f'<text x="50" y="{24 + (1 - share / 100) * (height - 60):.0f}" text-anchor="end">{share}%</text>' for share in (0, 50, 100)
    )
    spread = "" if np.isnan(row["low"]) else f", from {row['low']:.3f} to {row['high']:.3f} among {answer.n_models} fitted models"
    survival = {year: float(np.interp(365.0 * year, curve["horizon"], curve["survival"])) for year in (1, 3, 5)}
    facts = [
        ("Risk", f"{row['risk']:.3f}{spread}"),
        ("Group", f"{row['group']} (above or below the median of the training patients)"),
        ("Predicted to be free of the event", ", ".join(f"{share:.0%} at {year} y" for year, share in survival.items())),
        ("Missing", f"{row['missing'] or 'nothing that the model reads'}{': ' + row['filled_by'] if row['filled_by'] else ''}"),
    ]
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Patient {escape(patient)}</title><style>body{{font:16px/1.5 system-ui;max-width:42rem;margin:2rem auto;padding:0 1rem}}"
        f"th{{text-align:left;padding-right:1rem;vertical-align:top}}svg{{width:100%;font-size:12px}}</style>"
        f"<h1>Patient {escape(patient)}</h1><table>{rows}</table>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Predicted survival curve">'
        f'<path d="M60 20V{height - 40}H{width - 20}" fill="none" stroke="#666"/>{ticks}'
        f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/>'
        f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">years</text></svg>'
        "<p>Research software: not for decisions about a patient.</p></html>\n"
    )


def _missing(cohort: Cohort, patients: Sequence[str], modalities: Sequence[str], without: Sequence[str]) -> list[list[str]]:
    place = {patient: row for row, patient in enumerate(cohort.patients)}
    rows = [place[patient] for patient in patients]
    has = {name: np.asarray(cohort.has(name)) if name in cohort.modalities else np.zeros(len(cohort), dtype=bool) for name in modalities}
    return [[name for name in modalities if name in without or not has[name][row]] for row in rows]


def _filled_by(missing: Sequence[str], no_input: bool) -> str:
    if not missing:
        return ""
    return "the median training risk and the training Kaplan-Meier curve" if no_input else "nothing: predicted from the rest"
