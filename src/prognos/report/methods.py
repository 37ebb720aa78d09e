"""A methods section that can be pasted into a paper: every sentence follows from something that the run recorded."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prognos.report.methods_of_models import said_of_models
from prognos.report.references import Citations
from prognos.report.run_folder import CohortFacts, RunFolder, missing_in_words
from prognos.report.verdicts import CANARY, counted, listed, number, patterns_of

METRIC_NAMES = {
    "concordance": ("Harrell's concordance", ("harrell1996",)),
    "concordance_ipcw": ("Uno's concordance up to the 80th percentile of the training follow-up", ("uno2011",)),
    "auc": ("the time-dependent area under the curve", ("uno2007",)),
    "integrated_brier": ("the integrated Brier score", ("graf1999",)),
    "scaled_brier": ("the Brier score scaled by that of the training fold's Kaplan-Meier curve", ("graf1999",)),
    "calibration": ("the calibration error", ()),
    "subtype_auc": ("the one-against-rest area under the curve of the subtypes", ()),
    "subtype_balanced_accuracy": ("the balanced accuracy of the subtypes", ()),
}
"""What a metric, or a family of metrics by horizon, is called in a sentence, and its source."""


@dataclass(frozen=True)
class Methods:
    """A methods section.

    Args:
        paragraphs: title and text, with numbers of references in brackets.
        references: the cited works, in the order of their numbers.
        bibtex: the same as a BibTeX file.
    """

    paragraphs: tuple[tuple[str, str], ...]
    references: tuple[str, ...]
    bibtex: str


def methods(run: RunFolder) -> Methods:
    """The methods of a run without its canaries' rows; what the run did not record is left out, or said to be unknown."""
    cite = Citations()
    parts: tuple[tuple[str, Callable[[RunFolder, Citations], list[str]]], ...] = (
        ("Patients", _patients),
        ("Division into folds", _folds),
        ("Models and training", said_of_models),
        ("Evaluation", _evaluation),
        ("Software", _software),
    )
    told = [(title, " ".join(say(run, cite))) for title, say in parts]
    return Methods(tuple((title, text) for title, text in told if text), cite.texts, cite.bibtex)


def recipe_of(run: RunFolder) -> dict[str, Any]:
    """The run's recipe as nested values; empty where there is none that can be read."""
    try:
        return tomllib.loads(run.recipe)
    except tomllib.TOMLDecodeError:
        return {}


def _patients(run: RunFolder, cite: Citations) -> list[str]:
    sentences = ["The patients were simulated."] if run.study.simulated else []
    for cohort, facts in run.cohorts.items():
        patients = run.predictions[(run.predictions.cohort == cohort) & (run.predictions.variant != CANARY)].drop_duplicates("patient_id")
        endpoint = f" for the endpoint {facts.endpoint.upper()}" if facts.endpoint else ""
        follow_up = ""
        if facts.median_follow_up_days is not None:
            years = number(facts.median_follow_up_days / 365.0, 1)
            follow_up = f"; median follow-up was {years} years by the reverse Kaplan-Meier estimate{cite('schemper1996')}"
        events = counted(int(patients.event.sum()), "event")
        sentences.append(f"{cohort} gave {counted(len(patients), 'patient')} with {events}{endpoint}{follow_up}.")
        sentences += _left_out(facts) + _measured(facts)
    return sentences


def _left_out(facts: CohortFacts) -> list[str]:
    left_out = [rule for rule in facts.exclusions if rule.count]
    if facts.patients_in_table is None or not facts.exclusions:
        return []
    if not left_out:
        return [f"None of the {facts.patients_in_table:,} patients of its table was left out."]
    rules = "; ".join(f"{rule.rule} ({rule.count:,})" for rule in left_out)
    return [f"Of its table's {facts.patients_in_table:,} patients these were left out: {rules}."]


