"""Transport of TTA against its equations as printed: Sec. 3.2 and Appendix A, in float64 with loops."""

import math

import pytest
import torch

from prognos.nn.transport import curriculum_plan, differentiable_plan, log_domain_plan, soft_sink_plan

GAMMA, EPSILON, N, K = 0.1, 0.1, 7, 3


def _cost(seed=0, scale=1.0):
    return scale * torch.rand(1, N, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _plan(cost, rho, **options):
    return curriculum_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-12, **options)


def _prior(rho):
    """Eq. 10 and Eq. 33."""
    return [rho / K] * K + [1 - rho]


def _extended(cost):
    """Eq. 30."""
    return [[float(c) for c in row] + [0.0] for row in cost[0]]


def _columns(plan):
    """Column sums of the extended plan."""
    return [sum(float(plan.plan[0, i, k]) for i in range(N)) for k in range(K)] + [sum(float(x) for x in plan.sink[0])]


def _kl(x, y):
    """Generalised Kullback-Leibler divergence: Eq. 50 has its linear terms, Eq. 35 leaves them out."""
    return sum(a * math.log(a / b) - a + b if a > 0 else b for a, b in zip(x, y, strict=True))


def _objective(extended_plan, cost, rho):
    """Eq. 48 (Eq. 37 with entropy) for a plan whose sink is exact, so that its infinite weight has nothing to weigh."""
    kernel = [math.exp(-c / EPSILON) for row in _extended(cost) for c in row]
    sums = [sum(row[k] for row in extended_plan) for k in range(K)]
    return EPSILON * _kl([q for row in extended_plan for q in row], kernel) + GAMMA * _kl(sums, _prior(rho)[:K])


def _algorithm_2(cost, rho, iota, sweeps=4000):
    """Algorithm 2 line by line; returns the extended plan."""
    c = _extended(cost)
    gamma_hat = [GAMMA] * K + [iota]
    b, a = _prior(rho), 1 / N
    v = [1.0] * (K + 1)
    g = [[math.exp(-c[i][k] / EPSILON) for k in range(K + 1)] for i in range(N)]
    f = [weight / (weight + EPSILON) if weight < math.inf else 1.0 for weight in gamma_hat]
    for _ in range(sweeps):
        u = [a / sum(g[i][k] * v[k] for k in range(K + 1)) for i in range(N)]
        v = [(b[k] / sum(g[i][k] * u[i] for i in range(N))) ** f[k] for k in range(K + 1)]
    u = [a / sum(g[i][k] * v[k] for k in range(K + 1)) for i in range(N)]
    return [[u[i] * g[i][k] * v[k] for k in range(K + 1)] for i in range(N)]


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_algorithm_2_line_by_line_gives_the_plan(rho):
    cost = _cost()
    by_hand = _algorithm_2(cost, rho, math.inf)
    for plan in (_plan(cost, rho), log_domain_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON)):
        for i in range(N):
            for k in range(K):
                assert float(plan.plan[0, i, k]) == pytest.approx(by_hand[i][k], abs=1e-9)
            assert float(plan.sink[0, i]) == pytest.approx(by_hand[i][K], abs=1e-9)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_eq_54_is_a_fixed_point(rho):
    cost = _cost()
    plan = _plan(cost, rho)
    c, b = _extended(cost), _prior(rho)
    g = [[math.exp(-c[i][k] / EPSILON) for k in range(K + 1)] for i in range(N)]
    v = [math.exp(float(x)) for x in plan.log_column[0]]
    v.append(float(plan.sink[0, 0]) * g[0][0] * v[0] / float(plan.plan[0, 0, 0]))  # from Eq. 47
    f = [GAMMA / (GAMMA + EPSILON)] * K + [1.0]  # Eq. 46 with the weights of Eq. 36
    u = [(1 / N) / sum(g[i][k] * v[k] for k in range(K + 1)) for i in range(N)]
    for k in range(K + 1):
        assert (b[k] / sum(g[i][k] * u[i] for i in range(N))) ** f[k] == pytest.approx(v[k], rel=1e-9)
    for i in range(N):
        for k in range(K):
            assert float(plan.plan[0, i, k]) == pytest.approx(u[i] * g[i][k] * v[k], rel=1e-9)  # Eq. 47


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.5, 1.0])
def test_eq_44_holds_the_plan_and_eq_31_its_sink(rho):
    plan = _plan(_cost(), rho)
    for i in range(N):
        row = sum(float(plan.plan[0, i, k]) for k in range(K))
        assert row <= 1 / N + 1e-12  # Eq. 42
        assert row + float(plan.sink[0, i]) == pytest.approx(1 / N, abs=1e-12)  # Eq. 40, 41
    assert sum(_columns(plan)[:K]) == pytest.approx(rho, abs=1e-11)  # Eq. 43
    assert _columns(plan)[K] == pytest.approx(1 - rho, abs=1e-11)  # Eq. 32


