"""Five generators behind one interface: what each gives, what it learns and what travels with the weights."""

import copy
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from prognos.nn.generators import Diffusion, Generator, latent_generator
from prognos.training.checkpoint import load_state

KINDS = ["diffusion", "regressor", "mean", "zero", "nearest"]
SMALL = {"layers": 2, "heads": 2, "d_hidden": 16, "steps": 10}


def _generator(kind: str, **options) -> Generator:
    torch.manual_seed(0)
    return latent_generator(kind, 8, **{**SMALL, **options})


def _fold(n: int = 12, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return 3.0 + 2.0 * torch.randn(n, 8, generator=generator), torch.randn(n, 8, generator=generator)


def _learnt(kind: str, **options) -> tuple[Generator, torch.Tensor, torch.Tensor]:
    generator, (target, condition) = _generator(kind, **options), _fold()
    generator.learn(target, condition)
    return generator, target, condition


def _noise(draws: int, batch: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(draws, batch, 8, generator=torch.Generator().manual_seed(seed))


def _train(generator: Generator, target, condition, prior, n_steps: int, rate: float = 3e-3) -> None:
    optimiser = torch.optim.Adam(generator.parameters(), lr=rate)
    for _ in range(n_steps):
        optimiser.zero_grad()
        generator.loss(target, condition, prior).backward()
        optimiser.step()
        generator.after_step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_a_vector_for_each_draw_and_patient_and_no_gradient(kind):
    generator, _, condition = _learnt(kind)
    sample = generator.sample(condition.requires_grad_(), torch.ones(8), _noise(3, 12))
    assert sample.shape == (3, 12, 8)
    assert not sample.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_draws_nothing(kind):
    generator, _, condition = _learnt(kind)
    before = torch.get_rng_state()
    once = generator.sample(condition, None, _noise(2, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generator.sample(condition, None, _noise(2, 12)), once)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_differ_only_where_a_generator_says_so(kind):
    generator, _, condition = _learnt(kind)
    first, second = generator.sample(condition, None, _noise(2, 12))
    assert torch.equal(first, second) is not generator.stochastic
    assert generator.stochastic == (kind == "diffusion")
    assert generator.trained == (kind in ("diffusion", "regressor"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_prior", [True, False])
def test_one_patient_alone_gives_what_it_gives_in_a_batch(kind, with_prior):
    generator, _, condition = _learnt(kind)
    prior, noise = torch.ones(8) if with_prior else None, _noise(5, 12)
    batch = generator.sample(condition, prior, noise)
    for patient in (0, 7):
        alone = generator.sample(condition[patient : patient + 1], prior, noise[:, patient : patient + 1])
        assert torch.allclose(alone[:, 0], batch[:, patient], atol=1e-5)
    assert torch.allclose(generator.sample(condition, prior, noise[2:3])[0], batch[2], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_that_was_saved_and_loaded_gives_the_same(kind, tmp_path):
    generator, target, condition = _learnt(kind)
    if generator.trained:
        _train(generator, target, condition, torch.ones(8), 2)
    save_file(generator.state_dict(), tmp_path / "weights.safetensors")  # refuses tensors that share memory
    other = latent_generator(kind, 8, **SMALL)
    load_state(other, load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other.sample(condition, None, _noise(2, 12)), generator.sample(condition, None, _noise(2, 12)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_used_in_inference_mode_can_be_trained_and_samples_can_enter_a_gradient(kind):
    generator, target, condition = _learnt(kind)
    with torch.inference_mode():
        generator.sample(condition, None, _noise(1, 12))
    weight = torch.ones(8, requires_grad=True)
    (weight * generator.sample(condition, None, _noise(1, 12))).sum().backward()
    if generator.trained:
        _train(generator, target, condition, None, 1)


def test_training_mean_and_standard_deviation_are_learnt_and_a_constant_dimension_is_only_centred():
    generator = _generator("mean")
    target = torch.stack([torch.full((3,), 0.1), torch.tensor([1.0, 2.0, 6.0]), *torch.zeros(6, 3)], dim=1)
    generator.learn(target, target)
    assert generator.target_mean[:2].tolist() == pytest.approx([0.1, 3.0])
    assert generator.target_sd[:2].tolist() == pytest.approx([1.0, (14 / 3) ** 0.5])
    assert generator.standard_condition(target)[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert torch.allclose(generator.from_standard(generator.standard_target(target)), target, atol=1e-6)


def test_no_training_patient_is_moved_to_the_border_and_a_far_one_is():
    generator, _, condition = _learnt("regressor")
    sd = condition.std(dim=0, correction=0)
    assert torch.allclose(generator.standard_condition(condition), (condition - condition.mean(0)) / sd, atol=1e-6)
    assert generator.standard_condition(torch.full((1, 8), 1e30)).unique().tolist() == pytest.approx([12**0.5])


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_without_a_complete_patient_is_refused(kind):
    with pytest.raises(
        ValueError, match="a generator learns from training patients who have both modalities, and there are 0; take a cohort"
    ):
        _generator(kind).learn(torch.zeros(0, 8), torch.zeros(0, 8))


def test_no_neighbour_is_refused():
    with pytest.raises(ValueError, match=r"the nearest patients must be at least 1, got neighbours = 0"):
        latent_generator("nearest", 8, neighbours=0)


def test_the_training_mean_is_the_mean_and_zero_is_zero():
    mean, target, condition = _learnt("mean")
    assert torch.allclose(mean.sample(condition, None, _noise(2, 12)), target.mean(0).expand(2, 12, 8), atol=1e-6)
    zero, _, _ = _learnt("zero")
    assert zero.sample(condition, None, _noise(2, 12)).abs().max() == 0


@pytest.mark.parametrize("neighbours", [1, 5, 40])
def test_nearest_is_the_mean_of_the_nearest_training_patients(neighbours):
    generator, target, condition = _learnt("nearest", neighbours=neighbours)
    _, queries = _fold(4, seed=9)
    standard = (condition - condition.mean(0)) / condition.std(0, correction=0)
    sampled = generator.sample(queries, None, _noise(1, 4))[0]
    for query, value in zip(queries, sampled, strict=True):
        at = (query - condition.mean(0)) / condition.std(0, correction=0)
        order = sorted(range(12), key=lambda patient: float(((standard[patient] - at) ** 2).sum()))
        assert torch.allclose(value, target[order[: min(neighbours, 12)]].mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "zero", "nearest"])
def test_generators_without_training_have_no_weights_and_no_loss(kind):
    generator, target, condition = _learnt(kind)
    assert not list(generator.parameters())
    generator.after_step()
    with pytest.raises(NotImplementedError, match="has no training by gradients"):
        generator.loss(target, condition, None)


@pytest.mark.parametrize("kind", ["diffusion", "regressor"])
def test_only_the_network_is_trained_and_samples_come_from_its_average(kind):
    generator, _, condition = _learnt(kind)
    assert all(name.startswith("network.") for name, _ in generator.named_parameters())
    before = generator.sample(condition, None, _noise(1, 12))
    for weight in generator.network.parameters():
        weight.data.mul_(1.5)
    assert torch.equal(generator.sample(condition, None, _noise(1, 12)), before)
    generator.after_step()
    assert not torch.equal(generator.sample(condition, None, _noise(1, 12)), before)


@pytest.mark.parametrize("kind", ["diffusion", "regressor"])
def test_in_evaluation_the_loss_is_that_of_the_average(kind):
    generator, target, condition = _learnt(kind)

    def loss(training: bool) -> float:
        torch.manual_seed(5)
        return generator.train(training).loss(target, condition, None).item()

    assert loss(True) == pytest.approx(loss(False), rel=1e-5)
    for weight in generator.network.parameters():
        weight.data.add_(0.1)
    assert loss(True) != pytest.approx(loss(False), rel=1e-3)


def test_the_diffusion_loss_is_eq_19():
    generator, target, condition = _learnt("diffusion")
    torch.manual_seed(3)
    loss = generator.loss(target, condition, torch.ones(8))
    torch.manual_seed(3)
    time, noise = torch.randint(1000, (12,)), torch.randn(12, 8)
    terms, denoiser = [], generator.network
    for patient in range(12):
        alpha, one = 1.0, slice(patient, patient + 1)
        for index in range(int(time[patient]) + 1):
            alpha *= 1 - (1e-4 + (0.02 - 1e-4) * index / 999)
        clean = (target[patient] - target.mean(0)) / target.std(0, correction=0)
        noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise[patient]
        predicted = denoiser(noisy[None], time[one], generator.standard_condition(condition[one]), torch.ones(8))[0]
        terms.append((predicted - noise[patient]).square().mean())
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_the_regressor_loss_is_the_squared_error_and_reads_no_prior():
    generator, target, condition = _learnt("regressor")
    predicted = generator.sample(condition, None, _noise(1, 12))[0]
    error = ((predicted - target) / target.std(0, correction=0)).square().mean()
    assert generator.loss(target, condition, None).item() == pytest.approx(error.item(), rel=1e-4)
    assert torch.equal(generator.loss(target, condition, torch.ones(8)), generator.loss(target, condition, None))


def test_the_regressor_learns_a_relation():
    generator = _generator("regressor")
    _, condition = _fold(100)
    target = 5.0 + 3.0 * condition.roll(1, dims=1)
    generator.learn(target, condition)
    _train(generator, target, condition, None, 100)
    _, new = _fold(50, seed=4)
    residual = generator.sample(new, None, _noise(1, 50))[0] - (5.0 + 3.0 * new.roll(1, dims=1))
    assert float(residual.std()) < 0.5 * 3.0


def test_diffusion_learns_a_distribution_with_its_mean_and_spread():
    """Targets 10 + 4 c + noise of sd 1: draws follow the condition and keep the spread."""
    torch.manual_seed(0)
    condition = torch.randn(256, 8)
    target = 10 + 4 * condition + torch.randn(256, 8)
    generator = Diffusion(8, layers=2, heads=1, d_hidden=32, steps=20)
    generator.learn(target, condition)
    _train(generator, target, condition, None, 250, rate=5e-3)
    queries = torch.stack([torch.full((8,), -1.0), torch.full((8,), 1.0)])
    draws = generator.sample(queries, None, torch.randn(200, 2, 8))
    assert torch.allclose(draws.mean(dim=(0, 2)), torch.tensor([6.0, 14.0]), atol=1.0)
    assert 0.5 < float(draws.std(0).mean()) < 2.0


def test_a_generator_can_be_copied_and_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator, _, condition = _learnt("diffusion")
        twin = copy.deepcopy(generator)
        assert torch.equal(twin.sample(condition, None, _noise(1, 12)), generator.sample(condition, None, _noise(1, 12)))
