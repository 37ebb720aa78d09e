"""Fits one model to one training fold. What it is given is all that it can learn from: there is no test fold in reach."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from prognos.cohort import Cohort
from prognos.config import bind
from prognos.models import entry_of
from prognos.models.contract import Model
from prognos.risk.marginal import MarginalHead
from prognos.runtime import derive_seed, device
from prognos.tokens.inputs import Inputs, InputsConfig
from prognos.training.fitted import Fitted
from prognos.training.fold import Fold, batches_by_size, feedable, having_any
from prognos.training.loop import run_stage
from prognos.training.recipe import TrainingConfig


@dataclass(frozen=True)
class FitProgress:
    """Where a fit stands, for whoever shows it."""

    stage: str
    epoch: int
    epochs: int
    loss: float


@dataclass(frozen=True)
class FitOptions:
    """What surrounds a fit without changing what is learnt.

    Args:
        folder: where checkpoints go; a fit that was killed goes on from there.
        parts: fitted parts of a model that is made of others; they are fitted here when missing.
        validation: other patients whose concordance is logged after each epoch; nothing is learnt from them here.
        progress: called after each epoch.
    """

    folder: Path | None = None
    parts: Mapping[str, Fitted] = field(default_factory=dict)
    validation: Cohort | None = None
    progress: Callable[[FitProgress], None] | None = None


def fit(
    cohort: Cohort,
    model: str = "tta",
    *,
    seed: int = 1,
    config: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    options: FitOptions | None = None,
) -> Fitted:
    """Fits a model of the table to all patients of a cohort.

    Args:
        cohort: the training patients and nobody else; patients without any of the model's modalities are left out.
        model: name of an entry of `MODELS`.
        seed: of weights, batches, patches and dropout; the same seed gives the same model on the same machine.
        config: values of the model's config, over those of its preset.
        training: values of `TrainingConfig`, over those of the preset.
        inputs: values of `InputsConfig`, over those of the preset.
        options: folder for checkpoints, fitted parts, validation patients, progress.

    Raises:
        ValueError: an unknown model or key, a cohort that cannot feed the model, or training patients without an event.

    Example:
        >>> fitted = prognos.fit(cohort, "snn", training={"epochs": 5})  # doctest: +SKIP
    """
    options = options or FitOptions()
    entry = entry_of(model)
    kind = entry.load()
    model_config = bind(kind.Config, {**entry.config, **(config or {})}, f"model.{model}")
    recipe = bind(TrainingConfig, {**entry.training, **(training or {})}, "training")
    input_config = bind(InputsConfig, {**entry.inputs, **(inputs or {})}, "inputs")
    train = _training_patients(cohort, model, kind)
    parts = _parts(train, kind, seed, training=training, inputs=inputs, options=options)
    learnt_inputs = Inputs.learn(train, kind.needs, input_config)
    fold = Fold(train, learnt_inputs.reader(train), torch.device(device(recipe.device)), input_config.n_patches)
    fingerprint = _fingerprint(model, seed, model_config, recipe, input_config, train)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("fit", seed))
        built: Model = kind(model_config, learnt_inputs.shape)
        if parts:
            built.take_parts({name: part.model for name, part in parts.items()})
        built.to(fold.device)
        built.learn(fold)
        log = _train(built, fold, learnt_inputs, recipe, seed=seed, fingerprint=fingerprint, options=options)
    built.eval()
    risk = _training_risk(built, fold)
    built.finish(fold, risk)
    marginal = MarginalHead()
    marginal.learn_baseline(risk, fold.survival.to("cpu"))
    return Fitted(
        name=model,
        model=built,
        inputs=learnt_inputs,
        config=model_config,
        training=recipe,
        seed=seed,
        log=log,
        threshold=float(risk.double().median()),
        marginal=marginal,
        provenance=_provenance(train, built),
    )


def _training_patients(cohort: Cohort, name: str, kind: Any) -> Cohort:
    """The patients that have some input, of a cohort that can feed the model and has events."""
    reason = feedable(cohort, kind.needs)
    if reason is not None:
        raise ValueError(f"{name} cannot be fitted: {reason}; choose another model or cohort.")
    usable = np.array(cohort.patients)[having_any(cohort, kind.needs.modalities)]
    train = cohort.subset(tuple(usable))
    n_events = int(np.sum(train.event))
    if len(train.patients) < 2 or not n_events:
        raise ValueError(
            f"{name} cannot be fitted: {len(train.patients)} training patients with {n_events} events; "
            "at least 2 patients and 1 event are needed: use fewer folds or another endpoint."
        )
    return train


def _parts(
    train: Cohort, kind: Any, seed: int, *, training: Mapping[str, Any] | None, inputs: Mapping[str, Any] | None, options: FitOptions
) -> dict[str, Fitted]:
    """The fitted parts of a model made of others: the given ones, or fitted here."""
    fitted = {}
    for name in kind.needs.parts:
        folder = options.folder / "parts" / name if options.folder else None
        given = options.parts.get(name)
        fitted[name] = given or fit(
            train, name, seed=seed, training=training, inputs=inputs, options=FitOptions(folder=folder, progress=options.progress)
        )
    return fitted


def _train(
    model: Model, fold: Fold, inputs: Inputs, recipe: TrainingConfig, *, seed: int, fingerprint: str, options: FitOptions
) -> pd.DataFrame:
    """All stages, each from its checkpoint where there is one; the log, one row an epoch."""
    rows: list[dict[str, Any]] = []
    if not type(model).trained:
        return pd.DataFrame(rows)
    for index, stage in enumerate(model.stages(recipe.epochs, recipe.learning_rate)):
        checkpoint = options.folder / f"checkpoint-{index}.safetensors" if options.folder else None
        for row in run_stage(model, fold, recipe, stage, seed=seed, checkpoint=checkpoint, fingerprint=fingerprint):
            if options.validation is not None and "validation_concordance" not in row:
                row["validation_concordance"] = _validation_concordance(model, inputs, options.validation, fold)
            rows.append(row)
            if options.progress is not None:
                options.progress(FitProgress(stage.name, row["epoch"] + 1, stage.epochs, row["total"]))
    return pd.DataFrame(rows)


@torch.no_grad()
def _training_risk(model: Model, fold: Fold) -> torch.Tensor:
    """Risks of the training patients, from all their patches."""
    risks = [model(bag).risk for bag in _evaluation_bags(model, fold)]
    risk = torch.cat(risks)
    if not bool(risk.isfinite().all()):
        raise FloatingPointError(f"the risks of {int((~risk.isfinite()).sum())} training patients are not finite; lower the learning rate.")
    return risk


def _evaluation_bags(model: Model, fold: Fold) -> Any:
    histology = "histology" in model.needs.modalities
    sizes = {p: fold.reader.n_patches(p) for p in fold.patients} if histology else {}
    for batch in batches_by_size(fold.patients, sizes):
        yield fold.reader.bag(batch).to(fold.device)


@torch.no_grad()
def _validation_concordance(model: Model, inputs: Inputs, validation: Cohort, fold: Fold) -> float:
    """Harrell's C on the validation patients; NaN where no pair can be compared."""
    from prognos.metrics import NoComparablePairs, concordance

    reader = inputs.reader(validation)
    view = Fold(validation, reader, fold.device, fold.n_patches)
    training = model.training
    model.eval()
    risk = torch.cat([model(bag).risk for bag in _evaluation_bags(model, view)]).double().cpu().numpy()
    model.train(training)
    try:
        return concordance(risk, np.asarray(validation.time), np.asarray(validation.event))
    except NoComparablePairs:
        return float("nan")


def _fingerprint(model: str, seed: int, *parts: Any) -> str:
    """Identity of a fit: a checkpoint of another model, seed, setting or set of patients is never gone on from."""
    *configs, train = parts
    text = json.dumps([model, seed, [c.model_dump(mode="json") for c in configs], list(train.patients), list(map(float, train.time))])
    return hashlib.sha256(text.encode()).hexdigest()


def _provenance(train: Cohort, model: Model) -> dict[str, Any]:
    return {
        "cohort": train.name,
        "endpoint": train.endpoint,
        "patients": len(train.patients),
        "events": int(np.sum(train.event)),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
