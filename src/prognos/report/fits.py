"""How the models of a run were trained, as their fitted models say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class FitFacts(BaseModel):
    """What fitted.json says of a model's training; whatever is absent has a default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)

    @property
    def reads(self) -> tuple[str, ...]:
        """Modalities that the model reads."""
        return tuple(self.inputs.get("modalities", ()))

    @property
    def tokens(self) -> Mapping[str, Any]:
        """How patients became bags."""
        return self.inputs.get("config") or {}


def read_fits(folder: Path, gaps: list[str]) -> dict[tuple[str, str], FitFacts]:
    """One fit of each cohort and label (the fits of a label differ by seed and fold only), from models/COHORT/MODEL[@VARIANT].

    Args:
        folder: the folder `models` of a run.
        gaps: gets a sentence when files cannot be read.
    """
    fits: dict[tuple[str, str], FitFacts] = {}
    unreadable = []
    for path in sorted(folder.glob("*/*/seed-*/fold-*/fitted.json")):
        key = path.parts[-5], path.parts[-4]
        if key in fits:
            continue
        try:
            fits[key] = FitFacts.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, ValidationError, OSError):
            unreadable.append(path.relative_to(folder.parent).as_posix())
    if unreadable:
        gaps.append(f"{len(unreadable)} fitted models cannot be read ({', '.join(unreadable[:3])}).")
    return fits