@pytest.mark.parametrize("rho", [0.2, 0.7])
def test_no_feasible_plan_beats_the_solution_of_eq_29(rho):
    cost = _cost()
    plan = _plan(cost, rho)
    best = [[float(plan.plan[0, i, k]) for k in range(K)] + [float(plan.sink[0, i])] for i in range(N)]
    least = _objective(best, cost, rho)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        i, j = torch.randperm(N, generator=generator)[:2].tolist()
        k, m = torch.randperm(K + 1, generator=generator)[:2].tolist()
        if m == K:  # the sink's sum must stay: two tokens trade with it
            k, m = m, k
        amount = 0.3 * min(best[i][k], best[j][m], best[j][k], best[i][m])
        other = [list(row) for row in best]
        other[i][k] -= amount
        other[i][m] += amount
        if k == K:
            other[j][k] += amount
            other[j][m] -= amount
        assert _objective(other, cost, rho) >= least - 1e-14


def test_the_optimality_conditions_of_eq_37_hold():
    rho = 0.4
    cost = _cost()
    plan = _plan(cost, rho)
    sums = _columns(plan)
    levels = []
    for i in range(N):
        for k in range(K):
            q, eta = float(plan.plan[0, i, k]), float(plan.sink[0, i])
            levels.append(EPSILON * math.log(q / eta) + float(cost[0, i, k]) + GAMMA * math.log(sums[k] / (rho / K)))
    assert max(levels) - min(levels) < 1e-9  # the multiplier of the sink's sum, the same for all


def test_a_large_iota_approaches_the_infinite_weight_of_eq_36():
    cost, rho = _cost(), 0.5
    exact = _algorithm_2(cost, rho, math.inf)
    distances = []
    for iota in (0.1, 10.0, 1000.0):
        near = _algorithm_2(cost, rho, iota)
        distances.append(sum(abs(near[i][k] - exact[i][k]) for i in range(N) for k in range(K)))
    assert distances[0] > 10 * distances[1] > 100 * distances[2]


def test_eq_45_the_objectives_of_eq_37_and_eq_29_agree():
    rho, weight = 0.3, 1e6  # in place of infinity
    cost = _cost()
    plan = _plan(cost, rho)
    c, sums, prior = _extended(cost), _columns(plan), _prior(rho)
    rows = [[float(plan.plan[0, i, k]) for k in range(K)] + [float(plan.sink[0, i])] for i in range(N)]
    moved = sum(rows[i][k] * c[i][k] for i in range(N) for k in range(K + 1))
    weighted = sum(w * _kl([x], [b]) for w, x, b in zip([GAMMA] * K + [weight], sums, prior, strict=True))  # Eq. 35
    short = sum(rows[i][k] * float(cost[0, i, k]) for i in range(N) for k in range(K)) + GAMMA * _kl(sums[:K], prior[:K])
    assert moved + weighted == pytest.approx(short, abs=1e-9)
    # Eq. 39: without the linear terms the divergences of the prototypes are the same, since both sum to rho
    assert sum(x * math.log(x / b) for x, b in zip(sums[:K], prior[:K], strict=True)) == pytest.approx(_kl(sums[:K], prior[:K]), abs=1e-9)


