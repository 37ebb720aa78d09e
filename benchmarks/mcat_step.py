"""One training step of MCAT, lean against plain: CPU time and memory, one thread.

    python benchmarks/mcat_step.py [--patches 4096] [--patients 1] [--rounds 15]

A step is loss and gradients of patients of 4,096 patches x 1,024 features and six groups of genes, discrete time, preset `mcat-paper`.
The plain side is the model as anyone would write it: torch's dropout, keys and values of every patch, a network of its own for each
group. "Stock" runs it with torch as it comes, "equal" under the settings that prognos applies, which ours has. Each side has a process
of its own and takes its turn with the others; the median of the rounds counts. Before anything is timed, loss and gradients without
dropout are compared. The floor is the one product that nobody can avoid, patches into tokens and its gradient for the weights.
"""

import argparse
import math
import resource
import statistics
import time
from typing import Any

from sides import Side, answer_each, apply_settings

D_PATCH, SIZES, SEED, TOLERANCE = 1024, (82, 323, 514, 443, 1535, 450), 0, 1e-5
SIDES = ("stock", "equal", "ours")


def plain_groups(encoder: Any, values: Any, dropout: Any) -> Any:
    """Group by group."""
    import torch
    from torch.nn.functional import elu

    tokens = []
    for c, size in enumerate(SIZES):
        hidden = dropout(elu(values[:, c, :size] @ encoder.first_weight[c, :size] + encoder.first_bias[c]))
        tokens.append(dropout(elu(hidden @ encoder.second_weight[c] + encoder.second_bias[c])))
    return torch.stack(tokens, dim=1)


def plain_look(attention: Any, groups: Any, patches: Any) -> Any:
    """What groups see: every patch has a key and a value."""
    import torch

    query, key, value = attention.query(groups), attention.key(patches), attention.value(patches)
    weights = torch.softmax(query @ key.T / math.sqrt(key.shape[1]), dim=1)
    return attention.output(weights @ value)


def plain_loss(model: Any, bag: Any, survival: Any) -> Any:
    """MCAT patient by patient, then its loss."""
    import torch
    from torch.nn.functional import alpha_dropout, dropout

    share = model.config.dropout if model.training else 0.0
    groups = plain_groups(model.groups, bag["omics"].values, lambda values: alpha_dropout(values, share, model.training))
    rows = bag["histology"].values.to(torch.float32)
    tokens = [dropout(torch.relu(model.patches.linear(patches)), share, model.training) for patches in rows]
    found = torch.stack([plain_look(model.co_attention, g, h) for g, h in zip(groups, tokens, strict=True)])
    joined = model.join(torch.cat([model.histology(found)[0], model.omics(groups)[0]], dim=1))
    return model.head.loss(model.head(joined), survival)


def serve(side: str, patches: int, patients: int) -> None:
    """Answer with the time of a step, or with its loss and some gradients."""
    apply_settings(stock=side == "stock")
    import torch

    from prognos.models import entry_of
    from prognos.types import Bag, InputShape, Progress, Survival, Tokens

    torch.manual_seed(SEED)
    entry = entry_of("mcat-paper")
    kind = entry.load()
    model = kind(kind.Config(**entry.config), InputShape(D_PATCH, SIZES))
    real = torch.tensor([[column < size for column in range(max(SIZES))] for size in SIZES])
    omics = Tokens(torch.randn(patients, len(SIZES), max(SIZES)) * real, torch.ones(patients, len(SIZES), dtype=torch.bool))
    histology = Tokens(torch.randn(patients, patches, D_PATCH).half(), torch.ones(patients, patches, dtype=torch.bool))
    bag = Bag(tuple(map(str, range(patients))), {"histology": histology, "omics": omics})
    survival = Survival(torch.rand(patients) * 1000, torch.ones(patients, dtype=torch.bool))
    model.head.learn_marginal(survival)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def step() -> Any:
        model.zero_grad(set_to_none=True)
        progress = Progress(0, 1, 0, 1, "main")
        loss = sum(model.losses(bag, survival, progress).values()) if side == "ours" else plain_loss(model, bag, survival)
        loss.backward()
        return loss

    def answer(question: str) -> dict[str, Any]:
        model.train(question == "time")
        start = time.process_time()
        if question == "floor":
            weight = torch.randn(D_PATCH, model.config.d_model)
            rows = torch.randn(patches, D_PATCH)
            start = time.process_time()
            for _ in range(patients):
                rows.T @ (rows @ weight)
            return {"seconds": time.process_time() - start}
        loss = step()
        seconds = time.process_time() - start
        gradients = [model.patches.linear.weight.grad[:2], model.co_attention.key.weight.grad[:2], model.groups.first_weight.grad[0, :2]]
        values = torch.cat([loss.detach()[None], *(part.flatten() / part.abs().max() for part in gradients)])
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
        return {"seconds": seconds, "peak": peak, "values": values.tolist() if question == "values" else []}

    answer_each(answer)


def compare(options: argparse.Namespace) -> None:
    """Print the table."""
    sizes = ["--patches", str(options.patches), "--patients", str(options.patients)]
    sides = {name: Side(__file__, name, sizes) for name in SIDES}
    values = {name: side.ask("values")["values"] for name, side in sides.items()}
    apart = max(abs(a - b) for a, b in zip(values["stock"], values["ours"], strict=True))
    assert apart <= TOLERANCE, f"loss and gradients of the lean step are {apart:.1e} from the plain ones"
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    floors = []
    for _ in range(options.rounds + 1):  # the first warms up
        for name, side in sides.items():
            answers[name].append(side.ask("time"))
        floors.append(sides["ours"].ask("floor")["seconds"])
    for side in sides.values():
        side.end()
    seconds = {name: statistics.median(answer["seconds"] for answer in given[1:]) for name, given in answers.items()}
    floor = statistics.median(floors[1:])
    print(f"{options.patients} patients x {options.patches} patches x {D_PATCH}, one thread, CPU ms, median of {options.rounds} rounds")
    for name in SIDES:
        ratio, of_floor, peak = seconds[name] / seconds["ours"], seconds[name] / floor, answers[name][-1]["peak"]
        print(f"{name:<6} {1e3 * seconds[name]:7.1f} ms, {ratio:4.2f} times ours, {of_floor:4.1f} of the floor, {peak:5.0f} MB")
    print(f"loss and gradients without dropout: {apart:.0e} apart")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patches", type=int, default=4096)
    parser.add_argument("--patients", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side, arguments.patches, arguments.patients)
    else:
        compare(arguments)
