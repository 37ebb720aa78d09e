"""The 27 items of TRIPOD+AI, in our words, each with what the run can say to it and where.

A run knows its data, models and numbers. It does not know why the study was made, who the patients were or who agreed to it; these
items are left to the authors, plainly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import pandas as pd

from prognos.report.run_folder import CohortFacts, RunFolder, missing_in_words
from prognos.report.verdicts import counted, listed, patterns_of


class Known(Enum):
    """How far a run answers an item."""

    YES = "in this report"
    PARTLY = "in part"
    NO = "not known to the run: the authors have to say"


@dataclass(frozen=True)
class Answer:
    """What the run says to an item.

    Args:
        known: how far it answers.
        says: what it says, and what is left to the authors.
        places: anchors of sections of the page.
    """

    known: Known
    says: str = ""
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One item of the checklist.

    Args:
        number: from 1 to 27.
        part: of a paper.
        asks: what has to be reported, in our words.
        answer: what a run says to it.
    """

    number: int
    part: str
    asks: str
    answer: Callable[[RunFolder], Answer]


def authors(says: str = "") -> Callable[[RunFolder], Answer]:
    """The answer to what no run can know."""
    return lambda run: Answer(Known.NO, says)


def checklist(run: RunFolder) -> list[tuple[Item, Answer]]:
    """Every item with its answer."""
    return [(item, item.answer(run)) for item in ITEMS]


def counts(answers: Sequence[tuple[Item, Answer]]) -> Mapping[Known, int]:
    """How many items are answered how far."""
    return {known: sum(answer.known is known for _, answer in answers) for known in Known}


def checklist_csv(answers: Sequence[tuple[Item, Answer]], titles: Mapping[str, str]) -> str:
    """The checklist as CSV text.

    Args:
        answers: items with their answers.
        titles: anchor -> title of the sections of the page; places elsewhere are left out.
    """
    rows = [
        (item.number, item.part, item.asks, answer.known.value, answer.says, "; ".join(titles[p] for p in answer.places if p in titles))
        for item, answer in answers
    ]
    columns = ["item", "part", "asks", "known", "says", "section"]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")


def _title(run: RunFolder) -> Answer:
    whose = ", ".join(f"{name}{f' ({facts.endpoint.upper()})' if facts.endpoint else ''}" for name, facts in run.cohorts.items())
    work = "Models are evaluated here, not developed" if run.study.evaluated else "Models are developed and evaluated by cross-validation"
    return Answer(Known.PARTLY, f"{work}, on {whose}. The wording of the title is the authors'.", ("what-came-out",))


def _abstract(run: RunFolder) -> Answer:
    return Answer(Known.PARTLY, "The result stands in words; background and conclusion are the authors'.", ("what-came-out",))


def _data(run: RunFolder) -> Answer:
    hashed = any(isinstance(run.provenance.get("cohorts"), dict) and run.provenance["cohorts"].get(name) for name in run.cohorts)
    told = "The tables that were read are named and hashed" if hashed else "Cohorts are named"
    return Answer(
        Known.PARTLY, f"{told}; where the data come from, why these, and their dates are the authors' to say.", ("who-is-in", "how")
    )


def _participants(run: RunFolder) -> Answer:
    if not any(facts.exclusions for facts in run.cohorts.values()):
        return Answer(Known.NO, "Rules of exclusion are not recorded; setting, eligibility and treatment are the authors' to say.")
    sites = [int(row["sites"]) for facts in run.cohorts.values() for row in facts.split_card if row.get("sites")]
    where = "Rules of exclusion with counts, and sites by fold" if sites else "Rules of exclusion with counts"
    return Answer(Known.PARTLY, f"{where}; setting, eligibility and treatment are the authors' to say.", ("who-is-in", "folds"))


def _preparation(run: RunFolder) -> Answer:
    if run.study.evaluated or not run.fits:
        return Answer(Known.NO, "How the data were prepared is not recorded.")
    says = "Scaling, gene sets and patches are described; laboratory work and slide scanning are the authors' to say."
    return Answer(Known.PARTLY, says, ("methods", "who-is-in"))


def _outcome(run: RunFolder) -> Answer:
    endpoints = [facts.endpoint for facts in run.cohorts.values() if facts.endpoint]
    if not endpoints:
        return Answer(Known.NO, "The endpoint is not recorded.")
    named = ", ".join(dict.fromkeys(endpoint.upper() for endpoint in endpoints))
    return Answer(
        Known.PARTLY, f"The endpoint is {named}; how deaths and their causes were established is the authors' to say.", ("who-is-in",)
    )


