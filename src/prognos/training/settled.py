"""Stages that several fits have in common are trained once.

Variants of a study that differ in a late stage only (which generator fills in what is missing) share the stages before it: their state is
left under a fingerprint of all that those stages read, and taken by whoever comes next. Every stage of a model with several begins with
a seed of its own, so that what is taken is what would have been trained.
"""

import json
from pathlib import Path
from typing import Any

from prognos import files
from prognos.models.contract import Model
from prognos.training.checkpoint import Log, load_checkpoint, load_some
from prognos.types import Stage


def take(folder: Path | None, model: Model, stage: Stage, fingerprint: str) -> Log | None:
    """Puts the model where an equal fit stood at the end of this stage; the rows of that stage's log, None where there is no such fit."""
    if folder is None or model.settled(stage) is None:
        return None
    found = load_checkpoint(_place(folder, stage, fingerprint), fingerprint)
    if found is None:
        return None
    load_some(model, found[0])
    return found[1]


def leave(folder: Path | None, model: Model, stage: Stage, log: Log, fingerprint: str) -> None:
    """Keeps what no later stage changes for fits that are equal up to here."""
    names = model.settled(stage)
    place = None if folder is None else _place(folder, stage, fingerprint)
    if names is None or place is None or place.is_file():
        return
    wanted = set(names)
    tensors = {name: value for name, value in model.state_dict().items() if name in wanted}
    header: dict[str, Any] = {"log": log, "fingerprint": fingerprint}
    files.write_tensors(place, tensors, {"position": json.dumps(header)})


def _place(folder: Path, stage: Stage, fingerprint: str) -> Path:
    return folder / f"{stage.name}-{fingerprint[:32]}.safetensors"
