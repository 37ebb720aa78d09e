"""One patient on one page that prints on one sheet: risk, curve, what it rests on, what was missing, what is unusual."""

from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prognos import files
from prognos.predict import Answer, Contributions, facts_of
from prognos.predict.writing import NOT_FOR_PATIENTS
from prognos.report.figures.style import COLOURS, FAINT, INK, inline_svg, sheet, styled
from prognos.report.page_template import page_template

N_PATHWAYS = 8
"""Pathways on the page; all of them are in the JSON file."""

YEARS = 10


def write_page(answer: Answer, patient: str, contributed: Contributions, out: Path) -> Path:
    """Writes `patient-ID.html`; returns its path."""
    return files.write_text(out / f"patient-{patient}.html", patient_page(answer, patient, contributed))


def patient_page(answer: Answer, patient: str, contributed: Contributions) -> str:
    """The page as text: self-contained, light and dark; the same answer gives the same text."""
    unusual = [reason.text for reason in answer.reasons.get(patient, ())]
    facts = [fact for fact in facts_of(answer, patient) if fact[0] != "Unlike the training patients"]
    curve = answer.survival[answer.survival["patient_id"] == patient]
    pathways = contributed.pathways.head(N_PATHWAYS)
    return page_template("patient.html.j2").render(
        patient=patient,
        about=answer.about,
        n_models=answer.n_models,
        facts=facts,
        unusual=unusual,
        looked=patient in answer.reasons,
        absent=len(answer.absent),
        warnings=[] if patient not in answer.not_converged else [answer.warnings[0]],
        curve=Markup(inline_svg(curve_figure(curve, answer), prefix="curve-", description="Predicted survival curve")),  # our own drawing
        band=bool(curve["low"].notna().any()),
        pathways=pathways.to_dict("records"),
        bars=Markup(inline_svg(pathway_figure(pathways), prefix="pathways-", description="Pathways")) if len(pathways) else "",
        patches=contributed.patches.to_dict("records"),
        contributed=contributed,
        notice=NOT_FOR_PATIENTS,
    )


@styled
def curve_figure(curve: pd.DataFrame, answer: Answer) -> Figure:
    """The patient's curve with its band, and the training patients' Kaplan-Meier curve."""
    figure = sheet(2.5, "Predicted to be free of the event")
    axes = figure.subplots()
    years = curve["horizon"].to_numpy() / 365.0
    low, high = curve["low"].to_numpy(dtype=float), curve["high"].to_numpy(dtype=float)
    if np.isfinite(low).any():
        axes.fill_between(years, low, high, color=COLOURS["blue"], alpha=0.2, linewidth=0, label="spread")
    axes.plot(years, curve["survival"], color=COLOURS["blue"], label="this patient")
    axes.step(years, list(answer.marginal), where="post", color=FAINT, linestyle="--", linewidth=1.1, label="training patients")
    axes.set(xlim=(0, YEARS), ylim=(0, 1.02), xlabel="years")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.0, handlelength=1.8)
    return figure


@styled
def pathway_figure(pathways: pd.DataFrame) -> Figure:
    """A bar for each pathway: by how much it raises the risk."""
    figure = sheet(0.75 + 0.22 * len(pathways), "Pathways that move this risk most")
    axes = figure.subplots()
    values = pathways["attribution"].to_numpy(dtype=float)
    places = np.arange(len(pathways))[::-1]
    colours = [COLOURS["vermillion"] if value > 0 else COLOURS["blue"] for value in values]
    axes.barh(places, values, color=colours, height=0.6)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [_short(name) for name in pathways["pathway"]])
    axes.set_xlabel("change of risk; right: raises it")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    return figure


def _short(name: str) -> str:
    """A gene set's name in lower case without the collection that it begins with, at most 26 letters."""
    words = name.removeprefix("HALLMARK_").replace("_", " ").lower()
    return words if len(words) <= 26 else words[:25] + "…"
