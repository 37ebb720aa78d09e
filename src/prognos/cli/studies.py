"""The verbs about studies: demo, run, evaluate, report."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from prognos.cli.cohorts import Endpoint, GeneSets, Quiet
from prognos.cli.terminal import pairs, progress_shown, say, show_comparison, tell

Out = Annotated[Path | None, typer.Option(help="Folder for everything that is written; runs/NAME-DATE when left out.")]

Overrides = Annotated[list[str], typer.Option("--set", help="Over the recipe; may be repeated.", metavar="SECTION.KEY=VALUE")]

DEMO_PATIENTS, DEMO_SEED = 240, 2026
"""The simulated cohort of the demo; fixed before any model ran on it, and not chosen again."""


def demo(out: Out = None, overrides: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006
    """A whole study on a simulated cohort with a planted signal: several models, folds, comparison, report."""
    from importlib import resources

    from prognos.cohort.simulate import Truth, simulate
    from prognos.config import read_recipe
    from prognos.study.run import default_folder

    folder = (out or default_folder("demo")).resolve()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give the demo a new --out.")
    if not quiet:
        say(
            f"A simulated cohort of {DEMO_PATIENTS} patients: slides and genes both show one planted cause of survival, each with its own "
            "noise; each also has a little of its own, and age and stage matter. What the models find here was put there."
        )
    cohort = simulate(folder / "cohort", Truth.demo(), n_patients=DEMO_PATIENTS, seed=DEMO_SEED)
    with resources.as_file(resources.files("prognos.study") / "demo.toml") as path:
        recipe = read_recipe(path, [f'cohort.path="{cohort}"', *overrides])
    _run(recipe, folder / "run", resume=False, quiet=quiet)


def run(  # noqa: PLR0913  (the options of a command are its interface)
    recipe: Annotated[Path | None, typer.Argument(help="The study as a TOML file.", metavar="[RECIPE.toml]")] = None,
    cohort: Annotated[list[Path], typer.Option(help="Cohort folder, instead of a recipe; may be repeated.", metavar="COHORT")] = [],  # noqa: B006
    model: Annotated[list[str], typer.Option(help="A model of the table; may be repeated.", metavar="NAME")] = [],  # noqa: B006
    endpoint: Endpoint = None,
    gene_sets: GeneSets = [],  # noqa: B006
    out: Out = None,
    overrides: Overrides = [],  # noqa: B006
    canary: Annotated[bool, typer.Option("--canary", help="Run the same pipeline on permuted labels too.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """A study: models x variants x seeds x folds x missing patterns -> predictions, metrics, comparison, report."""
    from prognos.config import make_recipe, merged, read_recipe

    if recipe is None and not cohort:
        raise ValueError("nothing to run: give a recipe (prognos run study.toml) or a cohort (prognos run --cohort FOLDER).")
    if resume and out is None:
        raise ValueError("--resume needs --out: the folder of the run to go on with.")
    own: dict[str, Any] = {}
    if cohort:
        own = merged(own, {"cohort": {"path": [str(path) for path in cohort]}})
    if endpoint:
        own = merged(own, {"cohort": {"endpoint": endpoint}})
    if model:
        own = merged(own, {"study": {"models": list(model)}})
    if gene_sets:
        own = merged(own, {"omics": {"gene_sets": pairs(gene_sets, "--gene-sets")}})
    if canary:
        own = merged(own, {"study": {"canary": True}})
    if recipe is None:
        named = merged({"study": {"name": "-".join(path.resolve().name for path in cohort)}}, own)
        chosen = make_recipe(named, overrides)
    else:
        chosen = read_recipe(recipe, overrides, above=own)
    _run(chosen, out, resume=resume, quiet=quiet)


def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="Tables with patient_id, time, event, risk.", metavar="PREDICTIONS.csv ...")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")],
    time_unit: Annotated[str, typer.Option(help="Unit of the times: days, months or years.")] = "days",
    reference: Annotated[str | None, typer.Option(help="Model that differences are taken to.")] = None,
    survival: Annotated[list[Path], typer.Option(help="Table of survival curves: the same keys, horizon, survival; may be repeated.")] = [],  # noqa: B006
    subtypes: Annotated[
        list[Path], typer.Option(help="Table of subtypes: the same keys, subtype, class, probability; may be repeated.")
    ] = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Metrics, intervals, comparison and curves for any table of predictions, ours or another tool's."""
    from prognos.report import build
    from prognos.study.evaluate import evaluate as evaluated

    found = evaluated(list(predictions), out, time_unit=time_unit, reference=reference, survival=survival, subtypes=subtypes)
    for warning in found.warnings:
        say(f"warning: {warning}")
    page = build(out)
    if not quiet:
        for note in found.notes:
            say(f"note: {note}")
        show_comparison(found.comparison, {"reference": reference or "clinical"})
    tell(f"report: {page}")


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    figures: Annotated[bool, typer.Option("--figures", help="Also write every figure as SVG, PDF and CSV into RUN/figures.")] = False,
    quiet: Quiet = False,
) -> None:
    """(Re)make the page of a run from the files in its folder."""
    from prognos.report import build

    tell(f"report: {build(run, figures=figures)}")
    if figures:
        tell(f"figures: {run / 'figures'}")


def _run(recipe: Any, out: Path | None, *, resume: bool, quiet: bool) -> None:
    """Runs a study, shows its table and writes its page; an interrupt says where the run lies."""
    from prognos.report import build
    from prognos.study.run import default_folder
    from prognos.study.run import run as run_study

    folder = (out if out is not None else default_folder(recipe.study.name)).resolve()
    try:
        with progress_shown(quiet, lambda so_far: f"{so_far.done} of {so_far.total} jobs done") as progress:
            study = run_study(recipe, folder, resume=resume, command=" ".join(["prognos", *sys.argv[1:]]), progress=progress)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(folder)) from error
    if not quiet:
        show_comparison(study.comparison(), study.facts())
    tell(f"run: {study.folder}")
    tell(f"report: {build(study.folder)}")
