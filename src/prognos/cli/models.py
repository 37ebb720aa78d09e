"""The verb about the table of models: models."""

import sys
from typing import Annotated, Any

import typer

from prognos.cli.cohorts import Quiet
from prognos.cli.terminal import WIDTH, tell

N_PATCHES, D_PATCH, N_PATHWAYS, N_GENES = 4096, 1024, 50, 4241
"""What the cost of a model is measured on: a bag and gene sets as in TTA's paper."""


def models(
    measure: Annotated[bool, typer.Option("--measure", help="Measure parameters and time a patient on this machine.")] = False,
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
    costs = ("parameters", "train ms", "predict ms") if measure else ()
    for name in ("model", "what it does", "reads", "a patient may lack", "paper", *costs):
        table.add_column(name)
    for name, entry in MODELS.items():
        needs = entry.load().needs
        lack = "nothing of it" if len(needs.modalities) < 2 else " or ".join(needs.modalities)
        cells = [name, entry.summary, ", ".join(needs.modalities) or "nothing", lack, entry.paper]
        table.add_row(*cells, *(measured(entry) if measure else ()))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table)
    if measure and not quiet:
        tell(f"one patient of {N_PATCHES} patches x {D_PATCH}, {N_PATHWAYS} pathways, {N_GENES} genes; CPU time, one thread")


def measured(entry: Any) -> tuple[str, str, str]:
    """Parameters, and CPU milliseconds a patient of one training step (forward and backward) and of one prediction."""
    import time

    import torch

    from prognos.types import InputShape, Progress, Survival

    torch.manual_seed(0)
    shape = InputShape(D_PATCH, (N_GENES // N_PATHWAYS,) * N_PATHWAYS, N_GENES, {"clinical": 6})
    kind = entry.load()
    model = kind(kind.Config(**entry.config), shape)
    if kind.needs.parts:
        from prognos.models import MODELS

        parts = {name: MODELS[name].load() for name in kind.needs.parts}
        model.take_parts({name: part(part.Config(), shape) for name, part in parts.items()})
    n_patients = 4
    bag = _bag(kind, n_patients)
    survival = Survival(torch.arange(1.0, n_patients + 1), torch.ones(n_patients, dtype=torch.bool))
    if hasattr(model.head, "learn_marginal"):
        model.head.learn_marginal(survival)

    def train() -> None:
        sum(model.losses(bag, survival, Progress(0, 1, 0, 1)).values()).backward()

    def look() -> None:
        with torch.no_grad():
            model(bag)

    def milliseconds(act: Any) -> str:
        act()
        begun = time.process_time()
        act()
        return f"{(time.process_time() - begun) * 1000 / n_patients:.1f}"

    spent = milliseconds(train) if kind.trained else "-"
    model.eval()
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}", spent, milliseconds(look)


def _bag(kind: Any, n_patients: int) -> Any:
    import torch

    from prognos.types import Bag, Tokens

    values = {
        "histology": torch.randn(n_patients, N_PATCHES, D_PATCH).half(),
        "clinical": torch.randn(n_patients, 1, 6),
        "omics": torch.randn(n_patients, N_PATHWAYS, N_GENES // N_PATHWAYS)
        if kind.needs.omics == "pathways"
        else torch.randn(n_patients, 1, N_GENES),
    }
    tokens = {name: Tokens(values[name], torch.ones(values[name].shape[:2], dtype=torch.bool)) for name in kind.needs.modalities}
    return Bag(tuple(f"patient {number}" for number in range(n_patients)), tokens)
