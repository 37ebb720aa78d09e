"""The transport problems that TTA's main text states on the way to its solver, and the instance loss: evaluated as printed."""

import math

import pytest
import torch

from prognos.nn.transport import curriculum_plan, soft_sink_plan
from tests.papers.tta_by_hand import PROGRESS, SURVIVAL, bag, tiny

GAMMA, EPSILON, N, K = 0.1, 0.1, 6, 3
Matrix = list[list[float]]


def cost() -> torch.Tensor:
    """Costs of six tokens at three prototypes."""
    return torch.rand(1, N, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def kl(x: list[float], y: list[float]) -> float:
    """Kullback-Leibler divergence as printed (Eq. 35), without linear terms: row sums are exact, so they are constants."""
    return sum(a * math.log(a / b) for a, b in zip(x, y, strict=True))


def column_sums(plan: Matrix) -> list[float]:
    """Q^T 1."""
    return [sum(row[k] for row in plan) for k in range(len(plan[0]))]


def entropic(plan: Matrix, costs: Matrix, prior: list[float]) -> float:
    """<Q, C> + gamma KL(Q^T 1 || prior) - epsilon H(Q), the objective of Eq. 7, 8, 11 and 34 with the entropy of Eq. 25."""
    transport = sum(q * c for row, cs in zip(plan, costs, strict=True) for q, c in zip(row, cs, strict=True))
    entropy = -sum(q * math.log(q) for row in plan for q in row)
    return transport + GAMMA * kl(column_sums(plan), prior) - EPSILON * entropy


def neighbours(plan: Matrix, count: int = 40) -> list[Matrix]:
    """Plans near this one with the same exact row sums 1/N."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for number in range(count):
        noise = torch.randn(len(plan), len(plan[0]), generator=generator, dtype=torch.float64) * 10 ** (-1 - 2 * number / count)
        moved = [[q * math.exp(float(noise[i, k])) for k, q in enumerate(row)] for i, row in enumerate(plan)]
        found.append([[q / sum(row) / N for q in row] for row in moved])
    return found


def scaling_loop(costs: Matrix, prior: list[float], sweeps: int = 3000) -> Matrix:
    """Algorithm 1 with exact rows and a Kullback-Leibler penalty on the columns."""
    g = [[math.exp(-c / EPSILON) for c in row] for row in costs]
    width, f = len(prior), GAMMA / (GAMMA + EPSILON)
    v = [1.0] * width
    for _ in range(sweeps):
        u = [1 / N / sum(g[i][k] * v[k] for k in range(width)) for i in range(N)]
        v = [(prior[k] / sum(g[i][k] * u[i] for i in range(N))) ** f for k in range(width)]
    u = [1 / N / sum(g[i][k] * v[k] for k in range(width)) for i in range(N)]
    return [[u[i] * g[i][k] * v[k] for k in range(width)] for i in range(N)]


def test_eq_6_with_exact_rows_and_penalised_columns_is_eq_7_and_rho_1_solves_it():
    costs = cost()
    plan = curriculum_plan(costs, 1.0, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-12).plan[0].tolist()
    uniform = [1 / K] * K
    assert [sum(row) for row in plan] == pytest.approx([1 / N] * N)  # F_1 of Eq. 6: exact, otherwise infinite
    best = entropic(plan, costs[0].tolist(), uniform)
    assert all(entropic(other, costs[0].tolist(), uniform) >= best for other in neighbours(plan))


def test_eq_8_as_printed_transports_everything_whatever_rho_is():
    costs = cost()
    low, high = (scaling_loop(costs[0].tolist(), [rho / K] * K) for rho in (0.2, 0.9))
    for row, other in zip(low, high, strict=True):
        assert row == pytest.approx(other)  # with exact rows, rho in the prior only adds a constant
    assert sum(column_sums(low)) == pytest.approx(1.0)
    for rho in (0.2, 0.9):
        ours = curriculum_plan(costs, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-12)
        assert float(ours.plan.sum()) == pytest.approx(rho)  # Eq. 29, which the text means


def test_no_plan_with_exact_rows_beats_the_soft_sink_at_eq_34():
    costs, rho = cost() - 0.5, 0.4  # some costs below that of the sink, so that both sides of the plan are used
    soft = soft_sink_plan(costs, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-12)
    extended = [[*row, sink] for row, sink in zip(soft.plan[0].tolist(), soft.sink[0].tolist(), strict=True)]
    with_sink = [[*row, 0.0] for row in costs[0].tolist()]
    prior = [rho / K] * K + [1 - rho]  # Eq. 33
    best = entropic(extended, with_sink, prior)
    assert all(entropic(other, with_sink, prior) >= best for other in neighbours(extended))
    assert abs(column_sums(extended)[K] - (1 - rho)) > 0.01  # as the text says below Eq. 34: the sink's mass is not exact


@torch.no_grad()
def test_eq_15_weighs_the_cross_entropies_of_the_modalities():
    model = tiny(histology_weight=0.3, omics_weight=2.0, instance_weight=0.5)
    of = model._together(bag(), PROGRESS).cross_entropy
    instance = 0.3 * float(of["histology"]) + 2.0 * float(of["omics"])
    assert float(model.losses(bag(), SURVIVAL, PROGRESS)["instance"]) == pytest.approx(0.5 * instance)
