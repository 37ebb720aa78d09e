"""One stage of training: epochs over batches, optimiser, schedule, checkpoints. A killed stage goes on to the same numbers."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prognos.models.contract import Beside, Model
from prognos.tokens.batches import epoch_batches, prefetch
from prognos.training.checkpoint import Position, load_checkpoint, restore, save_checkpoint
from prognos.training.fold import Fold
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
    optimiser = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=stage.learning_rate, fused=True)
    log: list[dict[str, Any]] = []
    found = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if found is not None:
        restore(found[0], model, optimiser)
        log = list(found[1].log)
        yield from log
    saved = time.monotonic()
    for epoch in range(len(log), stage.epochs):
        log.append(_epoch(model, fold, recipe, stage, optimiser, epoch=epoch, seed=seed))
        yield log[-1]
        last = epoch + 1 == stage.epochs
        if checkpoint and (last or time.monotonic() - saved >= recipe.checkpoint_seconds):
            save_checkpoint(checkpoint, model, optimiser, Position(0, epoch + 1, tuple(log)), fingerprint)
            saved = time.monotonic()


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and other vectors do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _epoch(
    model: Model, fold: Fold, recipe: TrainingConfig, stage: Stage, optimiser: torch.optim.Optimizer, *, epoch: int, seed: int
) -> dict[str, Any]:
    """One pass over the training fold; the log row of the epoch."""
    event = fold.survival.event.cpu().numpy()
    n_events = min(recipe.min_events, recipe.batch_size)
    strata = event if recipe.balance == "event" else None
    batches = epoch_batches(event, recipe.batch_size, seed=seed, epoch=epoch, min_events=n_events, balance=strata)
    windows = [range(start, min(start + recipe.accumulate, len(batches))) for start in range(0, len(batches), recipe.accumulate)]
    n_steps = len(windows)
    model.begin_epoch(fold, Progress(epoch * n_steps, n_steps, epoch, stage.epochs, stage.name))
    model.train()
    sums: dict[str, float] = {}
    bags = prefetch(_bags(fold, batches, seed, epoch))
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
    row: dict[str, Any] = {"stage": stage.name, "epoch": epoch, "step": (epoch + 1) * n_steps, "learning_rate": rate}
    means = {name: value / n_steps for name, value in sums.items()}
    return row | means | {"total": sum(means.values())}


def learning_rate(recipe: TrainingConfig, peak: float, step: int, n_steps: int) -> float:
    """Linear over the warm-up, then a half cosine to 0, or constant."""
    n_warm = round(recipe.warmup * n_steps)
    if step < n_warm:
        return peak * (step + 1) / n_warm
    if recipe.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))


def _bags(fold: Fold, batches: Sequence[np.ndarray], seed: int, epoch: int) -> Iterator[tuple[Bag, Survival]]:
    """The bags of an epoch, patches drawn anew by (seed, epoch, batch)."""
    patients, survival = np.array(fold.patients), fold.survival
    for number, batch in enumerate(batches):
        generator = np.random.default_rng([seed, epoch, number])
        bag = fold.reader.bag(tuple(patients[batch]), n_patches=fold.n_patches, generator=generator)
        yield bag.to(fold.device), survival[torch.as_tensor(batch, device=fold.device)]


def _step(model: Model, window: Window, progress: Progress, optimiser: torch.optim.Optimizer, recipe: TrainingConfig) -> dict[str, float]:
    """One optimiser step over a window of batches; the value of each term."""
    optimiser.zero_grad(set_to_none=True)
    n_patients = sum(len(bag) for bag, _ in window)
    sums: dict[str, float] = {}
    for (bag, survival), beside in zip(window, _besides(model, window, progress, recipe), strict=True):
        with _precision(recipe, bag):
            terms = model.losses(bag, survival, progress, beside)
        share = len(bag) / n_patients
        weighted = {name: term if name == "survival" and beside is not None else share * term for name, term in terms.items()}
        total = sum(weighted.values(), start=torch.zeros((), device=survival.time.device))
        if not bool(total.isfinite()):
            bad = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
            raise FloatingPointError(
                f"the loss ({bad}) is not finite at epoch {progress.epoch}, step {progress.step} for {len(bag)} patients "
                f"({', '.join(bag.patients[:3])}); look at their features, or lower the learning rate."
            )
        if total.requires_grad:
            total.backward()
        for name, term in weighted.items():
            value = float(term.detach()) * (share if name == "survival" and beside is not None else 1.0)
            sums[name] = sums.get(name, 0.0) + value
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimiser.step()
    return sums


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
        states.append(torch.get_rng_state())
        with torch.no_grad(), _precision(recipe, bag):
            risks.append(model(bag, progress).risk.float())
    for own in range(len(window)):
        torch.set_rng_state(states[own])
        others = [i for i in range(len(window)) if i != own]
        times = Survival(torch.cat([window[i][1].time for i in others]), torch.cat([window[i][1].event for i in others]))
        yield torch.cat([risks[i] for i in others]), times


def _precision(recipe: TrainingConfig, bag: Bag) -> Any:
    """Mixed precision where the recipe asks for it."""
    where = next((tokens.mask.device.type for tokens in bag.modalities.values()), "cpu")
    return torch.autocast(where, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")
