"""The verb that makes a model fit to be handed out: bundle."""

from pathlib import Path
from typing import Annotated

import typer

from prognos.cli.cohorts import Quiet
from prognos.cli.terminal import say, tell


def bundle(
    run: Annotated[Path, typer.Argument(help="A finished run.", metavar="RUN")],
    model: Annotated[str, typer.Option(help="Which of its models: NAME or NAME@VARIANT.")],
    out: Annotated[Path, typer.Option(help="A zip when it ends in .zip, else a new folder.")],
    refit: Annotated[bool, typer.Option("--refit", help="Fit it anew on all patients; none is then left to test it on.")] = False,
    cohort: Annotated[Path | None, typer.Option(help="The cohort folder, where it has moved since the run.")] = None,
    quiet: Quiet = False,
) -> None:
    """One model of a run as a thing to hand out: weights, scalers, thresholds, how its training patients lie, model card."""
    from prognos import runtime
    from prognos.bundle import make_bundle

    runtime.apply_host_settings()
    made = make_bundle(run, model, out, refit=refit, cohort=cohort)
    if not quiet:
        said = made.manifest
        what = "fitted anew on all patients" if said.kind == "refit" else "of every fold and seed"
        say(f"{said.label}: {len(said.members)} fitted models {what}, {len(said.files) + 1} files, format {said.format}")
        if said.kind == "refit":
            say("note: no patient of the cohort was kept back: the study's numbers stand for the recipe, not for these weights")
    tell(str(made.place))
