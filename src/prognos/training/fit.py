"""Fits one model to one training fold. What it is given is all that it can learn from: there is no test fold in reach."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import prognos
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.config import ConfigError, bind
from prognos.models import entry_of
from prognos.models.contract import Model, Needs
from prognos.risk.marginal import MarginalHead
from prognos.runtime import derive_seed, device
from prognos.tokens.inputs import Inputs, InputsConfig, MissingModality
from prognos.tokens.missing import missing_of, parse_pattern
from prognos.training.checkpoint import Log
from prognos.training.fitted import Fitted, filler_of
from prognos.training.fold import Fold, evaluation_bags, feedable, having_any
from prognos.training.inner_recalibration import inner_recalibration
from prognos.training.latents import run_latent_stage
from prognos.training.loop import run_stage
from prognos.training.recipe import TrainingConfig
from prognos.training.settled import leave, take
from prognos.types import Stage


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
        stages: folder where stages that fits have in common are left and taken.
    """

    folder: Path | None = None
    parts: Mapping[str, Fitted] = field(default_factory=dict)
    validation: Cohort | None = None
    progress: Callable[[FitProgress], None] | None = None
    stages: Path | None = None


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
        MissingModality: no training patient has what the model reads.
        ValueError: an unknown model or key, gene sets that were not given, training patients without an event, or patients
            who are trained on and validated on.
        FloatingPointError: a loss or risk that is not a number; the message names the patients.

    Example:
        >>> fitted = prognos.fit(cohort, "snn", training={"epochs": 5})  # doctest: +SKIP
    """
    if seed < 0:
        raise ValueError(f"the seed is {seed}; choose a whole number from 0.")
    options = options or FitOptions()
    entry = entry_of(model)
    kind = entry.load()
    model_config = bind(kind.Config, {**entry.config, **(config or {})}, f"model.{model}")
    recipe = bind(TrainingConfig, {**entry.training, **(training or {})}, "training")
    input_config = bind(InputsConfig, {**entry.inputs, **(inputs or {})}, "inputs")
    needs = kind.needs_of(model_config)
    train = _training_patients(_lacking(cohort, recipe, needs, seed), model, needs, input_config)
    subtypes = _subtype_shares(train) if needs.subtype else {}
    _check_validation(cohort, options.validation)
    parts = _parts(train, kind, seed, training=training, inputs=inputs, options=options)
    learnt_inputs = Inputs.learn(train, needs, input_config)
    _check_parts(parts, learnt_inputs)
    fold = Fold(train, learnt_inputs.reader(train), torch.device(device(recipe.device)), input_config.n_patches)
    filler = filler_of(input_config.fill, needs)
    if filler is not None:
        filler.learn(fold.bags())
        fold = replace(fold, filler=filler)
    identity = _identity([model, seed], (model_config, recipe, input_config), fold, learnt_inputs, options.validation)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("fit", seed))
        built = kind(model_config, replace(learnt_inputs.shape, subtypes=tuple(subtypes)))
        if parts:
            built.take_parts({name: part.model for name, part in parts.items()})
        _check_windows(model, built, recipe)
        built.to(fold.device)
        built.learn(fold)
        log = _train(built, fold, learnt_inputs, recipe, seed=seed, identity=identity, options=options)
    built.eval()
    risk = _risks(built, fold, recipe, seed)
    built.finish(fold, risk)
    marginal = MarginalHead()
    marginal.learn_baseline(risk, fold.survival.to("cpu"))
    fitted = Fitted(
        name=model,
        model=built,
        inputs=learnt_inputs,
        config=model_config,
        training=recipe,
        seed=seed,
        log=log,
        threshold=float(np.median(risk.double().cpu().numpy())),
        marginal=marginal,
        provenance=_provenance(train, built),
        filler=filler,
        subtypes=subtypes,
    )
    return fitted if recipe.recalibration == "none" else _recalibrated(fitted, train, parts, options.folder)


def _recalibrated(fitted: Fitted, train: Cohort, parts: Mapping[str, Fitted], folder: Path | None) -> Fitted:
    """The model with what its training patients tell of its curves when they are held out of fits with the same settings."""

    def again(like: Fitted, cohort: Cohort, place: Path | None, parts: Mapping[str, Fitted]) -> Fitted:
        anew = {name: again(part, cohort, place / "parts" / name if place else None, {}) for name, part in parts.items()}
        return fit(
            cohort,
            like.name,
            seed=like.seed,
            config=like.config.model_dump(),
            training={**like.training.model_dump(), "missing": "none", "recalibration": "none"},  # `train` lacks already what it shall
            inputs=like.inputs.config.model_dump(),
            options=FitOptions(folder=place, parts=anew),
        )

    place = folder / "recalibration" if folder else None
    learnt = inner_recalibration(train, fitted.seed, lambda cohort, part: again(fitted, cohort, part, parts), place)
    return replace(fitted, recalibration=learnt)


def _subtype_shares(train: Cohort) -> dict[str, float]:
    """Share of each class among the training patients with a label; nothing in a cohort without classes."""
    labelled = train.subtype_index[train.subtype_index >= 0] if train.subtype_classes else np.array([], dtype=np.int64)
    counts = np.bincount(labelled, minlength=len(train.subtype_classes))
    return {name: float(count / max(1, len(labelled))) for name, count in zip(train.subtype_classes, counts, strict=True)}


def _lacking(cohort: Cohort, recipe: TrainingConfig, needs: Needs, seed: int) -> Cohort:
    """The cohort without what the recipe takes from its patients; nothing is learnt from that, scalers included."""
    pattern = parse_pattern(recipe.missing, ("clinical", "histology", "omics", *cohort.tables), "training.missing")
    if pattern.shuffled:
        raise ConfigError(f"training.missing = {recipe.missing!r}: modalities are shuffled in prediction only; set study.missing to it.")
    modalities = [m for m in cohort.modalities if m in needs.modalities]
    has = {m: cohort.has(m) for m in modalities}
    measured = {patient: [m for m in modalities if has[m][row]] for row, patient in enumerate(cohort.patients)}
    return cohort.lacking(missing_of(pattern, measured, seed)) if recipe.missing != "none" else cohort


def _training_patients(cohort: Cohort, name: str, needs: Needs, config: InputsConfig) -> Cohort:
    """The patients that have some input, of a cohort that can feed the model and has events."""
    reason = feedable(cohort, needs, config)
    if reason is not None:
        kind = ValueError if "gene sets" in reason else MissingModality
        raise kind(f"{name} cannot be fitted: {reason}; choose another model or cohort.")
    train = cohort.subset(tuple(np.array(cohort.patients)[having_any(cohort, needs.modalities, config.omics_kinds)]))
    n_events = int(np.sum(train.event))
    if len(train.patients) < 2 or not n_events:
        raise ValueError(
            f"{name} cannot be fitted: {len(train.patients)} training patients with {n_events} events; "
            "at least 2 patients and 1 event are needed: use fewer folds or another endpoint."
        )
    return train


def _check_validation(train: Cohort, validation: Cohort | None) -> None:
    """Nobody is trained on and validated on."""
    both = sorted(set(train.patients) & set(validation.patients)) if validation is not None else []
    if both:
        raise ValueError(
            f"{len(both)} patients are in the training and the validation part ({naming(both)}): choose an epoch on patients that the "
            "model was not trained on."
        )


def _check_windows(name: str, model: Model, recipe: TrainingConfig) -> None:
    """A loss that compares patients needs more than one of them at a time."""
    if type(model).trained and model.head.shares_risk_set and recipe.batch_size * recipe.accumulate == 1:
        raise ValueError(
            f"{name} cannot be fitted with batch_size = 1 and accumulate = 1: Cox's loss compares patients, and one alone teaches "
            "nothing; raise training.accumulate or training.batch_size."
        )


def _parts(
    train: Cohort, kind: Any, seed: int, *, training: Mapping[str, Any] | None, inputs: Mapping[str, Any] | None, options: FitOptions
) -> dict[str, Fitted]:
    """The fitted parts of a model made of others: the given ones, or fitted here."""
    fitted = {}
    training = {**(training or {}), "recalibration": "none"}  # nobody reads the curves of a part
    for name in kind.needs.parts:
        folder = options.folder / "parts" / name if options.folder else None
        given = options.parts.get(name)
        fitted[name] = given or fit(
            train, name, seed=seed, training=training, inputs=inputs, options=FitOptions(folder=folder, progress=options.progress)
        )
    return fitted


def _check_parts(parts: Mapping[str, Fitted], inputs: Inputs) -> None:
    """Parts that were given are the models they are given for and read what the whole reads."""
    for name, part in parts.items():
        read = part.inputs.omics.schema.features if part.inputs.omics is not None else ()
        genes = inputs.omics.schema.features if part.inputs.omics is not None and inputs.omics is not None else ()
        if part.name != name or read != genes or part.inputs.d_patch not in (0, inputs.d_patch):
            raise ValueError(
                f"the part {name!r} that was given is a fitted {part.name!r} of {len(read)} omics features and patches of width "
                f"{part.inputs.d_patch}; here {name!r} reads {len(genes)} and {inputs.d_patch}: give one that was fitted on this fold."
            )


def _train(
    model: Model, fold: Fold, inputs: Inputs, recipe: TrainingConfig, *, seed: int, identity: Sequence[Any], options: FitOptions
) -> pd.DataFrame:
    """All stages, each from its checkpoint where there is one; the log, one row an epoch."""
    rows: Log = []
    fingerprint = _without(identity, ())
    if not type(model).trained:
        return pd.DataFrame(rows)
    validation = _validation_fold(options.validation, inputs, fold)
    stages = model.stages(recipe.epochs, recipe.learning_rate)
    common = [_without(identity, model.unread(stage)) if options.stages else "" for stage in stages]
    first, taken = _taken(model, stages, common, options.stages)
    rows += taken
    for index, stage in list(enumerate(stages))[first:]:
        checkpoint = options.folder / f"checkpoint-{index}.safetensors" if options.folder else None
        if len(stages) > 1:
            torch.manual_seed(derive_seed("stage", seed, stage.name))
        run = run_stage if stage.latents is None else run_latent_stage
        for row in run(model, fold, recipe, stage, seed=seed, checkpoint=checkpoint, fingerprint=fingerprint):
            if validation is not None and stage.chosen and "validation_concordance" not in row:
                row["validation_concordance"] = _validation_concordance(model, validation, recipe, seed)
            rows.append(row)
            if options.progress is not None:
                options.progress(FitProgress(stage.name, row["epoch"] + 1, stage.epochs, row["total"]))
        leave(options.stages, model, stage, rows, common[index])
    return pd.DataFrame(rows)


def _taken(model: Model, stages: Sequence[Stage], common: Sequence[str], folder: Path | None) -> tuple[int, Log]:
    """Goes to the latest stage that an equal fit has left; which one is next, and the log so far."""
    for index in reversed(range(len(stages))):
        log = take(folder, model, stages[index], common[index])
        if log is not None:
            return index + 1, log
    return 0, []


@torch.no_grad()
def _risks(model: Model, fold: Fold, recipe: TrainingConfig, seed: int) -> torch.Tensor:
    """Risks of the patients of a fold, read as they are read in prediction."""
    found: dict[str, torch.Tensor] = {}
    for bag in evaluation_bags(fold.reader, fold.patients, most_patches=recipe.evaluation_patches, seed=seed):
        found |= dict(zip(bag.patients, model(fold.filled(bag).to(fold.device)).risk, strict=True))
    risk = torch.stack([found[patient] for patient in fold.patients])
    bad = [patient for patient, fine in zip(fold.patients, risk.isfinite().tolist(), strict=True) if not fine]
    if bad:
        raise FloatingPointError(
            f"the risks of {len(bad)} of {len(fold.patients)} patients are not finite ({naming(bad)}); look at their features, or "
            "lower the learning rate."
        )
    return risk


def _validation_fold(validation: Cohort | None, inputs: Inputs, fold: Fold) -> Fold | None:
    """The validation patients that have some input; None when there are none."""
    if validation is None:
        return None
    watched = validation.subset(tuple(np.array(validation.patients)[having_any(validation, inputs.modalities, inputs.config.omics_kinds)]))
    return Fold(watched, inputs.reader(watched), fold.device, fold.n_patches, fold.filler) if watched.patients else None


def _validation_concordance(model: Model, validation: Fold, recipe: TrainingConfig, seed: int) -> float:
    """Harrell's C on the validation patients; NaN where no pair can be compared."""
    from prognos.metrics import NoComparablePairs, concordance

    training = model.training
    model.eval()
    risk = _risks(model, validation, recipe, seed).double().cpu().numpy()
    model.train(training)
    try:
        return concordance(risk, np.asarray(validation.cohort.time), np.asarray(validation.cohort.event))
    except NoComparablePairs:
        return float("nan")


def _identity(name_and_seed: list[Any], configs: tuple[Any, ...], fold: Fold, inputs: Inputs, validation: Cohort | None) -> list[Any]:
    """All that a fit depends on, the model's own config first: a checkpoint of anything else is never gone on from."""
    train = fold.cohort
    return [
        *[config.model_dump(mode="json") for config in configs],
        *name_and_seed,
        inputs.state(),
        [[p, float(t), bool(e), fold.reader.n_patches(p)] for p, t, e in zip(train.patients, train.time, train.event, strict=True)],
        None if validation is None else list(validation.patients),
        [prognos.__version__, torch.__version__],
        [train.subtype_classes, train.subtype_index.tolist()] if train.subtype_classes else None,
    ]


def _without(identity: Sequence[Any], unread: Sequence[str]) -> str:
    """Fingerprint of an identity, without some keys of the model's config."""
    config = {key: value for key, value in identity[0].items() if key not in unread}
    return hashlib.sha256(json.dumps([config, *identity[1:]]).encode()).hexdigest()


def _provenance(train: Cohort, model: Model) -> dict[str, Any]:
    return {
        "cohort": train.name,
        "endpoint": train.endpoint,
        "patients": len(train.patients),
        "events": int(np.sum(train.event)),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
