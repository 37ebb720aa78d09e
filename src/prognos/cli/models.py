"""The verb about the table of models: models."""

import math
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from prognos.cli.cohorts import Quiet
from prognos.cli.terminal import WIDTH, tell

N_PATCHES, D_PATCH, N_PATHWAYS, N_GENES = 4096, 1024, 50, 4241
"""What a model is built for, and what its cost is measured on: a bag and gene sets as in TTA's paper."""
N_PATIENTS = 4
"""Patients in the batch that is measured."""


def models(
    measure: Annotated[bool, typer.Option("--measure", help="Measure time and memory of a patient on this machine.")] = False,
    quiet: Quiet = False,
) -> None:
    """The table of models: paper, modalities, what happens when one is missing, cost."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from prognos import runtime
    from prognos.models import MODELS

    if measure:
        runtime.apply_host_settings(threads=1)
    table = Table(box=box.SIMPLE_HEAD)
    costs = ("train ms", "predict ms", "memory MB") if measure else ()
    for name in ("model", "what it does", "reads", "a patient may lack", "paper", "parameters", *costs):
        table.add_column(name)
    for name, entry in MODELS.items():
        needs = entry.load().needs
        lack = "nothing of it" if len(needs.modalities) < 2 else " or ".join(needs.modalities)
        model = built(entry)
        parameters = f"{sum(parameter.numel() for parameter in model.parameters()):,}"
        cells = [name, entry.summary, ", ".join(needs.modalities) or "nothing", lack, entry.paper, parameters]
        table.add_row(*cells, *(measured(model) if measure else ()))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table)
    if not quiet:
        tell(f"parameters: for patches of width {D_PATCH}, {N_PATHWAYS} pathways of {N_GENES // N_PATHWAYS} features, {N_GENES} genes")
    if measure and not quiet:
        tell(
            f"time and memory: patients of {N_PATCHES} patches; CPU time of one patient, one thread; memory of a training step of "
            f"{N_PATIENTS} patients beyond what was held before; nothing was learnt from patients: memories of them are empty"
        )


def built(entry: Any) -> Any:
    """An untrained model for patients of the standard sizes, with its parts where it is made of some."""
    import torch

    from prognos.models import MODELS
    from prognos.types import InputShape

    torch.manual_seed(0)
    shape = InputShape(D_PATCH, (N_GENES // N_PATHWAYS,) * N_PATHWAYS, N_GENES, {"clinical": 6})
    kind = entry.load()
    model = kind(kind.Config(**entry.config), shape)
    if kind.needs.parts:
        model.take_parts({name: built(MODELS[name]) for name in kind.needs.parts})
    return model


def measured(model: Any) -> tuple[str, str, str]:
    """Of a patient: CPU milliseconds of one training step (forward and backward) and of one prediction; memory of a step in MB."""
    import torch

    from prognos.types import Progress, Survival

    bag = _bag(model.needs)
    survival = Survival(torch.arange(1.0, N_PATIENTS + 1), torch.ones(N_PATIENTS, dtype=torch.bool))
    model.head.learn_marginal(survival)

    def train() -> None:
        sum(model.losses(bag, survival, Progress(0, 1, 0, 1)).values()).backward()

    def look() -> None:
        with torch.no_grad():
            model(bag)

    trained = type(model).trained
    spent, memory = _cost(train) if trained else ("-", "-")
    model.eval()
    asked, memory_of_look = _cost(look)
    return spent, asked, memory if trained else memory_of_look


def _cost(act: Callable[[], None]) -> tuple[str, str]:
    """CPU milliseconds a patient, and memory in MB; of the second time, as the first one sets things up."""
    import time

    from prognos import runtime

    act()
    with runtime.PeakMemory() as memory:
        begun = time.process_time()
        act()
        spent = time.process_time() - begun
    beyond = "-" if memory.before is None or memory.most is None else f"{(memory.most - memory.before) / 1e6:,.0f}"
    return f"{spent * 1000 / N_PATIENTS:.1f}", beyond


def _bag(needs: Any) -> Any:
    import torch

    from prognos.types import Bag, Tokens

    values = {
        "histology": torch.randn(N_PATIENTS, N_PATCHES, D_PATCH).half(),
        "clinical": torch.randn(N_PATIENTS, 1, 6),
        "omics": torch.randn(N_PATIENTS, N_PATHWAYS, N_GENES // N_PATHWAYS)
        if needs.omics == "pathways"
        else torch.randn(N_PATIENTS, 1, N_GENES),
    }
    side = math.isqrt(N_PATCHES - 1) + 1  # a square slide of patches of 256 pixels
    corners = 256 * torch.stack([torch.arange(N_PATCHES) % side, torch.arange(N_PATCHES) // side], dim=1)
    coords = {"histology": corners.expand(N_PATIENTS, -1, -1)}
    tokens = {
        name: Tokens(values[name], torch.ones(values[name].shape[:2], dtype=torch.bool), coords.get(name)) for name in needs.modalities
    }
    return Bag(tuple(f"patient {number}" for number in range(N_PATIENTS)), tokens)
