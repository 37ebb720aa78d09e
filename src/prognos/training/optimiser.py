"""The optimiser of every stage, and the learning rate of every step."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from prognos.training.recipe import TrainingConfig

MOMENTUM = 0.9


def make_optimiser(
    parameters: Iterable[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float, kind: str = "adamw"
) -> torch.optim.Optimizer:
    """The optimiser of a stage; matrices decay, and biases (also when several layers' are stacked), norms and other vectors do not.

    Args:
        parameters: by name.
        learning_rate: peak.
        weight_decay: decoupled from the gradient in AdamW, added to the gradient in the others.
        kind: `adamw`, `adam`, `radam`, or `sgd` with a momentum of 0.9.
    """
    trained = [(p, p.ndim > 1 and not name.endswith("bias")) for name, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p, decays in trained if decays], "weight_decay": weight_decay},
        {"params": [p for p, decays in trained if not decays], "weight_decay": 0.0},
    ]
    match kind:
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate, fused=True)
        case "radam":
            return torch.optim.RAdam(groups, lr=learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM)
    raise ValueError(f"no optimiser is called {kind!r}; choose adamw, adam, radam or sgd.")


def learning_rate(recipe: TrainingConfig, peak: float, step: int, n_steps: int) -> float:
    """Linear over the warm-up, then a half cosine to 0, or constant."""
    n_warm = round(recipe.warmup * n_steps)
    if step < n_warm:
        return peak * (step + 1) / n_warm
    if recipe.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))
