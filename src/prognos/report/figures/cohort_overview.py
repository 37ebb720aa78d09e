"""Who is in a cohort: which modalities patients have together, how long they are followed, how large sites are."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, FAINT, INK, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "place", "name", "events", "censored"]
MODALITIES, FOLLOW_UP, SITES = "What patients have", "Follow-up", "Sites"
MOST_COMBINATIONS, MOST_YEARS = 12, 12


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """Up to three panels: patients with and without an event by combination of modalities, year of the last look, and site.

    The sites are numbered by size; their names stay in the cohort.
    """
    patients = run.predictions[run.predictions.cohort == cohort].drop_duplicates("patient_id")
    if patients.empty:
        return pd.DataFrame(columns=COLUMNS)
    overview = (run.cohorts[cohort].model_extra or {}).get("overview") or {}
    combinations = [(row["modalities"], row["events"], row["patients"] - row["events"]) for row in overview.get("combinations", ())]
    sites = [(f"{place + 1}", row["events"], row["patients"] - row["events"]) for place, row in enumerate(overview.get("sites", ()))]
    pieces = [_panel(MODALITIES, combinations[:MOST_COMBINATIONS]), _follow_up(patients), _panel(SITES, sites if len(sites) > 1 else [])]
    return pd.concat([piece for piece in pieces if len(piece)], ignore_index=True)[COLUMNS]


def _panel(panel: str, rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["name", "events", "censored"])
    return table.assign(panel=panel, place=np.arange(len(table)))


def _follow_up(patients: pd.DataFrame) -> pd.DataFrame:
    """Patients by the year in which they had their event or were last seen; the last row has all later years."""
    year = np.minimum(patients.time.to_numpy(float) // 365.0, MOST_YEARS - 1).astype(int)
    event = patients.event.to_numpy(bool)
    last = int(year.max()) + 1
    counts = [(int((event & (year == at)).sum()), int((~event & (year == at)).sum())) for at in range(last)]
    names = [f"{at}+" if at == MOST_YEARS - 1 else f"{at}" for at in range(last)]
    return _panel(FOLLOW_UP, [(name, *count) for name, count in zip(names, counts, strict=True)])


@styled
def draw(bars: pd.DataFrame) -> Figure:
    """One panel."""
    draws: dict[str, Callable[[pd.DataFrame], Figure]] = {MODALITIES: _draw_modalities, FOLLOW_UP: _draw_columns, SITES: _draw_columns}
    return draws[bars.panel.iloc[0]](bars)


def _draw_modalities(bars: pd.DataFrame) -> Figure:
    """Bars above, and below them which modalities each bar's patients have: a filled dot where they do."""
    names = list(dict.fromkeys(name for combination in bars.name for name in combination.split(" + ")))
    figure = sheet(2.2 + 0.24 * len(names), bars.panel.iloc[0])
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.0, 0.3 * len(names) + 0.1])
    _bars(above, bars)
    total = bars.events + bars.censored
    for place, count in zip(bars.place, total, strict=True):
        above.text(place, count, f"{count:.0f}", ha="center", va="bottom", fontsize=8, color=INK)
    for place, combination in zip(bars.place, bars.name, strict=True):
        rows = sorted(names.index(name) for name in combination.split(" + "))
        below.plot([place] * len(names), range(len(names)), "o", color=FAINT, markersize=4, alpha=0.3)
        below.plot([place] * len(rows), rows, "o-", color=INK, markersize=5)
    below.set_yticks(range(len(names)), names)
    below.set_ylim(len(names) - 0.5, -0.5)
    below.set_xticks([])
    below.tick_params(length=0)
    below.grid(visible=False)
    for side in ("left", "bottom"):
        below.spines[side].set_visible(False)
    above.tick_params(axis="x", length=0)
    above.set_xlim(-0.6, max(2.6, len(bars) - 0.4))
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_columns(bars: pd.DataFrame) -> Figure:
    figure = sheet(2.8, bars.panel.iloc[0])
    axes = figure.add_subplot()
    _bars(axes, bars)
    every = max(1, -(-len(bars) // 12))
    axes.set_xticks(bars.place[::every], bars.name[::every])
    axes.set_xlabel("years to event or last look" if bars.panel.iloc[0] == FOLLOW_UP else "site, the largest first")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _bars(axes: Axes, bars: pd.DataFrame) -> None:
    axes.bar(bars.place, bars.events, color=COLOURS["vermillion"], label="event")
    axes.bar(bars.place, bars.censored, bottom=bars.events, color=COLOURS["sky"], alpha=0.6, label="no event seen")
    axes.set_ylabel("patients")
    axes.grid(visible=False, axis="x")
