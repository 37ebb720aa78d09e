"""The verb that goes back to the slide: explain."""

from pathlib import Path
from typing import Annotated

import typer

from prognos.cli.cohorts import Quiet
from prognos.cli.terminal import say, tell


def explain(  # noqa: PLR0913  (the options of a command are its interface)
    fitted: Annotated[Path, typer.Argument(help="A fold folder, or a run with --model.", metavar="FITTED")],
    cohort: Annotated[Path, typer.Option(help="Cohort folder of the patient; no outcome is needed.")],
    patient: Annotated[str, typer.Option(help="Whose slides.")],
    out: Annotated[Path, typer.Option(help="Folder for the page, tables, pictures and files for viewers.")],
    slides: Annotated[Path | None, typer.Option(help="Folder of slide files; without it nothing shows pixels.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model of a run: NAME or NAME@VARIANT.")] = None,
    slide: Annotated[str | None, typer.Option(help="This slide of the patient only.", metavar="SLIDE_ID")] = None,
    top: Annotated[int, typer.Option(help="Patches of each map that are cut out.", min=1)] = 16,
    quiet: Quiet = False,
) -> None:
    """Where a model looked on a patient's slides: maps, top patches, a page with a viewer, GeoJSON for QuPath."""
    from prognos import explain as explanation
    from prognos import predict as prediction
    from prognos import runtime
    from prognos.cohort import Cohort
    from prognos.interpret.maps import check_explainable

    runtime.apply_host_settings()
    folder, why = explanation.fold_to_explain(prediction.fitted_folders(fitted, model), patient)
    patients, one = Cohort.read(cohort, outcome=False), prediction.load(folder)
    check_explainable(one.model, one.name, patients, patient)
    answer = prediction.predict([folder], patients, patients=[patient])
    for warning in answer.warnings:
        say(f"warning: {warning}")
    facts = prediction.facts_of(answer, patient)
    request = explanation.Request(slides, slide, top, facts, [why] if why else [])
    written = explanation.explain(one, patients, patient, out, request)
    if not quiet:
        say(prediction.told(answer, patient))
        say(f"{len(written)} files in {out}")
    tell(str(written[-1]))
