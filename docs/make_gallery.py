"""Draw the pictures of docs/gallery.md from finished runs.

.venv/bin/python docs/make_gallery.py TTA_RUN MUST_RUN [MCTI_RUN]

Only aggregates over patients are drawn: no drawing has a point, a row or a name of a single patient.
"""

import argparse
import sys
from pathlib import Path

from prognos.report.drawings import drawings
from prognos.report.figures.style import svg_file
from prognos.report.run_folder import read_run_folder

FOLDER = Path(__file__).resolve().parent / "assets" / "gallery"
PICTURES = {
    "tta": (
        "forest_{cohort}_concordance",
        "kaplan-meier_{cohort}_tta",
        "prototype-map_{cohort}_tta-seed-1-fold-0",
        "pathway-prototypes_{cohort}_tta-seed-1-fold-0",
        "prototype-pathways_{cohort}_tta-seed-1-fold-0",
        "pathway-ranking_{cohort}_tta",
        "gene-ranking_{cohort}_snn",
        "decision-curve_{cohort}_tta",
    ),
    "must": (
        "kaplan-meier_{cohort}_must",
        "kaplan-meier_{cohort}_must-without-omics",
        "kaplan-meier_{cohort}_must-without-histology",
        "component-cosines_{cohort}_must",
        "component-map_{cohort}_must",
        "robustness_{cohort}_without-omics",
        "sensitivity_{cohort}_must-generator",
    ),
    "mcti": ("forest_{cohort}_difference-to-mcti", "subtype-confusion_{cohort}_mcti", "kaplan-meier_{cohort}_mcti"),
}
"""By paper, the names that `prognos report --figures` gives the drawings."""


def main() -> int:
    """Write each picture as SVG; the same runs give the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="a run with TTA, one with MUST, one with MCTI")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    lacking = []
    for (paper, names), folder in zip(PICTURES.items(), options.runs, strict=False):
        run = read_run_folder(folder)
        drawn = {drawing.name: drawing for drawing in drawings(run)}
        cohort = next(iter(run.cohorts))
        for name in (name.format(cohort=cohort) for name in names):
            if name not in drawn:
                lacking.append(f"{folder} has no drawing {name}")
                continue
            short = name.replace(f"_{cohort}_", "-").replace("-seed-1-fold-0", "")
            path = FOLDER / f"{paper}-{short}.svg"
            path.write_text(svg_file(drawn[name].svg, title=drawn[name].title), encoding="utf-8")
            print(path.name)
    print("\n".join(lacking), file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
