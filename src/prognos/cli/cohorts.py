"""The verbs about patients: check, import."""

from pathlib import Path
from typing import Annotated

import typer

from prognos.cli.terminal import pairs, tell

Quiet = Annotated[bool, typer.Option("--quiet", help="Say results and faults only.")]
Endpoint = Annotated[str | None, typer.Option(help="Prefix of the time and event columns, such as os or dss.")]
GeneSets = Annotated[list[str], typer.Option("--gene-sets", help="NAME=FILE.gmt; may be repeated.", metavar="NAME=FILE")]


def check(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder.", metavar="COHORT")],
    endpoint: Endpoint = None,
    gene_sets: GeneSets = [],  # noqa: B006  (typer reads the default; nobody changes it)
    subtype: Annotated[str | None, typer.Option(help="Column of clinical.csv with the tumour subtype.")] = None,
    quiet: Quiet = False,
) -> None:
    """Who is in a cohort folder, who is left out and why; or every defect of it at once."""
    from prognos.cohort.check import check as checked

    found = checked(cohort, endpoint, gene_sets=pairs(gene_sets, "--gene-sets"), subtype=subtype)
    if not quiet:
        tell(found.text())


def import_(
    format: Annotated[str, typer.Argument(help="mcat, porpoise, survpath, mmp, tcga-cdr, h5ad or h5mu.")],
    source: Annotated[Path, typer.Argument(help="The table, or the folder that holds it.")],
    out: Annotated[Path, typer.Option(help="The cohort folder to make.")],
    project: Annotated[str | None, typer.Option(help="Which cohort of a source that holds several: BLCA, or COAD+READ.")] = None,
    splits: Annotated[Path | None, typer.Option(help="Folder of published splits.")] = None,
    features: Annotated[Path | None, typer.Option(help="Folder with the feature files of the slides.")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn another tool's tables into a cohort folder; says what was inverted or converted, and the counts."""
    from prognos.cohort.importers import import_table

    made = import_table(format, source, out, project=project, splits=splits, features=features)
    if not quiet:
        tell(made.text())
