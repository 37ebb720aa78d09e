"""The works that a report cites, each as a line of text and as BibTeX."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Reference:
    """One work.

    Args:
        authors: as BibTeX has them, joined by `and`; an organisation in braces.
        title: of the work.
        kind: BibTeX's type of entry.
        rest: further BibTeX fields, in the order in which the text names them: journal or booktitle, volume, number, pages, year, note.
    """

    authors: str
    title: str
    kind: str
    rest: Mapping[str, str]

    @property
    def text(self) -> str:
        """The work as a line of a list of references."""
        names = [name.replace(",", "") for name in self.authors.split(" and ")]
        shown = ", ".join(names[:6]) + (" et al." if len(names) > 6 else "")
        venue = self.rest.get("journal") or self.rest.get("booktitle") or self.rest.get("note") or ""
        place = self.rest.get("volume", "")
        place += f"({self.rest['number'].replace('--', '–')})" if "number" in self.rest else ""
        place += f":{self.rest['pages'].replace('--', '–')}" if "pages" in self.rest else ""
        parts = [part for part in (venue, self.rest.get("year", ""), place) if part]
        ended = shown if shown.endswith(".") else f"{shown}."
        return f"{ended} {self.title}. {', '.join(parts)}." if parts else f"{ended} {self.title}."

    def bibtex(self, key: str) -> str:
        """The work as an entry of a BibTeX file."""
        fields = {"author": self.authors, "title": f"{{{self.title}}}", **self.rest}
        return f"@{self.kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}"


def _read() -> tuple[dict[str, Reference], dict[str, tuple[str, ...]]]:
    """The works by their keys, and the keys of those to cite for each model."""
    works: dict[str, Reference] = {}
    of_models: dict[str, tuple[str, ...]] = {}
    table = tomllib.loads(files("prognos.report").joinpath("references.toml").read_text(encoding="utf-8"))
    for key, entry in table.items():
        for model in entry.pop("models", ()):
            of_models[model] = (*of_models.get(model, ()), key)
        works[key] = Reference(entry.pop("authors"), entry.pop("title"), entry.pop("kind"), entry)
    return works, of_models


REFERENCES, OF_MODELS = _read()
"""The works; and what to cite for a model and for its presets (tta, tta-paper, tta-released). Other models are described in words."""


def works_of(model: str) -> tuple[str, ...]:
    """The works to cite for a model or preset; none where there is no entry."""
    return OF_MODELS.get(model) or OF_MODELS.get(model.removesuffix("-paper").removesuffix("-released"), ())


class Citations:
    """Numbers works in the order in which they are first cited."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def __call__(self, *keys: str) -> str:
        """The mark of some works, such as " [2, 3]", to stand before a full stop; nothing without works."""
        self._order += [key for key in dict.fromkeys(keys) if key not in self._order]
        numbers = sorted({self._order.index(key) + 1 for key in keys})
        return f" [{', '.join(map(str, numbers))}]" if numbers else ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The cited works as lines, the first one first."""
        return tuple(REFERENCES[key].text for key in self._order)

    @property
    def bibtex(self) -> str:
        """The cited works as a BibTeX file."""
        return "\n\n".join(REFERENCES[key].bibtex(key) for key in self._order)
