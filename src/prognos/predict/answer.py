"""What fitted models say of patients, as tables and in a few lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from prognos.bundle import Bundle, Ensemble, Joint, Reason, absent_genes
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.predict.place import percentiles_among, references_of
from prognos.training import Fitted, Folder

HORIZONS = (*np.arange(0.0, 3651.0, 73.0).tolist(), 1095.0, 1825.0)
"""Days of the curves: ten years in steps of a fifth of a year, with 1, 3 and 5 years among them."""

DRAWS = 100
"""Draws of a missing component that an interval rests on, where a model draws."""

MOST_ABSENT = 0.2
"""Share of a model's omics features that a cohort may lack before it is refused."""

SUBTYPE_COLUMNS = ("patient_id", "class", "probability")
COLUMNS = ("patient_id", "risk", "low", "high", "group", "missing", "filled_by", "percentile", "unusual")


@dataclass(frozen=True)
class About:
    """What answered.

    Args:
        label: `MODEL`, or `MODEL@VARIANT` where a bundle says so.
        cohort: what it was fitted on.
        endpoint: what it predicts.
        patients: of all folds in a bundle, else of the one training fold.
        events: observed events among them.
        place: whom percentiles are among, in words; empty where no such risks are at hand.
        bundled: whether it is a bundle, which knows how its training patients lie.
    """

    label: str = ""
    cohort: str = ""
    endpoint: str = ""
    patients: int = 0
    events: int = 0
    place: str = ""
    bundled: bool = False


