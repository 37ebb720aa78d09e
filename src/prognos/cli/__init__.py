"""The command line: verbs. Nothing heavy is imported before a verb runs, so that `--help` answers at once."""

import inspect
import sys

import typer

from prognos.cli import bundle, cohorts, explain, models, predict, slides, studies
from prognos.cli.terminal import guarded

app = typer.Typer(
    name="prognos",
    help="Multimodal cancer survival analysis whose numbers can be compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb, function, example in (
    ("demo", studies.demo, "prognos demo --out runs/demo"),
    ("check", cohorts.check, "prognos check tcga-blca --endpoint dss"),
    ("import", cohorts.import_, "prognos import mcat tcga_blca_all_clean.csv.zip --out tcga-blca"),
    ("slides", slides.slides, "prognos slides slides/ --out my-cohort/features --mpp 0.5"),
    ("run", studies.run, "prognos run recipes/tta.toml --set cohort.path=tcga-blca --set cohort.endpoint=dss"),
    ("predict", predict.predict, "prognos predict tta.zip --cohort new-patients --patient ID --out predicted"),
    (
        "explain",
        explain.explain,
        "prognos explain runs/tta-20260101-120000 --model tta --cohort new-patients --patient ID --slides slides/",
    ),
    ("evaluate", studies.evaluate, "prognos evaluate theirs.csv ours.csv --out compared --time-unit months"),
    ("report", studies.report, "prognos report runs/tta-20260101-120000"),
    ("bundle", bundle.bundle, "prognos bundle runs/tta-20260101-120000 --model tta --out tta.zip"),
    ("models", models.models, "prognos models --measure"),
):
    app.command(verb, epilog=f"Example: {example}", short_help=inspect.getdoc(function))(guarded(function))


@app.callback()
def _about() -> None:
    """Multimodal cancer survival analysis whose numbers can be compared."""


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 the user's input is at fault, 1 our fault (traceback), 130 interrupted."""
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201  (before a verb runs there is nothing else to say it with)
        sys.exit(130)
