"""The transport solver against the textbook loop and against POT: CPU time at equal accuracy, one thread.

    python benchmarks/transport.py

32 patients of 4,146 tokens and 32 prototypes, clustered as trained tokens are; gamma = epsilon = 0.1. Each side has a
process of its own and takes its turn with the other; the median of the rounds counts. The textbook side runs with
torch as it comes, ours with the settings that prognos applies; "equal settings" is the textbook loop in our process. Before
anything is timed, all plans are compared with Algorithm 2 in float64 (`log_domain_plan`), and each side gets the loosest
tolerance with which it is as accurate as is asked of both; "default" is ours as it is called without one. Costs are stored
token by token; "prototypes first" is ours on the same costs stored the other way.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from sides import Side, answer_each, apply_settings

BATCH, TOKENS, PROTOTYPES = 32, 4146, 32
KL_WEIGHT = EPSILON = 0.1
MASSES = {0.1: 50, 0.5: 15, 0.9: 8}  # rho -> least ratio
ACCURACY = 3e-5  # largest L1 distance of a plan to the float64 one, divided by rho; the textbook loop gets no further in float32
TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
ROUNDS = 7


def clustered_costs() -> Any:
    """Eq. 3-4 for tokens around prototypes: uneven clusters, some tokens near their prototype and some far."""
    import torch
    from torch.nn.functional import log_softmax, normalize

    generator = torch.Generator().manual_seed(1)
    prototypes = normalize(torch.randn(PROTOTYPES, 256, generator=generator), dim=1)
    weights = torch.rand(BATCH, PROTOTYPES, generator=generator).pow(3)
    cluster = torch.multinomial(weights, TOKENS, replacement=True, generator=generator)
    spread = 0.12 * torch.rand(BATCH, TOKENS, 1, generator=generator)
    tokens = normalize(prototypes[cluster] + spread * torch.randn(BATCH, TOKENS, 256, generator=generator), dim=2)
    return -log_softmax(tokens @ prototypes.T / 0.5, dim=2)


def textbook_plan(cost: Any, mass: float, tolerance: float) -> Any:
    """Algorithm 2 as anyone would write it: batched, in the exponential domain, until log v stands still."""
    import torch

    batch, tokens, prototypes = cost.shape
    extended = torch.cat([cost, cost.new_zeros(batch, tokens, 1)], dim=2)
    kernel = torch.exp(-extended / EPSILON)
    target = torch.cat([cost.new_full((prototypes,), mass / prototypes), cost.new_tensor([1 - mass])])[None, :, None]
    power = torch.full_like(target, KL_WEIGHT / (KL_WEIGHT + EPSILON))
    power[:, -1] = 1
    column = torch.ones_like(target).expand(batch, -1, -1)
    for _ in range(5000):
        row = (1 / tokens) / (kernel @ column)
        following = (target / (kernel.transpose(1, 2) @ row)) ** power
        change = (following.log() - column.log()).abs().max()
        column = following
        if change < tolerance:
            break
    row = (1 / tokens) / (kernel @ column)
    return (row * kernel * column.transpose(1, 2))[:, :, :-1]


def our_plan(cost: Any, mass: float, **tolerance: float) -> Any:
    """The plan of prognos."""
    from prognos.nn.transport import curriculum_plan

    return curriculum_plan(cost, mass, kl_weight=KL_WEIGHT, epsilon=EPSILON, **tolerance).plan


def pot_plans(cost: Any, mass: float, tolerance: float) -> Any:
    """Eq. 11, patient by patient, by POT in float64."""
    import numpy as np
    import ot

    batch, tokens, prototypes = cost.shape
    extended = np.concatenate([cost.double().numpy(), np.zeros((batch, tokens, 1))], axis=2)
    source, target = np.full(tokens, 1 / tokens), np.append(np.full(prototypes, mass / prototypes), 1 - mass)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"reg_type": "entropy", "stopThr": tolerance, "numItermax": 5000}
        plans = [ot.unbalanced.sinkhorn_unbalanced(source, target, one, EPSILON, (float("inf"), KL_WEIGHT), **options) for one in extended]
    return np.stack(plans)


def our_soft_plan(cost: Any, mass: float) -> Any:
    """Eq. 11 by prognos."""
    from prognos.nn.transport import soft_sink_plan

    return soft_sink_plan(cost, mass, kl_weight=KL_WEIGHT, epsilon=EPSILON)


def cpu_milliseconds(call: Callable[[], Any]) -> float:
    """CPU time of one call in this process."""
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def serve(side: str) -> None:
    """Answer questions from the parent process, one line of JSON each, until it has no more."""
    apply_settings(stock=side != "ours")
    cost = clustered_costs()
    prototypes_first = cost.transpose(1, 2).contiguous().transpose(1, 2)

    def answer(ask: dict[str, Any]) -> float:
        mass, tolerance = ask["mass"], ask.get("tolerance", 0.0)
        calls: dict[str, Callable[[], Any]] = {
            "textbook": lambda: textbook_plan(cost, mass, tolerance),
            "ours": lambda: our_plan(cost, mass, tolerance=tolerance),
            "default": lambda: our_plan(cost, mass),
            "prototypes first": lambda: our_plan(prototypes_first, mass, tolerance=tolerance),
            "pot": lambda: pot_plans(cost, mass, tolerance),
            "ours, soft": lambda: our_soft_plan(cost, mass),
        }
        return cpu_milliseconds(calls[ask["timed"]]) if "timed" in ask else accuracy(cost, mass, ask["checked"], tolerance)

    answer_each(answer)


def accuracy(cost: Any, mass: float, name: str, tolerance: float) -> float:
    """L1 distance of the plans to the float64 ones over rho; for POT, of its plans to ours."""
    import torch

    from prognos.nn.transport import log_domain_plan

    if name == "pot":
        ours, theirs = our_soft_plan(cost, mass), torch.from_numpy(pot_plans(cost, mass, tolerance))
        return float((torch.cat([ours.plan, ours.sink[:, :, None]], dim=2) - theirs).abs().sum(dim=(1, 2)).max())
    if mass not in REFERENCE:
        REFERENCE[mass] = log_domain_plan(cost, mass, kl_weight=KL_WEIGHT, epsilon=EPSILON).plan
    plan = our_plan(cost, mass, tolerance=tolerance) if name == "ours" else textbook_plan(cost, mass, tolerance)
    return float(((plan - REFERENCE[mass]).abs().sum(dim=(1, 2)) / mass).max())


REFERENCE: dict[float, Any] = {}


def alternated(questions: dict[str, tuple[Side, dict[str, Any]]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each question, asked in turns; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in questions}
    for turn in range(rounds + 1):
        for name, (side, question) in questions.items():
            value = side.ask(question)
            if turn > 0:
                times[name].append(value)
    return {name: statistics.median(values) for name, values in times.items()}


def loosest(side: Side, name: str, mass: float) -> tuple[float, float]:
    """The loosest tolerance that is accurate enough, and the error that it leaves."""
    for tolerance in TOLERANCES:
        error = side.ask({"checked": name, "mass": mass, "tolerance": tolerance})
        if error <= ACCURACY:
            return tolerance, error
    raise AssertionError(f"the plans of {name} stay {error:.1e} from the float64 ones")


def compare(rounds: int) -> bool:
    """Print the table; True when every ratio is reached."""
    stock, ours = Side(__file__, "stock"), Side(__file__, "ours")
    print(f"{BATCH} x {TOKENS} x {PROTOTYPES}, gamma = epsilon = {KL_WEIGHT}; CPU ms, one thread, median of {rounds} rounds")
    print(" rho textbook   ours   ratio needed | equal settings default prototypes first | L1 error / rho (tolerance)")
    reached = True
    for mass, needed in MASSES.items():
        (their_tolerance, their_error), (tolerance, error) = (loosest(ours, name, mass) for name in ("textbook", "ours"))
        textbook = {"timed": "textbook", "mass": mass, "tolerance": their_tolerance}
        questions: dict[str, tuple[Side, dict[str, Any]]] = {"stock": (stock, textbook), "equal": (ours, textbook)}
        for name in ("ours", "default", "prototypes first"):
            questions[name] = ours, {"timed": name, "mass": mass, "tolerance": tolerance}
        times = alternated(questions, rounds)
        ratio = {name: times["stock"] / times[name] for name in ("ours", "default", "prototypes first")}
        reached = reached and ratio["ours"] >= needed
        print(
            f"{mass:>4} {times['stock']:>8.0f} {times['ours']:>6.1f} {ratio['ours']:>6.1f}x {needed:>5}x | "
            f"{times['equal'] / times['ours']:>13.1f}x {ratio['default']:>6.1f}x {ratio['prototypes first']:>15.1f}x | "
            f"{their_error:.0e} ({their_tolerance:.0e}), ours {error:.0e} ({tolerance:.0e})"
        )
    difference = ours.ask({"checked": "pot", "mass": 0.5, "tolerance": 1e-6})
    assert difference <= ACCURACY, f"POT's plan and ours are {difference:.1e} apart"
    pot = {"timed": "pot", "mass": 0.5, "tolerance": 1e-6}
    times = alternated({"pot": (stock, pot), "ours": (ours, {"timed": "ours, soft", "mass": 0.5})}, rounds)
    print(
        f"Eq. 11 (all that POT can express): POT {times['pot']:.0f}, ours {times['ours']:.1f}, {times['pot'] / times['ours']:.1f}x; "
        f"plans {difference:.0e} apart"
    )
    stock.end()
    ours.end()
    return reached


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--side", choices=("stock", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
    else:
        sys.exit(0 if compare(arguments.rounds) else 1)
