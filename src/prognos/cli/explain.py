"""The verb that looks into fitted models: explain, for a patient the slides, for a run the evidence of its test folds."""

from pathlib import Path
from typing import Annotated

import typer

from prognos.cli.cohorts import GeneSets, Quiet
from prognos.cli.terminal import pairs, progress_shown, say, tell


def explain(  # noqa: PLR0913  (the options of a command are its interface)
    fitted: Annotated[Path, typer.Argument(help="A bundle, a fold folder, or a run with --model.", metavar="FITTED")],
    cohort: Annotated[Path, typer.Option(help="Cohort folder of the patient, or of the run; no outcome is needed.")],
    patient: Annotated[str | None, typer.Option(help="Whose slides; without it the evidence of a whole run goes to RUN/evidence.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page, tables, pictures and files for viewers of a patient.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Folder of slide files; without it nothing shows pixels.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model of a run: NAME or NAME@VARIANT.")] = None,
    slide: Annotated[str | None, typer.Option(help="This slide of the patient only.", metavar="SLIDE_ID")] = None,
    top: Annotated[int, typer.Option(help="Patches of each map that are cut out.", min=1)] = 16,
    gene_sets: GeneSets = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Where a model looked on a patient's slides, as maps and a page; or what all models of a run look at, for its report."""
    if patient is None:
        if out is not None or slides is not None or slide is not None:
            raise ValueError("--out, --slides and --slide are for one patient: name one with --patient, or leave them out for a whole run.")
        _collect(fitted, cohort, model, pairs(gene_sets, "--gene-sets"), quiet=quiet)
        return
    if out is None:
        raise ValueError(f"where shall the page of patient {patient} go? Give a folder with --out.")
    from prognos import explain as explanation
    from prognos import predict as prediction
    from prognos import runtime
    from prognos.cohort import Cohort
    from prognos.interpret.maps import check_explainable
    from prognos.training import Fitted

    runtime.apply_host_settings()
    folder, why = explanation.fold_to_explain(prediction.fitted_folders(fitted, model), patient)
    patients, one = Cohort.read(cohort, outcome=False), Fitted.load(folder)
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


def _collect(run: Path, cohort: Path, model: str | None, gene_sets: dict[str, str], *, quiet: bool) -> None:
    """The evidence of a run."""
    from prognos import runtime
    from prognos.cohort import Cohort
    from prognos.study.evidence import collect_evidence, fits_of, gene_sets_of

    runtime.apply_host_settings()
    fits_of(run, model)
    patients = Cohort.read(cohort, outcome=False, gene_sets={**gene_sets_of(run), **gene_sets})
    with progress_shown(quiet, lambda so_far: f"{so_far.done} of {so_far.total} fitted models looked at") as progress:
        written = collect_evidence(run, {patients.name: patients}, model=model, progress=progress)
    for path in written:
        tell(str(path))
    if not quiet:
        say(f"'prognos report {run}' draws them")
