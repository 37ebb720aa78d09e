"""One TOML recipe -> frozen, typed settings. An unknown key is refused with the nearest match and the place where it stands."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

Settings = TypeVar("Settings", bound=BaseModel)


class ConfigError(ValueError):
    """A recipe, or an override of it, that says something which does not exist or cannot be."""


class Section(BaseModel):
    """A frozen section of a recipe in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CohortSection(Section):
    """`[cohort]`: who."""

    path: tuple[Path, ...] = Field(description="cohort folders; relative to the recipe")
    endpoint: str | None = Field(None, description="prefix of the time and event columns; needed where a cohort has several")
    subtype: str | None = Field(None, description="column of clinical.csv")
    subtype_classes: tuple[str, ...] | None = Field(None, min_length=1, description="its classes in order; all labels when left out")
    merge: dict[str, tuple[str, ...]] | None = Field(None, description="class -> labels of the column that become it")

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("path")
    @classmethod
    def _some_and_distinct(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        names = [path.name for path in value]
        if not value:
            raise ValueError("names no cohort folder")
        if len(set(names)) < len(names):
            raise ValueError(f"two cohort folders have the same name ({', '.join(names)}); results are kept by name, so rename one")
        return value


class OmicsSection(Section):
    """`[omics]`: which tables, which gene sets."""

    kinds: tuple[str, ...] | None = Field(None, description="which of rna, cnv, snv; all that there are when left out")
    gene_sets: dict[str, Path] = Field(default_factory=dict, description="name of a collection -> GMT file")


class TokensSection(Section):
    """`[tokens]`: how patches are read."""

    n_patches: int = Field(4096, ge=1, description="patches a patient in training; prediction uses all")
    store: Path | None = Field(None, description="folder of the packed feature store; the user's cache folder when left out")
    fill: Literal["model", "mean", "zero", "nearest", "refuse"] = Field(
        "model", description="what stands in for a modality that a patient lacks; model: the model's own way, or the mean where it has none"
    )


class Variant(Section):
    """`[[study.variants]]`: an ablation, that is a name and what it changes."""

    name: str
    models: tuple[str, ...] | None = Field(None, description="which models have this variant; all of the study when left out")
    set: dict[str, Any] = Field(default_factory=dict, description='"section.key" -> value')

    @field_validator("name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        if value in ("base", "canary"):
            raise ValueError(f"{value!r} is taken: base is the study without any variant, canary its permuted labels")
        if not re.fullmatch(r"[A-Za-z0-9._=-]+", value):
            raise ValueError("a variant's name becomes a folder: letters, digits, '.', '_', '=' and '-' only")
        return value


class StudySection(Section):
    """`[study]`: models x variants x seeds x folds x missing patterns."""

    name: str = Field("study", description="becomes part of the run folder's name")
    models: tuple[str, ...] = Field(("null", "clinical", "snn", "abmil", "late-fusion", "tta"), min_length=1)
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    selection: Literal["last", "inner", "oracle"] = Field("last", description="which epoch's weights are reported")
    missing: tuple[str, ...] = Field(("none",), min_length=1, description='patterns such as "omics" or "omics=0.5;histology=0.2"')
    reference: str | None = Field(None, description="the model that differences are taken to; clinical, else the first model")
    n_folds: int = Field(5, ge=2, description="for cohorts without splits.csv")
    canary: bool = Field(False, description="run the same pipeline on permuted labels too")
    evidence: bool = Field(False, description="collect what the fitted models look at when all is done, as 'prognos explain RUN' does")
    oracle_warning: bool = Field(False, description="say how much better the best epoch on the reported fold would have looked")
    variants: tuple[Variant, ...] = ()
    metrics: tuple[str, ...] | None = Field(None, min_length=1, description="which metrics; all when left out")
    replicates: int = Field(1000, ge=0, description="bootstrap replicates of every interval; 0 for none")
    workers: int | None = Field(None, ge=1, description="processes; the number of cores when left out")

    @field_validator("models", "seeds", "missing")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = sorted({str(item) for item in value if value.count(item) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} more than once")
        return value

    @field_validator("variants")
    @classmethod
    def _distinct_names(cls, value: tuple[Variant, ...]) -> tuple[Variant, ...]:
        names = [variant.name for variant in value]
        if len(set(names)) < len(names):
            raise ValueError(f"two variants have the same name: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")
        return value


class Recipe(Section):
    """A whole study. `training` and `model` are checked by the plan, which knows the models."""

    cohort: CohortSection
    omics: OmicsSection = OmicsSection()
    tokens: TokensSection = TokensSection()
    training: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, dict[str, Any]] = Field(default_factory=dict)
    study: StudySection = StudySection()


def read_recipe(path: Path | str, overrides: Sequence[str] = (), *, above: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a TOML file with `section.key=value` overrides; the file's paths are relative to the file.

    Args:
        path: the file.
        overrides: `section.key=value`; paths in them are relative to the working directory.
        above: sections that count more than the file and less than the overrides, with paths as in overrides.

    Raises:
        ConfigError: for a file that is not there or not TOML, and for everything in it that does not exist.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no recipe at {path}. Check the path, or run a cohort without one: prognos run --cohort FOLDER.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    values = with_absolute_paths(values, path.resolve().parent)
    values.setdefault("study", {})
    if isinstance(values["study"], dict):
        values["study"].setdefault("name", path.stem)
    values = merged(values, with_absolute_paths(above or {}, Path.cwd()))
    return make_recipe(values, overrides, where=str(path))


def make_recipe(values: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "the command line") -> Recipe:
    """The recipe of a mapping of sections; paths in it, and in the overrides, are relative to the working directory."""
    values = with_absolute_paths(values, Path.cwd())
    for text in overrides:
        values = merged(values, with_absolute_paths(parse_override(text), Path.cwd()))
    return bind(Recipe, values, where)


def bind(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """The settings of a mapping; every fault of it is told at once, in words that name the place and the nearest match.

    Args:
        cls: a pydantic model that forbids unknown keys.
        values: key -> value, nested.
        where: what the user wrote it in, such as `[model.tta] of study.toml`.

    Raises:
        ConfigError: one line a fault.
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        faults = [_fault(cls, fault) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(f"{where}: {fault}" for fault in faults)) from error


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence that says that nothing of this kind has this name, the nearest one that exists, and all of them."""
    known = tuple(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    suggestion = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return f"there is no {kind} {name!r}{suggestion} Known: {', '.join(known)}."


def parse_override(text: str) -> dict[str, Any]:
    """The nested mapping of one `section.key=value`; the value is TOML, and a bare word is a string."""
    key, separator, value = text.partition("=")
    parts = [part.strip() for part in key.strip().split(".")]
    if not separator or len(parts) < 2 or not all(parts):
        raise ConfigError(f"cannot read the override {text!r}: write section.key=value, for example training.epochs=10.")
    nested: Any = _toml_value(value.strip())
    for part in reversed(parts):
        nested = {part: nested}
    return nested


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; where both have a value, the one above counts."""
    result = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both_tables else value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one mapping from dotted keys to values."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result.update(flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return result


def with_absolute_paths(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The same raw recipe with its paths relative to a folder made absolute."""

    def absolute(path: Any) -> Any:
        return str((base / Path(path).expanduser()).resolve()) if isinstance(path, str | Path) else path

    result = dict(values)
    for section, key in (("cohort", "path"), ("omics", "gene_sets"), ("tokens", "store")):
        table = result.get(section)
        if not isinstance(table, Mapping) or key not in table:
            continue
        value = table[key]
        if isinstance(value, Mapping):
            value = {name: absolute(path) for name, path in value.items()}
        elif isinstance(value, list | tuple):
            value = [absolute(path) for path in value]
        else:
            value = absolute(value)
        result[section] = {**table, key: value}
    return result


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Everything that a recipe says, defaults included, as plain values."""
    return json.loads(recipe.model_dump_json(exclude_none=True))


def to_toml(values: Mapping[str, Any]) -> str:
    """A mapping of sections as TOML text that reads back to the same values."""
    lines: list[str] = []
    _write_table(lines, values, "")
    return "\n".join(lines).strip() + "\n"


def _write_table(lines: list[str], table: Mapping[str, Any], prefix: str) -> None:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    arrays = {key: value for key, value in table.items() if _is_array_of_tables(value)}
    lines.extend(f"{_key(key)} = {_inline(value)}" for key, value in table.items() if key not in tables and key not in arrays)
    for key, value in tables.items():
        name = prefix + _key(key)
        lines.extend(["", f"[{name}]"])
        _write_table(lines, value, f"{name}.")
    for key, value in arrays.items():
        for item in value:
            lines.extend(["", f"[[{prefix + _key(key)}]]"])
            lines.extend(f"{_key(name)} = {_inline(inner)}" for name, inner in item.items())


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if re.search(r"""[\[\]{}"'=]""", text):
            raise ConfigError(f"cannot read the value {text!r}: it is neither TOML nor a bare word.") from None
        return text


def _fault(cls: type[BaseModel], fault: Mapping[str, Any]) -> str:
    location = tuple(fault["loc"])
    place = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        known = tuple(_model_at(cls, location[:-1]).model_fields)
        section = ".".join(str(part) for part in location[:-1])
        return unknown("key" if section or cls is not Recipe else "section", str(location[-1]), known) + (
            f" (in {section})" if section else ""
        )
    if fault["type"] == "missing":
        return f"{place} is missing; set it."
    message = re.sub(r"^Value error, ", "", fault["msg"])
    if fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", message)
        return f"{place}: " + unknown("choice", str(fault["input"]), choices)
    if not place:  # of several keys together; the message names them
        return message
    return f"{place} = {fault['input']!r}: {message[0].lower() + message[1:] if message else message}."


def _model_at(cls: type[BaseModel], location: Sequence[Any]) -> type[BaseModel]:
    for part in location:
        field = cls.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            cls = _model_in(field.annotation) or cls
    return cls


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