def _measured(facts: CohortFacts) -> list[str]:
    there = [f"{modality} for {count:,}" for modality, count in facts.modalities.items() if modality != "clinical" and count]
    sentences = [f"There was {listed(there)} of them."] if there else []
    if {"min", "median", "max"} <= set(facts.patches):
        low, middle, high = (f"{facts.patches[key]:,g}" for key in ("min", "median", "max"))
        sentences.append(f"A patient with slides had a median of {middle} patches ({low} to {high}).")
    for name, counts in facts.gene_sets.items():
        if {"sets", "genes", "genes_found"} <= set(counts):
            found = f"{counts['genes_found']:,} of their {counts['genes']:,} genes were measured"
            sentences.append(f"The gene sets {name} are {counts['sets']:,}, and {found}.")
    return sentences


def _folds(run: RunFolder, cite: Citations) -> list[str]:
    if run.study.evaluated:
        n_folds = run.predictions.fold.nunique()
        return [f"The predictions cover {counted(n_folds, 'test fold')}; how these were made is not known here."]
    sentences = []
    for cohort, facts in run.cohorts.items():
        n_folds = run.predictions[run.predictions.cohort == cohort].fold.nunique()
        made = {"given": "came with the cohort", "made": "were made by prognos"}.get(facts.split_source, "")
        of = f" of {cohort}" if len(run.cohorts) > 1 else ""
        sentences.append(f"Models were compared by {n_folds}-fold cross-validation{of}{f'; the folds {made}' if made else ''}.")
        known = any((row.get("sites") or 0) > 0 for row in facts.split_card)
        if facts.site_preserving is not None and not known:
            sentences.append("Tissue source sites were not known, so that they could not be kept in one fold.")
        elif facts.site_preserving is False:
            sentences.append("Patients of one site can be in the training and in the test part.")
        elif facts.site_preserving:
            sentences.append("No known tissue source site is in two folds.")
    everything = "Apart from the number of epochs, everything" if run.study.selection == "oracle" else "Everything"
    return [*sentences, f"{everything} that was learnt from data, scaling included, was learnt on the training part of each fold."]


def _evaluation(run: RunFolder, cite: Citations) -> list[str]:
    sentences = _of_metrics(run, cite) + _of_intervals(run, cite) + _of_tests(run, cite) + _of_use(run, cite) + _of_evidence(run, cite)
    threshold = "the threshold that was recorded for the fold" if run.study.evaluated else "the median risk of the fold's training part"
    most = " in more than half of the seeds (in a tie, in the first)" if run.predictions.seed.nunique() > 1 else ""
    sentences.append(
        f"For Kaplan-Meier curves{cite('kaplan1958')} patients were called high risk when their risk exceeded {threshold}{most}; the "
        f"two groups were compared by a log-rank test{cite('mantel1966')} stratified by fold."
    )
    if run.study.canary:
        sentences.append("The whole pipeline was also run on permuted labels, where a concordance of 0.5 is expected.")
    patterns = [missing_in_words(missing) for cohort in run.cohorts for missing in patterns_of(run, cohort)]
    taken = list(dict.fromkeys(phrase for phrase in patterns if phrase))
    if taken:
        sentences.append(f"The same fitted models were asked again with test patients changed in these ways: {'; '.join(taken)}.")
    for cohort, facts in run.cohorts.items():
        if facts.detectable_difference is not None:
            smallest = number(facts.detectable_difference)
            sentences.append(f"The smallest difference in concordance that {cohort} can resolve was estimated as {smallest}.")
    return sentences


def _of_metrics(run: RunFolder, cite: Citations) -> list[str]:
    used = dict.fromkeys(run.comparison.metric[run.comparison["mean"].notna()])
    families: dict[str, list[str]] = {}
    for metric in used:
        base, _, horizon = metric.rpartition("_")
        dated = bool(base) and horizon.endswith("d") and horizon[:-1].isdigit()
        families.setdefault(base if dated else metric, []).extend([horizon[:-1]] if dated else [])
    named = []
    for family, horizons in families.items():
        name, keys = METRIC_NAMES.get(family, (family.replace("_", " "), ()))
        averaged = "its mean over horizons and " if family == "auc" and "auc" in used else ""
        at = f" ({averaged}at {', '.join(horizons)} days)" if horizons else ""
        named.append(f"{name}{at}{cite(*keys)}")
    if not named:
        return []
    seeds = ", averaged over seeds, then over folds" if run.predictions.seed.nunique() > 1 else " and averaged over folds"
    return [f"Metrics were {listed(named)}.", f"Each was computed within a test fold{seeds}."]