@pytest.mark.parametrize(("weight", "b", "y"), [(0.1, 0.2, 0.7), (1.0, 0.5, 0.1), (1e9, 0.3, 0.9)])
def test_eq_52_is_the_minimiser_of_eq_50(weight, b, y):
    f = weight / (weight + EPSILON)
    x = b**f * y ** (1 - f)  # Eq. 52, 53

    def objective(z):
        return (weight * _kl([z], [b]) + EPSILON * _kl([z], [y])) / (weight + EPSILON)

    assert objective(x) <= min(objective(x * (1 + step)) for step in (-0.1, -0.01, 0.01, 0.1))
    assert weight * math.log(x / b) + EPSILON * math.log(x / y) == pytest.approx(0, abs=1e-6 * weight)
    if weight == 1e9:
        assert x == pytest.approx(b)  # Eq. 36: an infinite weight is a hard marginal


def test_rho_1_is_eq_28_the_loop_without_a_sink():
    cost = _cost()
    g = [[math.exp(-float(c) / EPSILON) for c in row] for row in cost[0]]
    v, f = [1.0] * K, GAMMA / (GAMMA + EPSILON)
    for _ in range(200):
        u = [(1 / N) / sum(g[i][k] * v[k] for k in range(K)) for i in range(N)]
        v = [((1 / K) / sum(g[i][k] * u[i] for i in range(N))) ** f for k in range(K)]
    plan = _plan(cost, 1.0)
    for i in range(N):
        for k in range(K):
            assert float(plan.plan[0, i, k]) == pytest.approx(u[i] * g[i][k] * v[k], abs=1e-10)
        assert float(plan.sink[0, i]) == 0


def test_eq_11_as_printed_sends_nearly_everything_to_the_sink():
    logits = 2 * torch.rand(1, 200, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cost = -torch.log_softmax(logits, dim=2)  # Eq. 4
    for rho in (0.1, 0.5, 0.9):
        soft = soft_sink_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON)
        assert float(soft.sink.sum()) > 0.999
        assert float(_plan(cost, rho).sink.sum()) == pytest.approx(1 - rho, abs=1e-9)


def test_eq_11_is_algorithm_2_with_the_prototypes_weight_on_the_sink():
    cost, rho = _cost(scale=2) - 1, 0.4
    by_hand = _algorithm_2(cost, rho, GAMMA)
    soft = soft_sink_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-12)
    for i in range(N):
        for k in range(K):
            assert float(soft.plan[0, i, k]) == pytest.approx(by_hand[i][k], abs=1e-10)
        assert float(soft.sink[0, i]) == pytest.approx(by_hand[i][K], abs=1e-10)


def test_the_plain_loop_needs_the_more_sweeps_the_smaller_rho_is():
    cost = _cost()
    plain = [int(log_domain_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-6).iterations) for rho in (0.05, 0.2, 0.8)]
    ours = [int(curriculum_plan(cost, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-6).iterations) for rho in (0.05, 0.2, 0.8)]
    assert plain[0] > 2 * plain[1] > 4 * plain[2]
    assert max(ours) < 20


def test_cheap_tokens_are_selected_first():
    cost = torch.arange(N, dtype=torch.float64)[None, :, None].expand(1, N, K).contiguous()
    shares = _plan(cost, 3 / N).plan.sum(dim=2)[0] * N
    assert (shares.diff() <= 0).all()
    assert (shares[:3] > 0.99).all()
    assert (shares[3:] < 0.01).all()


def test_the_gradient_of_the_plan_is_that_of_eq_54_by_differences():
    cost, rho, step = _cost(), 0.4, 1e-6
    leaf = cost.clone().requires_grad_()
    weights = _cost(seed=1)
    plan = differentiable_plan(leaf, rho, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-13)
    (plan.plan * weights).sum().backward()
    for i, k in ((0, 0), (3, 1), (6, 2)):
        values = []
        for sign in (1, -1):
            moved = cost.clone()
            moved[0, i, k] += sign * step
            rows = _algorithm_2(moved, rho, math.inf, sweeps=2000)
            values.append(sum(rows[n][m] * float(weights[0, n, m]) for n in range(N) for m in range(K)))
        assert float(leaf.grad[0, i, k]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-6)
