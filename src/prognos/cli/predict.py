"""The verb about new patients: predict."""

from pathlib import Path
from typing import Annotated

import typer

from prognos.cli.cohorts import GeneSets, Quiet
from prognos.cli.terminal import pairs, say, tell


def predict(  # noqa: PLR0913  (the options of a command are its interface)
    fitted: Annotated[Path, typer.Argument(help="A bundle, a fold folder, or a run with --model.", metavar="FITTED")],
    cohort: Annotated[Path, typer.Option(help="Cohort folder of the new patients; they need no outcome.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.csv, survival.csv.gz and pages.")],
    model: Annotated[str | None, typer.Option(help="Which model of a run: NAME or NAME@VARIANT.")] = None,
    patient: Annotated[list[str], typer.Option(help="This patient only, with a page; may be repeated.")] = [],  # noqa: B006
    without: Annotated[list[str], typer.Option(help="A modality to leave out; may be repeated.")] = [],  # noqa: B006
    outcome: Annotated[str | None, typer.Option(help="Endpoint to write beside the risks, for 'evaluate'.", metavar="ENDPOINT")] = None,
    gene_sets: GeneSets = [],  # noqa: B006
    most_absent: Annotated[float, typer.Option(help="Share of the omics features that may be absent.", min=0.0, max=1.0)] = 0.2,
    quiet: Quiet = False,
) -> None:
    """New patients: risk, survival curve, risk group, what it rests on, what was missing and what is unusual."""
    from prognos import predict as prediction
    from prognos import runtime
    from prognos.cohort import Cohort
    from prognos.report.patient import write_page

    runtime.apply_host_settings()
    bundle = prediction.bundle_at(fitted)
    folders = prediction.fitted_folders(fitted, model)
    patients = Cohort.read(cohort, outcome=False, gene_sets=pairs(gene_sets, "--gene-sets"))
    known, chosen = None, tuple(patient)
    if outcome is not None:
        known = prediction.known_outcome(patients, outcome)
        chosen = tuple(one for one in chosen or patients.patients if one not in known.without)
        if known.without:
            say(f"note: {len(known.without)} patients without a usable {known.endpoint} are left out")
    answer = prediction.predict(folders, patients, patients=chosen or None, without=without, bundle=bundle, most_absent=most_absent)
    contributed = {one: prediction.contributions(folders, patients, one, without=without) for one in patient if one in chosen}
    written = prediction.write(answer, out, contributed=contributed, known=known, cohort=patients.name)
    written += [write_page(answer, one, rests_on, out) for one, rests_on in contributed.items()]
    for warning in answer.warnings:
        say(f"warning: {warning}")
    if not quiet:
        say(f"{len(answer.table)} patients, {answer.n_models} fitted model{'s' if answer.n_models > 1 else ''}")
        for one in contributed:
            say(prediction.told(answer, one))
    for path in written:
        tell(str(path))