def _predictors(run: RunFolder) -> Answer:
    found = dict.fromkeys(modality for facts in run.cohorts.values() for modality, count in facts.modalities.items() if count)
    if not found:
        return Answer(Known.NO, "What the models read is not recorded.")
    return Answer(
        Known.PARTLY, f"Modalities: {listed(list(found))}; how each was measured is the authors' to say.", ("who-is-in", "how", "methods")
    )


def _size(run: RunFolder) -> Answer:
    resolved = [facts.detectable_difference for facts in run.cohorts.values() if facts.detectable_difference is not None]
    told = "Patients and events, and the smallest difference they can resolve" if resolved else "Patients and events"
    return Answer(Known.PARTLY, f"{told}; whether that is enough for the purpose is the authors' to argue.", ("who-is-in", "folds"))


def _missing(run: RunFolder) -> Answer:
    if not any(facts.modalities for facts in run.cohorts.values()):
        return Answer(Known.NO, "What was missing is not recorded.")
    taken = any(missing_in_words(missing) for cohort in run.cohorts for missing in patterns_of(run, cohort))
    tried = ", and predictions were made with modalities taken away or exchanged" if taken else ""
    filled = "how what is missing was dealt with" if run.fits else "not how what is missing was dealt with"
    return Answer(Known.YES if run.fits else Known.PARTLY, f"Patients by modality, and {filled}{tried}.", ("who-is-in", "methods"))


def _analysis(run: RunFolder) -> Answer:
    if run.study.evaluated:
        return Answer(Known.PARTLY, "Metrics, intervals and tests; how the models were made is not known here.", ("methods", "comparison"))
    known = Known.YES if run.recipe and run.study.models else Known.PARTLY
    return Answer(
        known, "Folds, models, training, choice of the epoch, metrics, intervals and tests; the whole recipe.", ("methods", "how")
    )


def _imbalance(run: RunFolder) -> Answer:
    balances = {str(fit.training.get("balance")) for fit in run.fits.values() if fit.training.get("balance")}
    if not balances:
        return Answer(Known.NO, "Whether batches were balanced is not recorded.")
    if balances == {"none"}:
        return Answer(Known.YES, "Patients were drawn as they are; nothing was balanced, and nothing had to be calibrated back.", ("how",))
    by = listed(sorted(balances - {"none"}))
    return Answer(
        Known.PARTLY, f"Batches were balanced by {by} in training; what that does to calibration is the authors' to say.", ("how",)
    )


def _fairness(run: RunFolder) -> Answer:
    return Answer(Known.NO, "This page compares no groups of patients by sex, age or origin.")


def _output(run: RunFolder) -> Answer:
    curves = " and a survival curve" if len(run.survival) else ""
    says = f"A risk for each patient (higher: earlier event){curves}; two risk groups by a threshold that is stated."
    return Answer(Known.YES, says, ("risk-groups", "methods"))


def _difference(run: RunFolder) -> Answer:
    if not any(facts.split_card for facts in run.cohorts.values()):
        return Answer(Known.NO, "How training and test patients differ is not recorded.")
    told = (
        "Patients, events, sites and follow-up of every test fold; all come from the same cohort, so nothing is said of another hospital."
    )
    return Answer(Known.YES, told, ("folds",))


def _open(run: RunFolder) -> Answer:
    versions = run.provenance.get("versions")
    if not versions:
        return Answer(Known.NO, "Funding, conflicts of interest, protocol, registration, and sharing of data and code.")
    says = "Software with versions and the recipe; funding, conflicts, protocol, registration and sharing are the authors' to say."
    return Answer(Known.PARTLY, says, ("how",))


def _who(run: RunFolder) -> Answer:
    if not any(_described(facts) for facts in run.cohorts.values()):
        return Answer(Known.NO, "The flow of patients is not recorded; nor are their characteristics.")
    says = "Flow of patients, events and follow-up; a table of their characteristics is the authors' to add."
    return Answer(Known.PARTLY, says, ("who-is-in",))


def _described(facts: CohortFacts) -> bool:
    return facts.kept is not None and facts.events is not None