def _of_intervals(run: RunFolder, cite: Citations) -> list[str]:
    if not run.comparison.low.notna().any():
        return ["No intervals were computed."]
    replicates = run.study.replicates or recipe_of(run).get("study", {}).get("replicates")
    drawn = f"{replicates:,} bootstrap replicates" if replicates else "a bootstrap"
    sentences = [
        f"Intervals (95%) are from {drawn} of patients within folds{cite('efron1979')}, with the fitted models held fixed; they do not "
        "cover another division into folds."
    ]
    if run.study.reference and run.comparison.difference_low.notna().any():
        sentences.append(f"Differences to {run.study.reference} are paired.")
    return sentences


def _of_tests(run: RunFolder, cite: Citations) -> list[str]:
    sentences = []
    several = len(run.cohorts) > 1
    if len(run.tests) and run.tests.p.notna().any():
        holm = f", and p values were adjusted over cohorts{cite('holm1979')}" if several else ""
        sentences.append(
            f"Differences in concordance were tested by the corrected resampled t-test over folds and seeds{cite('nadeau2003')}{holm}; "
            "p values were not adjusted for the number of models."
        )
    if len(run.incremental):
        sentences.append(
            "What a model adds to the clinical one was tested by the likelihood ratio of two Cox models of the out-of-fold risks, "
            f"standardised and with a baseline hazard in each fold{cite('cox1972')}."
        )
    if len(run.fusion_audit):
        sentences.append(
            "Comparable pairs of patients were divided by which unimodal model orders them rightly, and the fused models audited."
        )
    return sentences


def _of_use(run: RunFolder, cite: Citations) -> list[str]:
    """Calibration, decisions and competing events, those that the run has."""
    sentences = []
    if run.calibration.ici.notna().any():
        sentences.append(
            "Calibration at 1, 3 and 5 years was judged on the held-out patients of all folds together, each with the curve of the fold, "
            f"by the integrated calibration index{cite('austin2020')}."
        )
    if run.distribution_calibration.p.notna().any():
        sentences.append(f"Whole survival curves were tested by D-calibration{cite('haider2020')}.")
    if len(run.net_benefit):
        sentences.append(
            "Net benefit at thresholds of the predicted probability was compared with treating everybody, nobody and by the clinical "
            f"model{cite('vickers2006')}; events among the treated were estimated by Kaplan-Meier."
        )
    if len(run.competing):
        sentences.append(
            "Models are cause-specific, with competing events as censoring; incidence by risk group was estimated beside competing events "
            f"by the Aalen-Johansen estimator{cite('aalen1978')}."
        )
    return sentences


def _of_evidence(run: RunFolder, cite: Citations) -> list[str]:
    if run.evidence["pathway_attributions"].empty and run.evidence["gene_attributions"].empty:
        return []
    most = int(run.evidence["fits"].patients.max())
    return [
        f"Contributions of genes and pathways to the risk of at most {most} held-out patients of each fit are integrated gradients"
        f"{cite('sundararajan2017')} from median expression, neutral copy number and no mutation."
    ]


def _software(run: RunFolder, cite: Citations) -> list[str]:
    versions = run.provenance.get("versions")
    if not isinstance(versions, dict) or not versions:
        return ["Versions of software are not recorded."]
    shown = {"prognos": "prognos", "python": "Python", "torch": "PyTorch", "scikit-learn": "scikit-learn", "lifelines": "lifelines"}
    named = [f"{shown[name]} {versions[name]}{cite('paszke2019') if name == 'torch' else ''}" for name in shown if name in versions]
    sentences = [f"The analysis used {listed(named)}."] if named else []
    host = run.provenance.get("host")
    if isinstance(host, dict) and host.get("device"):
        sentences.append(f"It ran on {'a CPU' if host['device'] == 'cpu' else host['device']}.")
    return sentences
