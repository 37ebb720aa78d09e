"""What the variants of a study set, and what it did to the concordance (TTA, Fig. 4-6; MUST, Fig. 4 and 6)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from prognos.report.fits import FitFacts
from prognos.report.run_folder import RunFolder, missing_in_words

COLUMNS = ["panel", "value", "number", "base", "pattern", "mean", "low", "high"]
OF_TOKENS = {"kinds": "omics_kinds"}
SECTIONS = ("tokens", "omics")


@dataclass(frozen=True)
class Setting:
    """What one variant sets for one model.

    Args:
        model: name in the table of models.
        variant: its name.
        key: what is set, such as `contrast_weight`; `several settings` for a variant that sets more than one.
        value: what it is set to; the name of a variant that sets more than one.
    """

    model: str
    variant: str
    key: str
    value: Any


SEVERAL = "several settings"


def settings_of(recipe: str) -> list[Setting]:
    """What the variants of a recipe set, for each of their models; none where the recipe is absent or cannot be read."""
    try:
        study = tomllib.loads(recipe).get("study", {})
    except tomllib.TOMLDecodeError:  # the page says elsewhere that recipe.toml cannot be read
        return []
    found = []
    for variant in study.get("variants", ()):
        changes = {key: value for key, value in variant.get("set", {}).items()}
        named = variant.get("models") or list(dict.fromkeys(key.split(".")[1] for key in changes if key.startswith("model.")))
        for model in named or study.get("models", ()):
            own = {key: value for key, value in changes.items() if not key.startswith("model.") or key.startswith(f"model.{model}.")}
            if len(own) == 1:
                key, value = next(iter(own.items()))
                found.append(Setting(model, variant["name"], key.removeprefix(f"model.{model}."), value))
            elif own:
                found.append(Setting(model, variant["name"], SEVERAL, variant["name"]))
    return found


def value_of(fit: FitFacts | None, key: str) -> Any:
    """The value that the base of a model has for a key; None where it is not known."""
    if fit is None:
        return None
    section, _, rest = key.partition(".")
    if section == "training" and rest:
        return fit.training.get(rest)
    if section in SECTIONS and rest:
        return fit.tokens.get(OF_TOKENS.get(rest, rest))
    return fit.config.get(key)


def sensitivity(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model and key: the concordance by what the key is set to, the base among them; number is NaN for what is no number.

    A key that one variant alone sets, to the value of the base, has no panel; neither has one whose variants were not applicable.
    """
    rows = run.comparison[(run.comparison.cohort == cohort) & (run.comparison.metric == "concordance")].dropna(subset=["mean"])
    groups: dict[tuple[str, str], list[Setting]] = {}
    for setting in settings_of(run.recipe):
        groups.setdefault((setting.model, setting.key), []).append(setting)
    pieces = []
    for (model, key), settings in groups.items():
        base = "the base" if key == SEVERAL else value_of(run.fits.get((cohort, model)), key)
        values: Mapping[str, Any] = {"base": base, **{setting.variant: setting.value for setting in settings}}
        of_key = rows[(rows.model == model) & rows.variant.isin(list(values))]
        if of_key.variant.nunique() < 2:
            continue
        said = of_key.variant.map(lambda variant, values=values: in_words(values[variant]))
        number = of_key.variant.map(lambda variant, values=values: as_number(values[variant]))
        pattern = of_key.missing.map(lambda missing: missing_in_words(str(missing)) or "complete")
        numeric = number.notna().all()
        table = of_key.assign(panel=f"{model}: {key}", value=said, number=number if numeric else float("nan"))
        pieces.append(
            table.assign(base=of_key.variant == "base", pattern=pattern).sort_values(["pattern", "number"], kind="stable")[COLUMNS]
        )
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS)


def in_words(value: Any) -> str:
    """A setting as text."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_number(value: Any) -> float:
    """A setting as a number; NaN for what is none, such as a switch."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
