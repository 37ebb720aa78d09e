"""Paths without their folders: a page that is handed on names no user and no machine."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from prognos.report.run_folder import RunFolder

Told = TypeVar("Told")
HIDDEN = "…"
HOME = re.compile(r"""(?:[A-Za-z]:)?[\\/](?:home|Users)[\\/][^\s"'=,;\\/\[\]{}]+(?=[\s"',;\]}]|$)""")  # a home itself
FOLDERS = re.compile(
    r"""(?<![\w.…/\\])                  # where a path begins
    (?:[A-Za-z]:[\\/]|\\\\|~[^\s/\\]*[\\/]|\.\.[\\/]|/)  # of a drive, a share, a home, the folder above, the root
    (?:[^\s"'=,;\\/\[\]{}]+[\\/]+)*     # folders
    (?=[^\s"'=,;\\/\[\]{}])             # then the name""",
    re.VERBOSE,
)


def without_folders(told: Told, run: RunFolder) -> Told:
    """The same text, or nested values, with '…/' in place of the folders of every path; the last name of a path stays.

    Paths of the recipe and of the run folder are found even where they hold spaces; other paths end at a space.

    Args:
        told: text, or mappings and lists of it; anything else comes back as it is.
        run: whose recipe and folder say which paths there are.
    """
    return _shortened(told, _known_paths(run))


def _shortened(told: Any, known: Mapping[str, str]) -> Any:
    if isinstance(told, Mapping):
        return {key: _shortened(value, known) for key, value in told.items()}
    if isinstance(told, list):
        return [_shortened(value, known) for value in told]
    if not isinstance(told, str):
        return told
    for path in sorted(known, key=len, reverse=True):
        told = told.replace(path, known[path])
    return FOLDERS.sub(f"{HIDDEN}/", HOME.sub(HIDDEN, told))


def _known_paths(run: RunFolder) -> dict[str, str]:
    """The absolute paths that the run is known to use, and the home folders that they lie in, with what to say instead."""
    try:
        recipe = tomllib.loads(run.recipe)
    except tomllib.TOMLDecodeError:
        recipe = {}
    known: dict[str, str] = {}
    for path in (*_texts(recipe), str(run.path.resolve())):
        name = (PureWindowsPath if "\\" in path else PurePosixPath)(path).name
        if re.match(r"(?:[A-Za-z]:)?[\\/]", path) and name:
            home = re.match(r"(?:[A-Za-z]:)?[\\/](?:home|Users)[\\/][^\\/]+", path)
            known |= {home[0]: HIDDEN} if home else {}
            known.setdefault(path, f"{HIDDEN}/{name}")
    return known


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping | list):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _texts(value)