def _development(run: RunFolder) -> Answer:
    rows = run.predictions.drop_duplicates(["cohort", "fold", "patient_id"])
    folds = counted(rows.groupby(["cohort", "fold"]).ngroups, "test fold")
    return Answer(Known.YES, f"Patients and events in each of the {folds}, for every model.", ("folds", "risk-groups"))


def _specification(run: RunFolder) -> Answer:
    if run.study.evaluated:
        return Answer(Known.NO, "The models are not here, only their predictions.")
    if not run.fits:
        return Answer(Known.NO, "The fitted models are no longer in the run folder.")
    says = "Fitted models lie in the run folder, with settings, scalers and thresholds; 'prognos bundle' hands one out."
    return Answer(Known.PARTLY, says + " How others get them is the authors' to say.", ("how",))


def _performance(run: RunFolder) -> Answer:
    if not run.comparison.low.notna().any():
        return Answer(Known.PARTLY, "Metrics of every model; intervals were not computed.", ("comparison",))
    use = [name for name, there in (("calibration", run.calibration.ici.notna().any()), ("net benefit", len(run.net_benefit))) if there]
    says = f"Metrics of every model with 95% intervals and paired differences{''.join(f', {name}' for name in use)}; "
    says += "differences between groups of patients are not examined."
    return Answer(Known.PARTLY, says, ("comparison", "is-it-real", "calibration", "decisions"))


def _interpretation(run: RunFolder) -> Answer:
    says = "What came out, against the reference and within noise or not; what it means, and for whom, is the authors' to say."
    return Answer(Known.PARTLY, says, ("what-came-out",))


def _limitations(run: RunFolder) -> Answer:
    says = "What the numbers cannot say stands in the remarks; limits of the data and of their representativeness are the authors' to say."
    return Answer(Known.PARTLY, says, ("what-came-out", "comparison"))


ITEMS: tuple[Item, ...] = (
    Item(1, "Title", "Says that a prediction model is developed or evaluated, for whom and for which outcome.", _title),
    Item(2, "Abstract", "Sums up the study, by the checklist for abstracts.", _abstract),
    Item(3, "Introduction", "The clinical question, who would use the model, and known inequalities in care.", authors()),
    Item(4, "Introduction", "The aims, and whether a model is developed, evaluated or both.", authors()),
    Item(5, "Methods", "Sources of the data, why these, how representative, and their dates.", _data),
    Item(6, "Methods", "Setting and centres, who was eligible, and treatments received.", _participants),
    Item(7, "Methods", "How the data were prepared and checked, alike in all groups of patients.", _preparation),
    Item(8, "Methods", "The outcome: definition, horizon, how and by whom it was judged.", _outcome),
    Item(9, "Methods", "The predictors: choice, definition, how and by whom they were measured.", _predictors),
    Item(10, "Methods", "How the number of patients came about and whether it is enough.", _size),
    Item(11, "Methods", "How missing data were dealt with.", _missing),
    Item(12, "Methods", "Use of the data, type of model, building, tuning, internal validation, metrics, software.", _analysis),
    Item(13, "Methods", "Whether and how imbalance of events was dealt with.", _imbalance),
    Item(14, "Methods", "What was done for fairness between groups of patients.", _fairness),
    Item(15, "Methods", "What the model gives out: probabilities, classes, thresholds.", _output),
    Item(16, "Methods", "How patients in training and in evaluation differ.", _difference),
    Item(17, "Methods", "Ethical approval and consent.", authors("Which board approved the study, and consent.")),
    Item(18, "Open science", "Funding, conflicts of interest, protocol, registration, sharing of data and of code.", _open),
    Item(19, "Involvement", "How patients and the public took part.", authors()),
    Item(20, "Results", "Flow and characteristics of the patients, with events and follow-up.", _who),
    Item(21, "Results", "Patients and events in every analysis.", _development),
    Item(22, "Results", "The model itself, such that others can use it.", _specification),
    Item(23, "Results", "Performance with intervals, also in groups of patients and across centres.", _performance),
    Item(24, "Results", "Whether the model was updated, and how it did then.", authors("No model is updated by a run.")),
    Item(25, "Discussion", "What the results mean, in the light of other studies.", _interpretation),
    Item(26, "Discussion", "Limits of the study and what they do to the result.", _limitations),
    Item(27, "Discussion", "How the model would be used in care, with poor or missing input, and what comes next.", authors()),
)
