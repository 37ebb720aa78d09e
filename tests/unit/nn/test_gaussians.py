import pytest
import torch
from torch.distributions import Normal, kl_divergence

from prognos.nn.gaussians import Gaussian, kl_to_standard, log_density, product_of_experts

GENERATOR = torch.Generator().manual_seed(3)
ONE, OTHER = (Gaussian(*torch.randn(2, 4, 3, generator=GENERATOR, dtype=torch.float64)) for _ in range(2))
EVERYONE = torch.ones(4, dtype=torch.bool)


def as_normal(of: Gaussian) -> Normal:
    return Normal(of.mean, torch.exp(of.log_variance).sqrt())


def test_density_and_divergence_are_those_of_torch():
    at = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
    standard = Normal(torch.zeros(4, 3, dtype=torch.float64), 1.0)
    assert torch.allclose(log_density(ONE, at), as_normal(ONE).log_prob(at).sum(dim=1))
    assert torch.allclose(kl_to_standard(ONE), kl_divergence(as_normal(ONE), standard).sum(dim=1))


def test_a_product_has_the_density_of_the_product_up_to_a_constant():
    product = product_of_experts([ONE, OTHER], [EVERYONE, EVERYONE])
    prior = Gaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    points = torch.randn(2, 4, 3, generator=GENERATOR, dtype=torch.float64)
    together = [sum(log_density(of, at) for of in (prior, ONE, OTHER)) for at in points]
    assert torch.allclose(log_density(product, points[0]) - log_density(product, points[1]), together[0] - together[1])


def test_experts_count_by_their_variance():
    near, far = (Gaussian(torch.full((1, 1), 1.0), torch.full((1, 1), variance).log()) for variance in (1.0, 4.0))
    has = torch.ones(1, dtype=torch.bool)
    found = product_of_experts([near, far], [has, has])
    precision = 1 + 1 / 1 + 1 / 4  # by standard deviations it would be 1 + 1 / 1 + 1 / 2
    assert float(found.log_variance.exp()) == pytest.approx(1 / precision)
    assert float(found.mean) == pytest.approx((1 / 1 + 1 / 4) / precision)


def test_an_expert_that_a_patient_has_not_does_not_count_and_without_one_the_prior_remains():
    first = torch.tensor([True, False, True, False])
    found = product_of_experts([ONE, OTHER], [first, ~EVERYONE])
    alone = product_of_experts([ONE], [EVERYONE])
    assert torch.allclose(found.mean[first], alone.mean[first])
    assert not bool(found.mean[~first].any())
    assert not bool(found.log_variance[~first].any())


def test_a_draw_is_the_mean_without_noise_and_has_a_gradient_for_both_with_it():
    mean, log_variance = torch.tensor([[2.0]], requires_grad=True), torch.tensor([[4.0]]).log().requires_grad_()
    of = Gaussian(mean, log_variance)
    assert torch.equal(of.drawn(None), mean)
    drawn = of.drawn(torch.tensor([[0.5]]))
    drawn.backward()
    assert float(drawn.detach()) == pytest.approx(2.0 + 2.0 * 0.5)
    assert (float(mean.grad), float(log_variance.grad)) == (1.0, pytest.approx(2.0 * 0.5 / 2))