@dataclass(frozen=True)
class Answer:
    """What fitted models say of patients.

    Args:
        table: the columns of predictions.csv. With several fitted models `risk` is the mean of each model's risk less its
            threshold, since models of different folds are not on one scale. `low` and `high`: for patients of whom something was drawn,
            the 5th and 95th percentile over 100 draws (of several models the lowest and the highest); else the smallest and the largest
            of several models' risks; else empty. `percentile`: mean over the models of the percentile of the patient's risk among the
            risks of patients whom the model was not trained on; empty where these are not at hand. `unusual`: what of the patient is
            unlike the training patients, where a bundle tells.
        survival: patient_id, horizon, survival (the mean curve), low, high (as for the risk).
        n_models: how many fitted models answered.
        not_converged: patients for whom an iteration inside one of the models did not converge.
        drawn: patients of whom something was drawn.
        subtypes: patient_id, class, probability (mean of the models), most probable first; no row for models that learn no subtypes.
        threshold: of the risks; above it lies the high-risk group.
        marginal: the training patients' Kaplan-Meier curve at the horizons.
        reasons: why a patient is unlike the training patients; no key for a patient who was not looked at.
        absent: omics features that the models read and the cohort does not have.
        about: what answered.
    """

    table: pd.DataFrame
    survival: pd.DataFrame
    n_models: int
    not_converged: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    subtypes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SUBTYPE_COLUMNS)))
    threshold: float = 0.0
    marginal: Sequence[float] = ()
    reasons: Mapping[str, tuple[Reason, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    about: About = field(default_factory=About)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to be said beside the numbers."""
        said = []
        if self.not_converged:
            count = f"{len(self.not_converged)} of {len(self.table)} patients ({naming(self.not_converged)})"
            said.append(
                f"an iteration inside the model did not converge for {count}: their risks rest on what it had reached; look at their data."
            )
        if self.absent:
            said.append(f"{len(self.absent)} omics features that the model reads are absent ({naming(self.absent)}): set to 0.")
        unusual = [patient for patient, reasons in self.reasons.items() if reasons]
        if unusual:
            said.append(
                f"{len(unusual)} of {len(self.table)} patients are unlike the training patients ({naming(unusual)}): see the column "
                "unusual; about one in twenty training patients would be, by chance, for each modality."
            )
        return tuple(said)


def predict(
    folders: Sequence[Folder],
    cohort: Cohort,
    *,
    patients: Sequence[str] | None = None,
    without: Sequence[str] = (),
    bundle: Bundle | None = None,
    most_absent: float = MOST_ABSENT,
) -> Answer:
    """What the fitted models of some folders say of patients.

    Args:
        folders: one fold folder, or those of one model.
        cohort: new patients; their outcome, where known, is not looked at.
        patients: which of them; everyone when None.
        without: modalities that nobody is taken to have.
        bundle: the bundle that the folders are in, for what it knows of its training patients.
        most_absent: share of the omics features that the cohort may lack.

    Raises:
        ValueError: a patient or a modality that does not exist, or too many absent genes.
    """
    chosen = tuple(cohort.patients if patients is None else patients)
    absent = [patient for patient in chosen if patient not in set(cohort.patients)]
    if absent:
        raise ValueError(f"{len(absent)} patients are not in {cohort.name} ({', '.join(absent[:3])}): look at its clinical.csv.")
    first = Fitted.load(folders[0])
    genes = _checked_genes(first, cohort, without, most_absent)
    horizons = np.unique(HORIZONS)
    joint = Ensemble(folders).ask(cohort, chosen, without=without, horizons=horizons, draws=DRAWS)
    found, names = joint.predictions, _missing(cohort, chosen, joint.modalities, without)
    references, place = references_of(folders, bundle)
    percentiles = percentiles_among(joint.risks, references)
    percentiles[found.without_input] = np.nan
    reasons = {} if bundle is None else bundle.training.unusual(cohort, chosen, first.inputs, without)
    table = pd.DataFrame(
        {
            "patient_id": chosen,
            "risk": found.risk,
            "low": found.low,
            "high": found.high,
            "group": np.where(found.risk > joint.threshold, "high", "low"),
            "missing": [";".join(lacking) for lacking in names],
            "filled_by": [_filled_by(one, bool(none), joint.filled_by) for one, none in zip(names, found.without_input, strict=True)],
            "percentile": np.round(percentiles, 1),
            "unusual": [";".join(dict.fromkeys(reason.where for reason in reasons.get(patient, ()))) for patient in chosen],
        }
    )
    return Answer(
        table=table,
        survival=_curves(joint),
        n_models=len(folders),
        not_converged=_named(chosen, found.not_converged),
        drawn=_named(chosen, joint.drawn),
        subtypes=_subtypes(joint),
        threshold=joint.threshold,
        marginal=joint.marginal.tolist(),
        reasons=reasons,
        absent=genes,
        about=_about(first, bundle, place),
    )


def told(answer: Answer, patient: str) -> str:
    """What is said of one patient in a few lines: risk and group, curve, what was missing and how it was filled."""
    return "\n".join([f"patient {patient}", *(f"  {name.lower()}: {text}" for name, text in facts_of(answer, patient))])


def chance_in_words(share: float) -> str:
    """A probability in per cent, never as certain as 0% or 100%; empty for NaN."""
    if np.isnan(share):
        return ""
    return "over 99%" if share > 0.99 else "under 1%" if share < 0.01 else f"{share:.0%}"


def facts_of(answer: Answer, patient: str) -> list[tuple[str, str]]:
    """Risk, group, place, curve, what was missing, what is unusual: a name and a text each."""
    row = answer.table.set_index("patient_id").loc[patient]
    curve = answer.survival[answer.survival["patient_id"] == patient]
    free = []
    for year in (1, 3, 5):
        ends = (float(np.interp(365.0 * year, curve["horizon"], curve[name])) for name in ("survival", "low", "high"))
        share, low, high = map(chance_in_words, ends)
        free.append(f"{share} at {year} y" + (f" ({low} to {high})" if low and (low, high) != (share, share) else ""))
    of = f"{answer.n_models} fitted models" if answer.n_models > 1 else ""
    drawn = f"{DRAWS} draws of what is missing, which is not all that is unknown" if patient in answer.drawn else ""
    over = " and ".join(part for part in (of, drawn) if part)
    spread = "" if np.isnan(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f} over {over})"
    classes = answer.subtypes[answer.subtypes["patient_id"] == patient]
    subtype = ", ".join(f"{row['class']} {chance_in_words(row['probability'])}" for _, row in classes.iterrows())
    facts = [
        ("Risk", f"{row['risk']:.3f}{spread}"),
        ("Group", f"{row['group']} (above or below the median risk that a model gave those it was trained on)"),
        ("Predicted to be free of the event", ", ".join(free)),
        *([("Subtype", subtype)] if subtype else []),
        ("Missing", f"{row['missing'] or 'nothing that the model reads'}{': ' + row['filled_by'] if row['filled_by'] else ''}"),
    ]
    if not np.isnan(row["percentile"]):
        facts.insert(2, ("Place", f"{_place_in_words(float(row['percentile']))} of {answer.about.place}"))
    if patient in answer.reasons:
        texts = [reason.text for reason in answer.reasons[patient]]
        facts.append(("Unlike the training patients", " ".join(texts) or "nothing that was looked at"))
    return facts


def _place_in_words(percentile: float) -> str:
    if percentile <= 5:
        return "risk among the lowest 5 of 100"
    return "risk among the highest 5 of 100" if percentile >= 95 else f"a higher risk than {percentile:.0f} of 100"


def _checked_genes(fitted: Fitted, cohort: Cohort, without: Sequence[str], most: float) -> tuple[str, ...]:
    """The omics features that are absent from a cohort that has omics."""
    if fitted.inputs.omics is None or "omics" in without or "omics" not in cohort.modalities:
        return ()
    gone, read = absent_genes(cohort, fitted.inputs), len(fitted.inputs.omics.schema.features)
    if len(gone) > most * read:
        raise ValueError(
            f"{len(gone)} of the {read} omics features that {fitted.name} reads are absent from {cohort.name} ({naming(gone)}), more than "
            f"{most:.0%}: give tables with the gene names of training, leave omics out (--without omics), or raise --most-absent."
        )
    return gone


def _about(fitted: Fitted, bundle: Bundle | None, place: str) -> About:
    if bundle is None:
        said = fitted.provenance
        return About(fitted.name, said["cohort"], said["endpoint"], said["patients"], said["events"], place)
    said_on = bundle.manifest.fitted_on
    return About(bundle.manifest.label, said_on.name, said_on.endpoint, said_on.patients, said_on.events, place, bundled=True)


def _curves(joint: Joint) -> pd.DataFrame:
    found = joint.predictions
    keys = {"patient_id": np.repeat(found.patients, len(found.horizons)), "horizon": np.tile(found.horizons, len(found.patients))}
    curves = {"survival": found.survival, "low": found.survival_low, "high": found.survival_high}
    return pd.DataFrame({**keys, **{name: np.round(values.reshape(-1), 6) for name, values in curves.items()}})


def _subtypes(joint: Joint) -> pd.DataFrame:
    """Mean probabilities of the models; the most probable class of each patient first."""
    found = joint.predictions
    if found.subtype_probabilities is None:
        return pd.DataFrame(columns=list(SUBTYPE_COLUMNS))
    order = np.argsort(-found.subtype_probabilities, axis=1, kind="stable")
    rows = {
        "patient_id": np.repeat(found.patients, len(found.subtypes)),
        "class": np.array(found.subtypes, dtype=object)[order].reshape(-1),
        "probability": np.round(np.take_along_axis(found.subtype_probabilities, order, axis=1).reshape(-1), 6),
    }
    return pd.DataFrame(rows)


def _named(patients: Sequence[str], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(patient for patient, one in zip(patients, chosen.tolist(), strict=True) if one)


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
