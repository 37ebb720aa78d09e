"""How alike the components are that a model takes patients apart into: shares of patients below a cosine (MUST, Fig. 5)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, FAINT, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "pair", "cosine", "share"]
KINDS = ("specific + shared ", "shared read in ", "specific ", "global ")


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: for each pair of vectors of one kind, the patients' cosines (mean over seeds) in order, and the share up to each."""
    table = distinct_similarities(run, cohort)
    alike = table.left.map(_kind) == table.right.map(_kind)
    pieces = []
    for (label, left, right), rows in table[alike].groupby(["label", "left", "right"], sort=False):
        cosine = np.sort(rows.groupby("patient_id").cosine.mean().to_numpy(float))
        share = np.arange(1, len(cosine) + 1) / len(cosine)
        pair = f"{left} and {str(right).removeprefix(_kind(str(right)))}"
        pieces.append(pd.DataFrame({"panel": label, "pair": pair, "cosine": cosine, "share": share}))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


def _kind(name: str) -> str:
    return next((kind for kind in KINDS if name.startswith(kind)), "")


def distinct_similarities(run: RunFolder, cohort: str) -> pd.DataFrame:
    """The similarities of a cohort, without variants that take patients apart exactly as another one does."""
    table = run.similarities[run.similarities.cohort == cohort]
    seen: dict[bytes, object] = {}
    for name, rows in table.groupby("label", sort=False):
        seen.setdefault(
            pd.util.hash_pandas_object(rows.drop(columns=["label", "model", "variant"]), index=False).to_numpy().tobytes(), name
        )
    return table[table.label.isin(seen.values())]


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: a rising line a pair; the mean stands in the legend."""
    pairs = list(dict.fromkeys(curves.pair))
    figure = sheet(3.0 + 0.18 * len(pairs), curves.panel.iloc[0])
    axes = figure.add_subplot()
    axes.axvline(0, color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    colours = list(COLOURS.values())
    for place, pair in enumerate(pairs):
        line = curves[curves.pair == pair]
        label = f"{pair} ({line.cosine.mean():.2f})"
        axes.step(line.cosine, line.share, where="post", color=colours[place % len(colours)], label=label)
    axes.set_xlim(min(-0.3, float(curves.cosine.min()) - 0.05), 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("cosine")
    axes.set_ylabel("share of patients up to it")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1, handlelength=1.5)
    return figure
