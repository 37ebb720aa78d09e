"""Draw the README's picture from a run: concordance of every model with its interval, and the risk groups of one.

make demo
.venv/bin/python docs/make_picture.py runs/demo-DATE --model tta
"""

import argparse
import sys
from pathlib import Path

import matplotlib

from prognos.report.figures import FIGURES
from prognos.report.figures.style import PAPER
from prognos.report.run_folder import read_run_folder

ROOT = Path(__file__).resolve().parents[1]
PICTURES = {"forest": "demo-concordance.svg", "kaplan_meier": "demo-risk-groups.svg"}


def main() -> int:
    """Write one panel of each figure to docs/assets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="tta", help="whose risk groups are drawn")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "assets")
    options = parser.parse_args()
    run = read_run_folder(options.run)
    cohort = str(run.predictions.cohort.iloc[0])
    for kind, name in PICTURES.items():
        data = FIGURES[kind].data(run, cohort)
        panels = list(data.panel.unique())
        panel = next((panel for panel in panels if str(panel).split()[0] == options.model), panels[0])
        figure = FIGURES[kind].draw(data[data.panel == panel])
        figure.set_facecolor(PAPER)
        options.out.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "prognos"}):  # the same run gives the same bytes
            figure.savefig(
                options.out / name,
                format="svg",
                facecolor=PAPER,
                bbox_inches="tight",
                pad_inches=0.12,
                metadata={"Date": None, "Creator": None},
            )
        print(f"{options.out / name}: {panel}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
