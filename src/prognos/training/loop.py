"""One stage of training: epochs over batches, optimiser, schedule, checkpoints. A killed stage goes on to the same numbers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prognos.cohort.defects import naming
from prognos.models.contract import Beside, Model
from prognos.risk.discrete import quantile_cuts
from prognos.tokens.batches import epoch_batches, prefetch
from prognos.training.checkpoint import Log, load_checkpoint, random_state, restore, save_checkpoint, set_random_state
from prognos.training.fold import Fold
from prognos.training.optimiser import learning_rate, make_optimiser
from prognos.training.recipe import TrainingConfig
from prognos.types import Bag, Progress, Stage, Survival

Window = list[tuple[Bag, Survival]]


def run_stage(
    model: Model, fold: Fold, recipe: TrainingConfig, stage: Stage, *, seed: int, checkpoint: Path | None, fingerprint: str
) -> Iterator[dict[str, Any]]:
    """Trains through a stage and yields one log row an epoch, rows of epochs done before a kill first.

    Whoever takes a row may add to it (validation); the row is kept in the checkpoint as it then stands.

    Args:
        model: trained in place.
        fold: the training patients.
        recipe: how to train.
        stage: which stage.
        seed: of batches and patches; dropout uses torch's global generator, whose state travels in the checkpoint.
        checkpoint: file to go on from and to write to; none when empty.
        fingerprint: identity of the fit; a checkpoint of another one is ignored.
    """
    optimiser = make_optimiser(model.trained_in(stage), stage.learning_rate, recipe.weight_decay, recipe.optimiser)
    log: Log = []
    found = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if found is not None:
        restore(found[0], model, optimiser)
        log = found[1]
        yield from log
    saved = time.monotonic()
    n_epochs = min(stage.epochs, recipe.stop_after or stage.epochs) if stage.chosen else stage.epochs
    for epoch in range(len(log), n_epochs):
        log.append(_epoch(model, fold, recipe, stage, optimiser, epoch=epoch, seed=seed))
        yield log[-1]
        last = epoch + 1 == n_epochs
        if checkpoint and (last or time.monotonic() - saved >= recipe.checkpoint_seconds):
            save_checkpoint(checkpoint, model, optimiser, log, fingerprint)
            saved = time.monotonic()


def _epoch(
    model: Model, fold: Fold, recipe: TrainingConfig, stage: Stage, optimiser: torch.optim.Optimizer, *, epoch: int, seed: int
) -> dict[str, Any]:
    """One pass over the training fold; the log row of the epoch."""
    windows = windows_of(fold, recipe, seed=seed, epoch=epoch)
    n_steps = len(windows)
    model.begin_epoch(fold, Progress(epoch * n_steps, n_steps, epoch, stage.epochs, stage.name))
    model.train()
    sums: dict[str, float] = {}
    bags = prefetch(_bags(fold, [batch for window in windows for batch in window], seed, epoch))
    rate = 0.0
    for number, window in enumerate(windows):
        step = epoch * n_steps + number
        rate = learning_rate(recipe, stage.learning_rate, step, stage.epochs * n_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        progress = Progress(step, n_steps, epoch, stage.epochs, stage.name)
        terms = _step(model, [next(bags) for _ in window], progress, optimiser, recipe)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value
    model.end_epoch(fold, Progress((epoch + 1) * n_steps, n_steps, epoch, stage.epochs, stage.name))
    row: dict[str, Any] = {"stage": stage.name, "epoch": epoch, "step": (epoch + 1) * n_steps, "learning_rate": rate}
    means = {name: value / n_steps for name, value in sums.items()}
    return row | means | {"total": sum(means.values())}


def windows_of(fold: Fold, recipe: TrainingConfig, *, seed: int, epoch: int) -> list[list[np.ndarray]]:
    """The optimiser steps of an epoch, each the batches (places of patients) that are gathered for it.

    A step has up to batch_size x accumulate patients and its share of the events; steps differ by at most one patient, so
    that no small remainder is left, and are cut into batches of at most batch_size.
    """
    event, most = fold.survival.event.cpu().numpy(), recipe.batch_size * recipe.accumulate
    strata = _strata(fold.survival, recipe.balance)
    steps = epoch_batches(event, most, seed=seed, epoch=epoch, min_events=min(recipe.min_events, most), balance=strata)
    return [np.array_split(step, min(recipe.accumulate, -(-len(step) // recipe.batch_size))) for step in steps]


def _strata(survival: Survival, balance: str) -> np.ndarray | None:
    """What patients are drawn alike by; `time`: the quarter of the observed events' times, and event, as MCAT does."""
    if balance == "none":
        return None
    if balance == "event":
        return survival.event.cpu().numpy()
    if balance == "subtype":
        if survival.subtype is None:
            raise ValueError("training.balance is 'subtype' but the cohort has no classes: name the column under [cohort] subtype.")
        return survival.subtype.cpu().numpy()
    cuts = quantile_cuts(survival.time, survival.event, 4)
    quarter = torch.searchsorted(cuts, survival.time.double(), right=True)
    return (2 * quarter + survival.event.long()).cpu().numpy()


