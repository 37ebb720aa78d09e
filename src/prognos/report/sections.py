"""The sections of the page, in order: a section is its entry here and its template in `templates/sections`.

`run` is the run as it is, `real` the same without its noise canaries; nearly everything is said of the second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prognos.metrics import METRICS
from prognos.report import tables
from prognos.report.calibration import calibration_notes, competing_tables
from prognos.report.checklist import Known, checklist, checklist_csv, counts
from prognos.report.claims import claim_tables
from prognos.report.evidence import evidence_notes
from prognos.report.gene_groups import gene_group_tables
from prognos.report.lacking import lacking_sentences
from prognos.report.methods import methods
from prognos.report.oracle import oracle_sentence
from prognos.report.places import without_folders
from prognos.report.risk_groups import panel_name, patterns, risk_groups
from prognos.report.run_folder import RunFolder, missing_in_words
from prognos.report.sensitivity import settings_of
from prognos.report.subtypes import subtype_remarks, subtype_tables
from prognos.report.verdicts import findings


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Args:
        anchor: its place in the page, and the name of its template.
        title: its heading.
        values: what its template reads, by name, of the run and of the run without canaries; names are unique over all sections.
        shown: whether a run has anything to say here.
    """

    anchor: str
    title: str
    values: Callable[[RunFolder, RunFolder], Mapping[str, Any]]
    shown: Callable[[RunFolder], bool] = lambda run: True


@dataclass(frozen=True)
class RiskGroupNotes:
    """What has to be said beside the Kaplan-Meier curves of a cohort."""

    remarks: tuple[str, ...]
    tables: tuple[tables.Table, ...]


def _what_came_out(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "findings": {name: findings(run, name) for name in run.cohorts},
        "lacking": lacking_sentences(real),
        "remarks": [*_remarks(real), *(text for text in run.study.warnings if not _of_a_metric(text))],
    }


def _who_is_in(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "cohort_table": tables.cohort_table(run),
        "gene_sets": {name: tables.gene_set_table(name, facts) for name, facts in run.cohorts.items()},
    }


def _folds(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {"split_cards": {name: tables.split_card(run, name, facts) for name, facts in run.cohorts.items()}}


def _comparison(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "comparisons": {name: tables.comparison_tables(run, name) for name in run.cohorts},
        "not_applicable": tables.entries_table("Not applicable", run.study.not_applicable, ("model", "variant", "cohort", "reason")),
        "unusable": tables.unusable_table(run),
        "metric_remarks": [text for text in run.study.warnings if _of_a_metric(text)],
    }


def _how(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "model_table": tables.model_table(real),
        "metric_meanings": tables.metric_meanings(real),
        "provenance": tables.provenance_table(without_folders(run.provenance, run), "Provenance"),
        "command": without_folders(run.study.command, run),
        "recipe": without_folders(run.recipe, run),
    }


def _cost(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {"cost_table": tables.cost_table(real)}


def _methods(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {"methods": methods(real)}


def _tripod(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    shown = {section.anchor: section.title for section in SECTIONS if section.shown(real)}
    answers = checklist(real)
    link = tables.csv_link(checklist_csv(answers, shown))
    return {"checklist": answers, "checklist_counts": counts(answers), "checklist_link": link, "known": Known, "shown": shown}


def _by_cohort(name: str, of: Callable[[RunFolder, str], Any]) -> Callable[[RunFolder, RunFolder], Mapping[str, Any]]:
    """What a function says of each cohort, under one name."""
    return lambda run, real: {name: {cohort: of(real, cohort) for cohort in run.cohorts}}


def _is_it_real(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "claims": {cohort: claim_tables(real, cohort) for cohort in run.cohorts},
        "oracle_sentences": {cohort: oracle_sentence(real, cohort) for cohort in run.cohorts},
    }


def _subtypes(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {
        "subtype_tables": {cohort: subtype_tables(real, cohort) for cohort in run.cohorts},
        "subtype_remarks": {cohort: subtype_remarks(real, cohort) for cohort in run.cohorts},
    }


def _risk_group_notes(run: RunFolder, cohort: str) -> RiskGroupNotes:
    remarks, counted = [], []
    for label, missing in patterns(run, cohort):
        groups = risk_groups(run, cohort, label, missing)
        name = panel_name(label, missing_in_words(missing))
        folds = ", ".join(str(fold) for fold in groups.one_sided)
        if groups.patients.high.nunique() != 2:
            remarks.append(f"{name}: all patients of all folds are on one side of the threshold, so there are no two groups to compare.")
        elif groups.one_sided:
            remarks.append(f"{name}: in fold {folds} all patients are on one side of the threshold; these folds add nothing to the test.")
        if groups.within_fold:
            remarks.append(f"{name}: no threshold from the training part is recorded; the median risk within each fold stands in for it.")
        counted.append(tables.risk_group_table(groups.patients, name))
    return RiskGroupNotes(tuple(remarks), tuple(counted))


def _remarks(run: RunFolder) -> list[str]:
    """What holds for the whole study and has to be read with its numbers."""
    remarks = []
    if run.predictions.seed.nunique() == 1:
        remarks.append("Every model was trained with one seed only: how much the numbers change with another seed is not known.")
    tested = run.comparison[(run.comparison.metric == "concordance") & (run.comparison.label != run.study.reference)].dropna(
        subset=["difference_low"]
    )
    if len(tested) > 1:
        remarks.append(
            f"{len(tested)} differences are shown, each with a 95% interval and without correction for their number: about one in twenty "
            "intervals leaves out zero by chance."
        )
    return remarks


def _of_a_metric(warning: str) -> bool:
    """Whether a remark of the study is about one metric ("COHORT, METRIC: ..."); these are many, and stand beside the table."""
    place, colon, _ = warning.partition(": ")
    return bool(colon) and any(metric in METRICS for metric in place.split(", "))


def _nothing(run: RunFolder, real: RunFolder) -> Mapping[str, Any]:
    return {}


def _has_claims(run: RunFolder) -> bool:
    return any(claim_tables(run, cohort) for cohort in run.cohorts)


SECTIONS = (
    Section("what-came-out", "What came out", _what_came_out),
    Section("who-is-in", "Who is in", _who_is_in),
    Section("folds", "Folds", _folds),
    Section("comparison", "Comparison", _comparison),
    Section("is-it-real", "Is it real?", _is_it_real, _has_claims),
    Section("risk-groups", "Risk groups", _by_cohort("groups", _risk_group_notes)),
    Section("calibration", "Calibration", _by_cohort("calibration_of", calibration_notes)),
    Section("decisions", "Decisions", _nothing, lambda run: not run.net_benefit.empty),
    Section("competing-risks", "Competing risks", _by_cohort("competing_of", competing_tables), lambda run: not run.competing.empty),
    Section("subtypes", "Subtypes", _subtypes, lambda run: not run.subtypes.empty),
    Section("gene-groups", "Groups of genes", _by_cohort("gene_groups", gene_group_tables), lambda run: not run.gene_groups.empty),
    Section("components", "Components", _nothing, lambda run: not run.similarities.empty),
    Section("evidence", "What models look at", _by_cohort("evidence", evidence_notes), lambda run: not run.evidence["fits"].empty),
    Section("sensitivity", "Variants", _nothing, lambda run: bool(settings_of(run.recipe))),
    Section("training", "Training", _nothing),
    Section("cost", "What the models cost", _cost, lambda run: bool(run.study.cost)),
    Section("methods", "Methods, to paste", _methods),
    Section("how", "How it was made", _how),
    Section("tripod", "TRIPOD+AI checklist", _tripod),
)
