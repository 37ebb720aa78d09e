"""Where the parts of a cohort folder are: the standard names, and what cohort.toml says otherwise.

```toml
[cohort]
name = "my-cohort"                       # default: the name of the folder
endpoint = "dss"
subtype = "pam50"                        # column of clinical.csv
subtype_classes = ["LumA", "LumB", "Basal"]
merge = { Luminal = ["LumA", "LumB"] }
[files]                                  # other names and places, relative to the folder
clinical = "tables/clinical.csv"
features = "/data/features"
[columns]                                # our name = the name in the files
patient_id = "case_id"
[omics.gene_sets]
hallmark = "hallmark.gmt"
[modalities]                             # further tables of numbers
blood = "blood.csv"
```
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prognos.cohort.cohort import OMICS_KINDS
from prognos.cohort.defects import Defect, naming, nearest
from prognos.cohort.subtype import SubtypeRule
from prognos.cohort.tables import SUFFIXES

PARTS = ("clinical", "slides", "splits", *OMICS_KINDS)
RESERVED = ("clinical", "histology", "omics", *OMICS_KINDS)
SECTIONS: dict[str, tuple[str, ...] | None] = {
    "cohort": ("name", "endpoint", "subtype", "subtype_classes", "merge"),
    "files": (*PARTS, "features"),
    "columns": None,
    "omics": ("gene_sets",),
    "modalities": None,
}


@dataclass
class Layout:
    """The parts of a folder that were found; `defects` says what is wrong with them."""

    folder: Path
    name: str
    endpoint: str | None = None
    subtype: SubtypeRule = field(default_factory=SubtypeRule)
    parts: dict[str, Path] = field(default_factory=dict)
    features: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    gene_sets: dict[str, Path] = field(default_factory=dict)
    modalities: dict[str, Path] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)

    def unused_tables(self) -> tuple[str, ...]:
        """Tables that lie in the folder and are neither of a standard name nor declared."""
        if not self.folder.is_dir():
            return ()
        used = {path.resolve() for path in (*self.parts.values(), *self.modalities.values(), *self.gene_sets.values())}
        tables = (path for path in self.folder.iterdir() if path.name.endswith(SUFFIXES) and path.resolve() not in used)
        return tuple(sorted(path.name for path in tables))


def find_layout(folder: Path, gene_sets: Mapping[str, str | os.PathLike[str]], modalities: Mapping[str, str]) -> Layout:
    """The parts of a cohort folder; arguments come on top of cohort.toml."""
    layout = Layout(folder, folder.resolve().name)
    said = _settings(folder, layout.defects)
    cohort = said.get("cohort", {})
    layout.name = str(cohort.get("name", layout.name))
    layout.endpoint = cohort.get("endpoint")
    merge = {name: tuple(labels) for name, labels in cohort.get("merge", {}).items()}
    layout.subtype = SubtypeRule(cohort.get("subtype"), tuple(cohort.get("subtype_classes", ())), merge)
    layout.columns = said.get("columns", {})
    files = said.get("files", {})
    for part in PARTS:
        found = _declared(folder, files[part], part, layout.defects) if part in files else _standard(folder, part, layout.defects)
        if found is not None:
            layout.parts[part] = found
    layout.features = _features(folder, files.get("features"), layout.defects)
    for name, place in said.get("omics", {}).get("gene_sets", {}).items():
        layout.gene_sets[name] = folder / place
    layout.gene_sets |= {name: Path(place) for name, place in gene_sets.items()}
    for name, place in (said.get("modalities", {}) | dict(modalities)).items():
        if name in RESERVED:
            what = f"a further modality cannot be called {name!r}"
            layout.defects.append(Defect(what, "[modalities]", f"choose another name than {', '.join(RESERVED)}"))
        elif (table := _declared(folder, place, name, layout.defects)) is not None:
            layout.modalities[name] = table
    if "clinical" not in layout.parts and "clinical" not in files:
        layout.defects.append(_no_clinical_table(folder))
    return layout


def _settings(folder: Path, defects: list[Defect]) -> dict[str, Any]:
    """cohort.toml with every key checked; what is wrong is left out and becomes a defect."""
    path = folder / "cohort.toml"
    if not path.is_file():
        return {}
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        defects.append(Defect(f"cannot be read as TOML ({error})", path.name, "correct the line"))
        return {}
    checked: dict[str, Any] = {}
    for section, content in said.items():
        if section not in SECTIONS or not isinstance(content, dict):
            defects.append(Defect(f"there is no section [{section}] ({nearest(section, SECTIONS)})", path.name, "correct or remove it"))
            continue
        known = SECTIONS[section]
        for key, value in content.items():
            where = f"{path.name}, [{section}]"
            if known is not None and key not in known:
                defects.append(Defect(f"there is no key {key!r} ({nearest(key, known)})", where, "correct or remove it"))
            elif (expected := _expectation(section, key, value)) is not None:
                defects.append(Defect(f"{key} = {value!r} is not {expected}", where, "correct it"))
            else:
                checked.setdefault(section, {})[key] = value
    return checked


def _expectation(section: str, key: str, value: Any) -> str | None:
    """What the value should have been, None where it is right."""
    if key == "subtype_classes":
        return None if _is_list_of_text(value) else "a list of texts"
    if key == "merge" and section == "cohort":
        right = isinstance(value, dict) and all(_is_list_of_text(labels) for labels in value.values())
        return None if right else '{ new = ["a", "b"] }'
    if key == "gene_sets" and section == "omics":
        right = isinstance(value, dict) and all(isinstance(place, str) for place in value.values())
        return None if right else '{ name = "file.gmt" }'
    return None if isinstance(value, str) else "a text"


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _standard(folder: Path, part: str, defects: list[Defect]) -> Path | None:
    found = [folder / (part + suffix) for suffix in SUFFIXES if (folder / (part + suffix)).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        defects.append(Defect(f"{names} are both there", folder.name, f"keep one, or name it under [files] {part} in cohort.toml"))
    return found[0] if found else None


def _declared(folder: Path, place: str, part: str, defects: list[Defect]) -> Path | None:
    path = folder / place
    if not path.name.endswith(SUFFIXES):
        defects.append(Defect(f"{part} = {place!r} is not a table", "cohort.toml", f"name a file that ends in {', '.join(SUFFIXES)}"))
        return None
    if not path.is_file():
        beside = sorted(item.name for item in path.parent.glob("*") if item.name.endswith(SUFFIXES)) if path.parent.is_dir() else []
        what = f"{part} = {place!r}, but there is no such file ({nearest(path.name, beside)})"
        defects.append(Defect(what, "cohort.toml", "correct the name or add the file"))
        return None
    return path


def _features(folder: Path, place: str | None, defects: list[Defect]) -> Path | None:
    path = folder / (place or "features")
    if path.is_dir():
        return path
    if place is not None:
        defects.append(Defect(f"features = {place!r}, but there is no such folder", "cohort.toml, [files]", "correct the name"))
    return None


def _no_clinical_table(folder: Path) -> Defect:
    if not folder.is_dir():
        return Defect("there is no such folder", str(folder), "correct the path")
    held = sorted(path.name for path in folder.iterdir())
    what = f"there is no clinical.csv; the folder holds {naming(held) or 'nothing'}"
    return Defect(what, folder.name, "add it, or name it under [files] clinical in cohort.toml")