def _bags(fold: Fold, batches: Sequence[np.ndarray], seed: int, epoch: int) -> Iterator[tuple[Bag, Survival]]:
    """The bags of an epoch, patches drawn anew by (seed, epoch, batch)."""
    patients, survival = np.array(fold.patients), fold.survival
    for number, batch in enumerate(batches):
        generator = np.random.default_rng([seed, epoch, number])
        bag = fold.reader.bag(tuple(patients[batch]), n_patches=fold.n_patches, generator=generator)
        yield fold.filled(bag).to(fold.device), survival[torch.as_tensor(batch, device=fold.device)]


def _step(model: Model, window: Window, progress: Progress, optimiser: torch.optim.Optimizer, recipe: TrainingConfig) -> dict[str, float]:
    """One optimiser step over a window of batches; the value of each term."""
    model.zero_grad(set_to_none=True)  # of all stages: a gradient left over from another one would enter the norm below
    n_patients = sum(len(bag) for bag, _ in window)
    sums: dict[str, float] = {}
    for (bag, survival), beside in zip(window, _besides(model, window, progress, recipe), strict=True):
        with _precision(recipe, bag):
            terms = model.losses(bag, survival, progress, beside)
        share = len(bag) / n_patients
        weighted = {name: term if name == "survival" and beside is not None else share * term for name, term in terms.items()}
        total = sum(weighted.values(), start=torch.zeros((), device=survival.time.device))
        if not bool(total.isfinite()):
            raise FloatingPointError(_not_finite(model, terms, bag, progress))
        if total.requires_grad:
            total.backward()
        for name, term in weighted.items():
            value = float(term.detach()) * (share if name == "survival" and beside is not None else 1.0)
            sums[name] = sums.get(name, 0.0) + value
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimiser.step()
    model.after_step(progress)
    return sums


@torch.no_grad()
def _not_finite(model: Model, terms: Mapping[str, Tensor], bag: Bag, progress: Progress) -> str:
    """Which terms are not finite and of which patients, where their risks tell."""
    bad = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
    fine = model(bag, progress).risk.isfinite().tolist()
    concerned = [patient for patient, finite in zip(bag.patients, fine, strict=True) if not finite] or bag.patients
    return (
        f"the loss ({bad}) is not finite at epoch {progress.epoch}, step {progress.step}: it fails for {len(concerned)} of the "
        f"{len(bag)} patients of the batch ({naming(concerned)}); look at their features, or lower the learning rate."
    )


def _besides(model: Model, window: Window, progress: Progress, recipe: TrainingConfig) -> list[Beside] | Iterator[Beside]:
    """For each batch of a window, risks and survival of the others, where the loss shares a risk set.

    The loss of a window is computed once a batch, with the batch's own risks carrying the gradient and the others
    constant; the sum of these gradients is the gradient of the whole window's loss. Dropout is drawn the same twice.
    """
    if len(window) == 1 or not model.head.shares_risk_set:
        return [None] * len(window)
    return _gathered(model, window, progress, recipe)


def _gathered(model: Model, window: Window, progress: Progress, recipe: TrainingConfig) -> Iterator[Beside]:
    states, risks = [], []
    for bag, _ in window:
        states.append(random_state())
        with torch.no_grad(), _precision(recipe, bag):
            risks.append(model(bag, progress).risk.float())
    for own in range(len(window)):
        set_random_state(states[own])
        others = [i for i in range(len(window)) if i != own]
        times = Survival(torch.cat([window[i][1].time for i in others]), torch.cat([window[i][1].event for i in others]))
        yield torch.cat([risks[i] for i in others]), times


def _precision(recipe: TrainingConfig, bag: Bag) -> Any:
    """Mixed precision where the recipe asks for it."""
    where = next((tokens.mask.device.type for tokens in bag.modalities.values()), "cpu")
    return torch.autocast(where, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")
