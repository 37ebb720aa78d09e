"""A new patient: risk, survival curve, risk group, subtype where the model learns it, and what was missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prognos import files
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.config import unknown
from prognos.training import Fitted, Predictions

HORIZONS = (*np.arange(0.0, 3651.0, 73.0).tolist(), 1095.0, 1825.0)
"""Days of the curves: ten years in steps of a fifth of a year, with 1, 3 and 5 years among them."""

DRAWS = 100
"""Draws of a missing component that an interval rests on, where a model draws."""

SUBTYPE_COLUMNS = ("patient_id", "class", "probability")
COLUMNS = ("patient_id", "risk", "low", "high", "group", "missing", "filled_by")


@dataclass(frozen=True)
class Answer:
    """What fitted models say of patients.

    Args:
        table: the columns of predictions.csv. With several fitted models `risk` is the mean of each model's risk less its
            threshold, since models of different folds are not on one scale. `low` and `high`: for patients of whom something was drawn,
            the 5th and 95th percentile over 100 draws (of several models the lowest and the highest); else the smallest and the largest
            of several models' risks; else empty.
        survival: patient_id, horizon, survival (the mean curve), low, high (as for the risk).
        n_models: how many fitted models answered.
        not_converged: patients for whom an iteration inside one of the models did not converge.
        drawn: patients of whom something was drawn.
        subtypes: patient_id, class, probability (mean of the models), most probable first; no row for models that learn no subtypes.
    """

    table: pd.DataFrame
    survival: pd.DataFrame
    n_models: int
    not_converged: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    subtypes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SUBTYPE_COLUMNS)))

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
    answers: list[Predictions] = []
    thresholds: list[float] = []
    fitted, unfinished = None, np.zeros(len(chosen), dtype=bool)
    for folder in folders:
        fitted = Fitted.load(folder)
        known = fitted.model.needs.modalities
        for name in without:
            if name not in (*known, *cohort.modalities):
                raise ValueError(f"--without: {unknown('modality', name, dict.fromkeys([*known, *cohort.modalities]))}")
        answers.append(fitted.predict(cohort, chosen, without=tuple(without), horizons=horizons.tolist(), draws=DRAWS))
        thresholds.append(fitted.threshold if len(folders) > 1 else 0.0)
        unfinished |= answers[-1].not_converged
    assert fitted is not None, "there is a folder"
    threshold = fitted.threshold if len(folders) == 1 else 0.0
    risks = np.stack([answer.risk - zero for answer, zero in zip(answers, thresholds, strict=True)])
    risk, nothing = risks.mean(axis=0), answers[-1].without_input
    low, high = _ends([(answer.low - zero, answer.high - zero) for answer, zero in zip(answers, thresholds, strict=True)], risks)
    curves = np.stack([answer.survival for answer in answers])
    curve_ends = _ends([(answer.survival_low, answer.survival_high) for answer in answers], curves)
    filled_by = fitted.model.filled_by if fitted.filler is None else f"the training patients ({fitted.filler.policy})"
    missing = _missing(cohort, chosen, fitted.model.needs.modalities, without)
    table = pd.DataFrame(
        {
            "patient_id": chosen,
            "risk": risk,
            "low": low,
            "high": high,
            "group": np.where(risk > threshold, "high", "low"),
            "missing": [";".join(names) for names in missing],
            "filled_by": [_filled_by(names, none, filled_by) for names, none in zip(missing, nothing.tolist(), strict=True)],
        }
    )
    long = pd.DataFrame({"patient_id": np.repeat(chosen, len(horizons)), "horizon": np.tile(horizons, len(chosen))})
    long = long.assign(survival=np.round(curves.mean(axis=0).reshape(-1), 6))
    long = long.assign(**{name: np.round(ends.reshape(-1), 6) for name, ends in zip(("low", "high"), curve_ends, strict=True)})
    not_converged = tuple(patient for patient, one in zip(chosen, unfinished.tolist(), strict=True) if one)
    drawn = tuple(patient for patient, nan in zip(chosen, np.isnan(answers[0].low).tolist(), strict=True) if not nan)
    classes, probabilities = [answer.subtypes for answer in answers], [answer.subtype_probabilities for answer in answers]
    return Answer(table, long, len(folders), not_converged, drawn, _subtypes(chosen, classes, probabilities))


def told(answer: Answer, patient: str) -> str:
    """What is said of one patient in a few lines: risk and group, curve, what was missing and how it was filled."""
    return "\n".join([f"patient {patient}", *(f"  {name.lower()}: {text}" for name, text in facts_of(answer, patient))])


def facts_of(answer: Answer, patient: str) -> list[tuple[str, str]]:
    """Risk, group, curve, what was missing: a name and a text each."""
    row = answer.table.set_index("patient_id").loc[patient]
    curve = answer.survival[answer.survival["patient_id"] == patient]
    free = []
    for year in (1, 3, 5):
        share, low, high = (float(np.interp(365.0 * year, curve["horizon"], curve[name])) for name in ("survival", "low", "high"))
        free.append(f"{share:.0%} at {year} y" + ("" if np.isnan(low) else f" ({low:.0%} to {high:.0%})"))
    of = f"{answer.n_models} fitted models" if answer.n_models > 1 else ""
    of = " and ".join(
        part
        for part in (of, f"{DRAWS} draws of what is missing, which is not all that is unknown" if patient in answer.drawn else "")
        if part
    )
    spread = "" if np.isnan(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f} over {of})"
    classes = answer.subtypes[answer.subtypes["patient_id"] == patient]
    subtype = ", ".join(f"{row['class']} {row['probability']:.0%}" for _, row in classes.iterrows())
    return [
        ("Risk", f"{row['risk']:.3f}{spread}"),
        ("Group", f"{row['group']} (above or below the median of the training patients)"),
        ("Predicted to be free of the event", ", ".join(free)),
        *([("Subtype", subtype)] if subtype else []),
        ("Missing", f"{row['missing'] or 'nothing that the model reads'}{': ' + row['filled_by'] if row['filled_by'] else ''}"),
    ]


def write(answer: Answer, out: Path, *, pages: Sequence[str] = ()) -> list[Path]:
    """Writes predictions.csv and survival.csv.gz, subtypes.csv where the model learns subtypes, and a page for each of some patients."""
    written = [
        files.write_csv(out / "predictions.csv", answer.table[list(COLUMNS)]),
        files.write_csv(out / "survival.csv.gz", answer.survival),
    ]
    if len(answer.subtypes):
        written.append(files.write_csv(out / "subtypes.csv", answer.subtypes))
    return written + [files.write_text(out / f"patient-{patient}.html", page(answer, patient)) for patient in pages]


def page(answer: Answer, patient: str) -> str:
    """One patient on one self-contained page: risk, group, what was missing, the survival curve."""
    from html import escape

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
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts_of(answer, patient))
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


def _subtypes(patients: Sequence[str], classes: Sequence[tuple[str, ...]], probabilities: Sequence[np.ndarray | None]) -> pd.DataFrame:
    """Mean probabilities of the models; the most probable class of each patient first.

    Raises:
        ValueError: the models learnt different classes.
    """
    if len(set(classes)) > 1:
        raise ValueError("these fitted models learnt different subtypes: predict with one of them, or with those of one run.")
    known = [part for part in probabilities if part is not None]
    if not known:
        return pd.DataFrame(columns=list(SUBTYPE_COLUMNS))
    mean = np.mean(known, axis=0)
    order = np.argsort(-mean, axis=1, kind="stable")
    rows = {
        "patient_id": np.repeat(patients, len(classes[0])),
        "class": np.array(classes[0], dtype=object)[order].reshape(-1),
        "probability": np.round(np.take_along_axis(mean, order, axis=1).reshape(-1), 6),
    }
    return pd.DataFrame(rows)


def _missing(cohort: Cohort, patients: Sequence[str], modalities: Sequence[str], without: Sequence[str]) -> list[list[str]]:
    place = {patient: row for row, patient in enumerate(cohort.patients)}
    rows = [place[patient] for patient in patients]
    has = {name: np.asarray(cohort.has(name)) if name in cohort.modalities else np.zeros(len(cohort), dtype=bool) for name in modalities}
    return [[name for name in modalities if name in without or not has[name][row]] for row in rows]


def _filled_by(missing: Sequence[str], no_input: bool, of_model: str) -> str:
    if not missing:
        return ""
    if no_input:
        return "the median training risk and the training Kaplan-Meier curve"
    return of_model


def _ends(drawn: Sequence[tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From where to where: over single draws of each model where there are any, else over the models' points, if several."""
    several = len(points) > 1
    low = np.where(np.isnan(drawn[0][0]), points.min(axis=0) if several else np.nan, np.min([ends[0] for ends in drawn], axis=0))
    high = np.where(np.isnan(drawn[0][1]), points.max(axis=0) if several else np.nan, np.max([ends[1] for ends in drawn], axis=0))
    return low, high
