"""What a user sees: messages, progress with time left, the comparison as a table; and how a verb ends."""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

WIDTH = 150  # of a table that is not printed on a terminal
RESUMABLE = "interrupted; what is done is kept: the same command with --resume --out {out} goes on from here"


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The verb with its exit codes: 2 with the message for a `ValueError`, 130 for an interrupt; the rest is ours, a traceback."""

    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> None:
        from prognos import runtime

        runtime.prepare_environment()
        speak(quiet=bool(kwargs.get("quiet")))
        try:
            function(*args, **kwargs)
        except ValueError as error:
            say(f"prognos: {error}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            place = error.args[0] if error.args else None
            say(RESUMABLE.format(out=place) if place else "interrupted")
            raise typer.Exit(130) from error

    return verb


def say(text: str) -> None:
    """Text to the standard error."""
    typer.echo(text, err=True)


def tell(text: str = "") -> None:
    """A result to the standard output."""
    typer.echo(text)


def speak(*, quiet: bool) -> None:
    """Lets the package's messages through to the standard error; warnings only when quiet."""
    logger = logging.getLogger("prognos")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    logger.handlers = [Voice()]


class Voice(logging.Handler):
    """Says a message of the package as text, wherever the standard error leads at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says it."""
        say(record.getMessage())


def pairs(items: list[str], option: str) -> dict[str, str]:
    """NAME=FILE options as a mapping."""
    found = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not (name and separator and value):
            raise ValueError(f"{option} {item!r}: write NAME=FILE, for example {option} hallmark=hallmark.gmt.")
        found[name] = value
    return found


@contextmanager
def progress_shown(quiet: bool, words: Callable[[Any], str]) -> Iterator[Callable[[Any], None] | None]:
    """A callback that shows how far long work is: a bar on a terminal, a line a tenth elsewhere, nothing when quiet.

    Args:
        quiet: nothing is shown, and there is no callback.
        words: what has been done, of a progress that has a `share` and `seconds_left`.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines(words)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.fields[words]}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("work", total=1.0, words="", left="")

        def show(progress: Any) -> None:
            bar.update(task, completed=progress.share, words=words(progress), left=duration(progress.seconds_left))

        yield show


def _lines(words: Callable[[Any], str]) -> Callable[[Any], None]:
    said = 0

    def show(progress: Any) -> None:
        nonlocal said
        tenth = int(10 * progress.share)
        if tenth > said:
            said = tenth
            say(f"{words(progress)}, {duration(progress.seconds_left)}")

    return show


def duration(seconds: float | None) -> str:
    """A time left in words."""
    if seconds is None:
        return "time left not known yet"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    minutes = seconds / 60
    return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"


def show_comparison(comparison: Any, facts: Mapping[str, Any]) -> None:
    """A comparison on the standard output: concordance and Brier score with intervals, and what may be said of them.

    Args:
        comparison: the table of comparison.csv.
        facts: the content of study.json.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from prognos.study.comparison import verdicts

    comparison = comparison.assign(verdict=verdicts(comparison))
    shown = comparison[comparison["metric"].isin(["concordance", "integrated_brier"])]
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if facts.get("selection") == "oracle":
        console.print("ORACLE: epochs were chosen on the reported fold; these numbers are too good.", style="bold red")
    for cohort, part in shown.groupby("cohort", sort=False):
        table = Table(
            title=f"{cohort}: mean over folds, 95% interval, difference to {facts.get('reference') or 'nothing'}", box=box.SIMPLE_HEAD
        )
        for name in ("model", "missing", "C-index", "difference", "", "Brier (integrated)"):
            table.add_column(name, no_wrap=True)
        for (model, variant, missing), rows in part.groupby(["model", "variant", "missing"], sort=False):
            by_metric = rows.set_index("metric")
            concordance = by_metric.loc["concordance"] if "concordance" in by_metric.index else None
            brier = by_metric.loc["integrated_brier"] if "integrated_brier" in by_metric.index else None
            table.add_row(
                model if variant == "base" else f"{model}@{variant}",
                missing,
                _with_interval(concordance, ("mean", "low", "high"), ".3f"),
                _with_interval(concordance, ("difference", "difference_low", "difference_high"), "+.3f"),
                "" if concordance is None else concordance["verdict"],
                _with_interval(brier, ("mean", "low", "high"), ".3f"),
            )
        console.print(table)
    for row in facts.get("not_applicable", ()):
        console.print(f"not applicable: {row['model']} on {row['cohort']}: {row['reason']}", style="dim")


def _with_interval(row: Any, names: tuple[str, str, str], form: str) -> str:
    if row is None or row[names[0]] != row[names[0]]:
        return ""
    middle, low, high = (row[name] for name in names)
    return f"{middle:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low == low else "")
