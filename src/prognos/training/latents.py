"""One stage of training on latents: vectors that the frozen model computed once of each training patient.

Nothing is read any more, so that a step is large and short. A slice of the training patients is held out and watched; the stage stands
at the epoch at which they were predicted best.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prognos import runtime
from prognos.models.contract import Model
from prognos.training.checkpoint import Log, load_checkpoint, restore, save_checkpoint
from prognos.training.fold import Fold
from prognos.training.optimiser import learning_rate, make_optimiser
from prognos.training.recipe import TrainingConfig
from prognos.types import OnLatents, Progress, Stage

WATCHED = 8
"""Draws of the loss that are averaged over the held-out patients; the same ones at every epoch."""

BEST = "best."


@dataclass(frozen=True)
class Rows:
    """The latents of a stage, parted into those that are trained on and those that are watched."""

    trained: dict[str, Tensor]
    watched: dict[str, Tensor] | None


def run_latent_stage(
    model: Model, fold: Fold, recipe: TrainingConfig, stage: Stage, *, seed: int, checkpoint: Path | None, fingerprint: str
) -> Iterator[dict[str, Any]]:
    """Trains a stage on latents and yields one log row an epoch, as `run_stage` does; arguments are its.

    The row has the loss on the held-out patients as `held_out`.
    """
    assert stage.latents is not None
    how = stage.latents
    rows = parted(dict(model.latents(fold, stage)), how, seed=seed, stage=stage.name)
    optimiser = make_optimiser(model.trained_in(stage), stage.learning_rate, recipe.weight_decay, recipe.optimiser)
    log: Log = []
    best: dict[str, Tensor] = {}
    found = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if found is not None:
        restore(found[0], model, optimiser)
        best = {name.removeprefix(BEST): value for name, value in found[0].items() if name.startswith(BEST)}
        log = found[1]
        yield from log
    saved = time.monotonic()
    while len(log) < stage.epochs and not _over(log, how):
        row = _epoch(model, rows, recipe, stage, optimiser, epoch=len(log), seed=seed)
        log.append(row)
        if rows.watched is not None and row["held_out"] <= min(earlier["held_out"] for earlier in log):
            best = _own_state(model, stage)
        yield row
        last = len(log) == stage.epochs or _over(log, how)
        if last and best:
            _take(model, best)
        if checkpoint and (last or time.monotonic() - saved >= recipe.checkpoint_seconds):
            save_checkpoint(checkpoint, model, optimiser, log, fingerprint, {f"{BEST}{name}": value for name, value in best.items()})
            saved = time.monotonic()


def parted(latents: dict[str, Tensor], how: OnLatents, *, seed: int, stage: str) -> Rows:
    """The patients that are trained on and those that are held out, drawn by seed; nobody is held out where no patience asks for it."""
    n = len(next(iter(latents.values())))
    n_watched = round(how.held_out * n) if how.patience is not None and n > 1 else 0
    order = torch.as_tensor(runtime.generator("held out", seed, stage).permutation(n))
    split = {name: (values[order[n_watched:]], values[order[:n_watched]]) for name, values in latents.items()}
    return Rows({name: pair[0] for name, pair in split.items()}, {name: pair[1] for name, pair in split.items()} if n_watched else None)


def _over(log: Log, how: OnLatents) -> bool:
    """Whether the last `patience` epochs were no better than the best before them."""
    if how.patience is None or len(log) <= how.patience or "held_out" not in log[-1]:
        return False
    losses = [row["held_out"] for row in log]
    return min(losses[-how.patience :]) >= min(losses[: -how.patience])


def _epoch(
    model: Model, rows: Rows, recipe: TrainingConfig, stage: Stage, optimiser: torch.optim.Optimizer, *, epoch: int, seed: int
) -> dict[str, Any]:
    """The steps of one epoch and the loss on who is watched; the log row."""
    assert stage.latents is not None
    how, n = stage.latents, len(next(iter(rows.trained.values())))
    sums: dict[str, float] = {}
    rate = 0.0
    model.train()
    trained = [parameter for _, parameter in model.trained_in(stage)]
    drawn = runtime.generator("latents", seed, stage.name, epoch)
    for number in range(how.steps):
        step = epoch * how.steps + number
        rate = learning_rate(recipe, stage.learning_rate, step, stage.epochs * how.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        progress = Progress(step, how.steps, epoch, stage.epochs, stage.name)
        place = torch.as_tensor(drawn.integers(n, size=how.batch_size))
        optimiser.zero_grad(set_to_none=True)
        terms = model.latent_losses({name: values[place] for name, values in rows.trained.items()}, progress)
        total = torch.stack(list(terms.values())).sum()
        if not bool(total.isfinite()):
            raise FloatingPointError(
                f"the loss of the stage {stage.name} is not finite at step {step}; lower its learning rate ({stage.learning_rate:g})."
            )
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        optimiser.step()
        model.after_step(progress)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach())
    means = {name: value / how.steps for name, value in sums.items()}
    row: dict[str, Any] = {"stage": stage.name, "epoch": epoch, "step": (epoch + 1) * how.steps, "learning_rate": rate}
    row |= means | {"total": sum(means.values())}
    if rows.watched is not None:
        row["held_out"] = _watched(model, rows.watched, Progress(row["step"], how.steps, epoch, stage.epochs, stage.name), seed)
    return row


@torch.no_grad()
def _watched(model: Model, rows: dict[str, Tensor], progress: Progress, seed: int) -> float:
    """The loss on the held-out patients, in evaluation mode, over draws that are the same at every epoch."""
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(runtime.derive_seed("watched", seed, progress.stage))
        losses = [torch.stack(list(model.latent_losses(rows, progress).values())).sum() for _ in range(WATCHED)]
    model.train()
    return float(torch.stack(losses).mean())


def _own_state(model: Model, stage: Stage) -> dict[str, Tensor]:
    """A copy of everything that the stage moves: its parameters, and all buffers (averages among them)."""
    names = {name for name, _ in model.trained_in(stage)} | {name for name, _ in model.named_buffers()}
    return {name: value.detach().clone() for name, value in model.state_dict().items() if name in names}


def _take(model: Model, state: dict[str, Tensor]) -> None:
    """Puts a state of `_own_state` back."""
    own = model.state_dict()
    for name, value in state.items():
        own[name].copy_(value)
