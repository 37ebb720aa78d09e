"""A run folder becomes one self-contained HTML page."""

from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from prognos import files
from prognos.metrics import METRICS
from prognos.report import tables
from prognos.report.claims import claim_tables
from prognos.report.figures import FIGURES
from prognos.report.figures.style import inline_svg
from prognos.report.gene_groups import gene_group_tables
from prognos.report.risk_groups import panel_name, patterns, risk_groups
from prognos.report.run_folder import RunFolder, missing_in_words, read_run_folder
from prognos.report.subtypes import subtype_remarks, subtype_tables
from prognos.report.verdicts import CANARY, findings

MOST_CHARACTERS = 6_500_000  # of drawings; the page stays below 8 MB


@dataclass(frozen=True)
class Picture:
    """One drawing of the page; without svg it was left out to keep the page small."""

    name: str
    svg: Markup | None


@dataclass(frozen=True)
class RiskGroupNotes:
    """What has to be said beside the Kaplan-Meier curves of a cohort."""

    remarks: tuple[str, ...]
    tables: tuple[tables.Table, ...]


def build(run_folder: Path, *, path: Path | None = None) -> Path:
    """Writes the report of a run and returns where it lies.

    Args:
        run_folder: what `prognos run` or `prognos evaluate` wrote; nothing else is read.
        path: where to write; `report.html` in the run folder when not given.

    Raises:
        RunFolderError: the folder, its predictions or its comparison are not there or not as they should be.
    """
    target = run_folder / "report.html" if path is None else path
    files.write_text(target, page(read_run_folder(run_folder)))
    return target


def page(run: RunFolder) -> str:
    """The whole page as text; the same run gives the same text."""
    real = replace(
        run, predictions=_without_canary(run.predictions), metrics=_without_canary(run.metrics), survival=_without_canary(run.survival)
    )
    real = replace(real, comparison=_without_canary(run.comparison), logs=run.logs[~run.logs.label.str.endswith(CANARY)])
    real = replace(real, subtypes=_without_canary(run.subtypes), similarities=_without_canary(run.similarities))
    real = replace(real, gene_groups=_without_canary(run.gene_groups), gene_group_sets=_without_canary(run.gene_group_sets))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prognos.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = _sentence
    facts = run.cohorts
    return environment.get_template("report.html.j2").render(
        run=run,
        oracle=run.study.selection == "oracle",
        figures=FIGURES,
        findings={name: findings(run, name) for name in facts},
        remarks=[*_remarks(real), *(text for text in run.study.warnings if not _of_a_metric(text))],
        metric_remarks=[text for text in run.study.warnings if _of_a_metric(text)],
        cohort_table=tables.cohort_table(run),
        gene_sets={name: tables.gene_set_table(name, facts[name]) for name in facts},
        split_cards={name: tables.split_card(run, name, facts[name]) for name in facts},
        comparisons={name: tables.comparison_tables(run, name) for name in facts},
        not_applicable=tables.entries_table("Not applicable", run.study.not_applicable, ("model", "variant", "cohort", "reason")),
        unusable=tables.unusable_table(run),
        metric_meanings=tables.metric_meanings(real),
        groups={name: _risk_group_notes(real, name) for name in facts},
        subtype_tables={name: subtype_tables(real, name) for name in facts},
        claims={name: claim_tables(real, name) for name in facts},
        gene_groups={name: gene_group_tables(real, name) for name in facts},
        subtype_remarks={name: subtype_remarks(real, name) for name in facts},
        pictures=_pictures(real),
        model_table=tables.model_table(real),
        cost_table=tables.cost_table(real),
        provenance=tables.provenance_table(run.provenance, "Provenance"),
    )


def _sentence(text: str) -> str:
    """A note as others wrote it, with a capital and a full stop, unless it begins with a name such as a model's."""
    ended = text if text.endswith((".", "!", "?", ":")) else f"{text}."
    first = ended.split(" ", 1)[0]
    return ended[:1].upper() + ended[1:] if first.isalpha() else ended


def _without_canary(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table.variant.astype(str).str.endswith(CANARY)]


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


def _pictures(run: RunFolder) -> dict[tuple[str, str], list[Picture]]:
    """Every drawing by kind of figure and cohort, in the order of importance; the last ones go when the page grows too large."""
    drawn: dict[tuple[str, str], list[Picture]] = {}
    written = 0
    for kind, figure in FIGURES.items():
        for place, cohort in enumerate(run.cohorts):
            drawn[kind, cohort] = []
            for panel, rows in figure.data(run, cohort).groupby("panel", sort=False):
                name = f"{figure.title}, {cohort}: {panel}"
                svg = None
                if written < MOST_CHARACTERS:
                    prefix = f"{kind}-{place}-{len(drawn[kind, cohort])}-"
                    svg = Markup(inline_svg(figure.draw(rows), prefix=prefix, description=name))  # our own drawing, its texts escaped
                    written += len(svg)
                drawn[kind, cohort].append(Picture(name, svg))
    return drawn
