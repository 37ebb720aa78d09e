"""The verb about slides: from slide files to feature files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from prognos.cli.cohorts import Quiet
from prognos.cli.terminal import WIDTH, progress_shown, say, tell


def slides(  # noqa: PLR0913  (the options of a command are its interface)
    sources: Annotated[list[Path], typer.Argument(help="Slides, and folders of slides.", metavar="DIR_OR_FILES...")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for SLIDE_ID.h5, tissue/ and slides_status.csv.", metavar="FEATURES")] = None,
    encoder: Annotated[
        str, typer.Option(help="A name of --encoders, a TorchScript file, or module:function.", metavar="NAME")
    ] = "efficientnet-lite0",
    checkpoint: Annotated[Path | None, typer.Option(help="File of the encoder's weights: safetensors or a state dictionary.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Let missing weights be fetched from the Hugging Face hub.")] = False,
    mpp: Annotated[float | None, typer.Option(help="Microns a pixel to assume for slides whose file does not say.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="slides.csv: the slides there should be, and their mpp.")] = None,
    patch_mpp: Annotated[float, typer.Option(help="Microns a pixel of a patch.")] = 0.5,
    patch_size: Annotated[int, typer.Option(help="Side of a patch in such pixels.")] = 256,
    overlap: Annotated[int, typer.Option(help="Such pixels that neighbours share.")] = 0,
    least_tissue: Annotated[float, typer.Option(help="Share of a patch that has to be tissue.")] = 0.5,
    tissue: Annotated[Path | None, typer.Option(help="Folder of SLIDE_ID.geojson to use as tissue.", metavar="DIR_OF_GEOJSON")] = None,
    batch_size: Annotated[int, typer.Option(help="Patches encoded at once.")] = 32,
    precision: Annotated[str, typer.Option(help="Of the encoder: float32, bfloat16 or float16.")] = "float32",
    stored: Annotated[str, typer.Option(help="How features are stored: float16 or float32.")] = "float16",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; several: cuda:0,cuda:1.")] = "auto",
    check_only: Annotated[bool, typer.Option("--check-only", help="Say which slides will fail and why; compute nothing.")] = False,
    encoders: Annotated[bool, typer.Option("--encoders", help="Print the table of encoders.")] = False,
    quiet: Quiet = False,
) -> None:
    """Slides -> tissue -> patches -> features; the same command goes on where it was."""
    if encoders:
        _show_encoders()
        return
    if not sources:
        raise ValueError("no slides: give slide files or folders (prognos slides FOLDER --out FEATURES), or --encoders for the table.")
    if out is None and not check_only:
        raise ValueError("--out is missing: name the folder for the features.")
    from prognos import runtime
    from prognos.slides.check import find_slides, problems, read_manifest
    from prognos.slides.prepare import Settings

    settings = Settings(patch_size, patch_mpp, overlap, least_tissue, batch_size, stored, tissue)
    listed = read_manifest(manifest) if manifest is not None else None
    found = find_slides(sources, listed, mpp=mpp)
    refused = problems(found, listed, patch_mpp=patch_mpp)
    for problem in refused:
        say(f"{'will fail' if check_only else 'left out'}: {problem.reason}")
    if check_only:
        tell(f"{counted(len(found), 'slide')}, {len(refused)} will fail")
        if refused:
            raise typer.Exit(2)
        return
    from prognos.slides.encoders import load_encoder

    runtime.apply_host_settings()
    places = [runtime.device(name.strip()) for name in device.split(",")]
    loaded = [load_encoder(encoder, checkpoint=checkpoint, device=place, precision=precision, download=download) for place in places]
    assert out is not None
    _encode(found, refused, loaded, settings, out, quiet)


def _encode(found: Sequence[Any], refused: Sequence[Any], encoders: Sequence[Any], settings: Any, out: Path, quiet: bool) -> None:
    """Slides to feature files, with what there is to say of them."""
    from prognos.slides.devices import process_on
    from prognos.slides.status import FAILED

    try:
        with progress_shown(quiet, _place) as show:
            rows = process_on(found, encoders, settings, out, refused=refused, show=show)
    except KeyboardInterrupt:
        say("what is done is kept: the same command goes on from here")
        raise
    for row in rows[len(refused) :]:
        if row.status == FAILED:
            say(f"failed: {row.reason}")
    _conclude(rows, len(found) + sum(problem.path is None for problem in refused), out)


def _conclude(rows: Sequence[Any], n_listed: int, out: Path) -> None:
    """Says what became of the slides, the failed ones last.

    Raises:
        ValueError: none is done, and no other process is working on one.
    """
    from prognos.cohort.defects import naming
    from prognos.slides.resolution import ASSUMED
    from prognos.slides.status import DONE, STATUS_FILE

    done = [row for row in rows if row.status == DONE]
    n_failed, elsewhere = len(rows) - len(done), n_listed - len(rows)
    assumed = [row for row in done if row.mpp_source == ASSUMED]
    if assumed:
        say(f"{assumed[0].mpp:g} microns a pixel are assumed (--mpp) of {naming(row.slide_id for row in assumed)}: the file does not say")
    if not done and not elsewhere:
        raise ValueError(f"no slide is done: {counted(n_failed, 'slide')} failed; {out / STATUS_FILE} says why.")
    tell(f"{counted(len(done), 'slide')} done, {counted(sum(row.patches for row in done), 'patch')}: {out}")
    if elsewhere:
        tell(f"{counted(elsewhere, 'slide')} left to another process that is at work in this folder")
    if n_failed:
        tell(f"{counted(n_failed, 'slide')} failed; {STATUS_FILE} says why")


def counted(n: int, thing: str) -> str:
    """A number of things in words."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}{'es' if thing.endswith('ch') else 's'}"


def _place(progress: Any) -> str:
    pace = f", {progress.patches / progress.seconds:.0f} patches/s" if progress.patches and progress.seconds > 0 else ""
    return f"{progress.done} of {counted(progress.total, 'slide')}{pace}"


def _show_encoders() -> None:
    """The table of encoders on the standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from prognos.slides.encoders import ENCODERS, INSTALLED

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("encoder", "paper", "width", "pixels", "microns a pixel", "licence", "weights"):
        table.add_column(name)
    for name, card in ENCODERS.items():
        weights = card.weights if card.weights == INSTALLED else f"hub: {card.weights}{', gated' if card.gated else ''}"
        pixels = f"{card.pixels}" if card.read == card.pixels else f"{card.pixels} of {card.read}"
        table.add_row(name, card.paper, str(card.d_patch), pixels, f"{card.mpp:g}", card.licence, weights)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table)
    tell("Others: a TorchScript file (--encoder file.pt), or a function that returns a network (--encoder module:function).")
    tell("Weights on the hub: --checkpoint FILE, or --download; those that are gated have to be asked for there first.")
