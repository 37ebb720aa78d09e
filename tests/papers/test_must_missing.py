"""MUST's equations of patients who lack a modality: recovery, diffusion, prediction, and training with what is missing."""

import math
from itertools import chain, combinations

import pytest
import torch

from prognos import runtime
from prognos.models.must import MUST
from prognos.nn.diffusion import add_noise, ddim_sample, noise_share, sampling_times
from prognos.nn.generators import Diffusion, Generator
from prognos.nn.must import Components
from prognos.types import Progress
from tests.papers.must_by_hand import (
    MAIN,
    PATIENTS,
    SURVIVAL,
    THREE,
    TWO,
    Fold,
    bag,
    cost,
    made_up,
    mean,
    minus,
    phi,
    projected,
    risk,
    tiny,
)

BETA = [1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000)]


class Stub(Generator):
    """A generator whose draws are the noise scaled, plus the condition; it keeps what it was given."""

    stochastic = True

    def __init__(self, scale: float):
        super().__init__(8)
        self.scale, self.seen = scale, []

    def sample(self, condition, prior, noise):
        """Draws."""
        self.seen.append((condition, prior, noise))
        return self.scale * noise + condition

    def loss(self, target, condition, prior):
        """Keeps what it was given."""
        self.seen.append((target, condition, prior))
        return condition.sum()

    def learn(self, target, condition):
        """Keeps what it was given."""
        self.seen.append((target, condition))


def with_stubs(**settings) -> MUST:
    """A model whose generators are stubs and count as learnt."""
    model = tiny(**settings)
    for number, m in enumerate(model.modalities):
        model.generators[m] = Stub(1.0 + number)
    model.generators_learnt.fill_(True)
    return model


def noise_of(patient: str, modality: str, draws: int = 5) -> list[list[float]]:
    return runtime.generator("must draws", patient, modality).standard_normal((draws, 8)).tolist()


def recovered(parts: Components, i: int) -> list[float]:
    """c~ = g - u^ (Eq. 20), the mean over what patient i has."""
    return mean([minus(parts.whole[m][i].tolist(), parts.specific[m][i].tolist()) for m in parts.present if bool(parts.present[m][i])])


# Recovery


@torch.no_grad()
@pytest.mark.parametrize("gone", TWO)
def test_eq_20_recovers_what_is_shared_from_the_modality_that_is_there(gone):
    model = tiny()
    kept = next(m for m in TWO if m != gone)
    evidence = model(bag().without(gone)).evidence
    rows = bag()
    for i in range(4):
        encoded = model.streams[kept](model._rows(rows, kept, [i])[0])
        u = encoded.specific.tolist()
        expected = minus(encoded.whole.tolist(), minus(u, projected(model, u)))  # g - (I - P) u
        assert evidence["recovered"][kept][i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
        assert evidence["shared"][i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert not bool(evidence["whole"][gone].any() | evidence["specific"][gone].any())


def test_eq_20_coincides_with_the_shared_component_where_eq_10_holds():
    parts = made_up()
    exact = parts._replace(whole={m: parts.specific[m] + parts.read_in(m) for m in TWO})
    for m in TWO:
        assert torch.allclose(exact.recovered(m), parts.read_in(m))


# Diffusion


def test_eq_17_step_by_step_is_the_jump_that_training_takes():
    """z_t = sqrt(1 - beta_t) z_{t-1} + sqrt(beta_t) eps from t = 1 on: its mean factor and variance."""
    factor, variance = 1.0, 0.0
    for t in range(1000):
        factor *= math.sqrt(1 - BETA[t])
        variance = (1 - BETA[t]) * variance + BETA[t]
        if t in (0, 10, 500, 999):
            share = noise_share(torch.tensor([t])).double()
            jump = add_noise(torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64), share)
            assert float(share) == pytest.approx(math.sqrt(variance), rel=1e-4)
            assert float(jump[0, 0]) == pytest.approx(factor, rel=1e-3)  # of 1 - alpha in single precision


@torch.no_grad()
def test_eq_19_is_the_squared_error_of_the_noise_that_is_predicted_from_z_t_time_and_condition():
    torch.manual_seed(0)
    generator = Diffusion(8, layers=2, heads=2, d_hidden=16, steps=5)
    target, condition, prior = torch.randn(3, 8), torch.randn(3, 8), torch.randn(8)
    generator.learn(target, condition)
    torch.manual_seed(4)
    found = float(generator.train().loss(target, condition, prior))
    torch.manual_seed(4)
    time = torch.randint(1000, (3,))
    epsilon = torch.randn(3, 8)
    total = 0.0
    for i in range(3):
        alpha = math.prod(1 - beta for beta in BETA[: int(time[i]) + 1])
        z_0 = generator.standard_target(target)[i].tolist()
        z_t = [math.sqrt(alpha) * z + math.sqrt(1 - alpha) * e for z, e in zip(z_0, epsilon[i].tolist(), strict=True)]
        network = generator.network
        predicted = network(torch.tensor([z_t]), time[i : i + 1], generator.standard_condition(condition)[i : i + 1], prior)[0].tolist()
        total += sum((e - p) ** 2 for e, p in zip(epsilon[i].tolist(), predicted, strict=True)) / 8 / 3
    assert found == pytest.approx(total, rel=1e-4)


def test_eq_18_and_21_are_taken_without_drawing_anything_but_the_start():
    """z_{t-1} = sqrt(alpha_{t-1}) z~_0 + sqrt(1 - alpha_{t-1}) eps_theta, so that the Sigma of Eq. 18 is 0; alpha_0 = 1."""
    times = sampling_times(5)
    assert times == (999, 799, 599, 399, 199)
    alpha = [math.prod(1 - beta for beta in BETA[: t + 1]) for t in times] + [1.0]

    def predict(noisy: float, step: int) -> float:
        return 0.3 * noisy + 0.1 * step

    z = start = 0.7
    for step in range(5):
        epsilon = predict(z, step)
        z_0 = (z - math.sqrt(1 - alpha[step]) * epsilon) / math.sqrt(alpha[step])
        z = math.sqrt(alpha[step + 1]) * z_0 + math.sqrt(1 - alpha[step + 1]) * epsilon
    before = torch.get_rng_state()
    found = ddim_sample(lambda noisy, step: 0.3 * noisy + 0.1 * step, torch.full((1, 1), start, dtype=torch.float64), 5)
    assert float(found) == pytest.approx(z, rel=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


# Prediction


@torch.no_grad()
@pytest.mark.parametrize("gone", TWO)
def test_eq_22_takes_the_recovered_component_and_the_mean_of_five_draws_whichever_modality_is_missing(gone):
    model = with_stubs()
    whole = bag().without(gone)
    parts, prediction = model._components(whole), model(whole)
    stub = model.generators[gone]
    condition, prior, noise = stub.seen[0]
    assert torch.equal(prior, model.streams[gone].class_token)
    assert noise.shape == (5, 4, 8)
    for i, patient in enumerate(PATIENTS):
        c = recovered(parts, i)
        assert condition[i].tolist() == pytest.approx(c, rel=1e-9)
        assert noise[:, i].tolist() == noise_of(patient, gone)
        drawn = mean([[stub.scale * e + entry for e, entry in zip(row, c, strict=True)] for row in noise_of(patient, gone)])
        u = {m: parts.specific[m][i].tolist() for m in TWO} | {gone: drawn}
        expected = phi(model, u["histology"], c, u["omics"])
        assert prediction.hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
        assert float(prediction.risk[i]) == pytest.approx(risk(expected), rel=1e-6)
        assert prediction.evidence["generated"][gone][i].tolist() == pytest.approx(drawn, rel=1e-8)
        assert prediction.evidence["present"][gone].tolist() == [False] * 4


@torch.no_grad()
def test_single_draws_go_through_the_head_one_by_one_and_the_first_are_those_of_the_point():
    model, whole = with_stubs(), bag().without("omics")
    parts, draws = model._components(whole), model.draws(whole, 7)
    assert len(draws) == 7
    for number in (0, 6):
        for i, patient in enumerate(PATIENTS):
            c = recovered(parts, i)
            drawn = [2.0 * e + entry for e, entry in zip(noise_of(patient, "omics", 7)[number], c, strict=True)]
            expected = phi(model, parts.specific["histology"][i].tolist(), c, drawn)
            assert draws[number].hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert noise_of("a", "omics", 7)[:5] == noise_of("a", "omics", 5)
    assert tiny(generator="mean").draws(whole, 7) == ()


@torch.no_grad()
def test_the_options_project_what_is_recovered_and_what_is_generated():
    whole = bag().without("omics")
    plain = with_stubs()(whole).evidence
    model = with_stubs(project_recovered=True, reproject=True)
    evidence = model(whole).evidence
    for i in range(4):
        expected = projected(model, plain["shared"][i].tolist())
        assert evidence["shared"][i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
        drawn = plain["generated"]["omics"][i].tolist()
        assert evidence["generated"]["omics"][i].tolist() == pytest.approx(minus(drawn, projected(model, drawn)), rel=1e-8, abs=1e-10)


@torch.no_grad()
def test_without_the_class_token_the_condition_is_the_recovered_component_alone():
    model = with_stubs(class_condition=False)
    model(bag().without("omics"))
    assert model.generators["omics"].seen[0][1] is None


@torch.no_grad()
def test_complete_patients_ask_no_generator_and_are_not_touched_by_who_lacks_something():
    model = with_stubs()
    complete, mixed = model(bag()), model(bag(lacking={"omics": "b"}))
    assert [len(model.generators[m].seen) for m in TWO] == [0, 1]
    assert model.generators["omics"].seen[0][0].shape == (1, 8)
    kept = [0, 2, 3]
    assert mixed.risk[kept].tolist() == complete.risk[kept].tolist()
    assert not bool(complete.evidence["generated"]["omics"].any())


@torch.no_grad()
def test_before_generators_are_learnt_what_is_missing_is_zero():
    model = tiny()
    whole = bag().without("omics")
    parts, prediction = model._components(whole), model(whole)
    for i in range(4):
        expected = phi(model, parts.specific["histology"][i].tolist(), recovered(parts, i), [0.0] * 8)
        assert prediction.hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)


def patterns(modalities):
    """Every choice of missing modalities that leaves one."""
    return list(chain.from_iterable(combinations(modalities, n) for n in range(1, len(modalities))))


@torch.no_grad()
@pytest.mark.parametrize("gone", patterns(THREE), ids="-".join)
def test_with_three_modalities_every_missing_pattern_is_recovered_from_the_rest(gone):
    model = with_stubs(modalities=THREE)
    whole = bag(THREE).without(*gone)
    parts, prediction = model._components(whole), model(whole)
    for i, patient in enumerate(PATIENTS):
        c = recovered(parts, i)  # the mean over the modalities that are left
        u = {m: parts.specific[m][i].tolist() for m in THREE}
        for m in gone:
            u[m] = mean([[model.generators[m].scale * e + entry for e, entry in zip(row, c, strict=True)] for row in noise_of(patient, m)])
        expected = phi(model, u["histology"], c, u["omics"], u["blood"])
        assert prediction.hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)


# What generators are trained on


@torch.no_grad()
@pytest.mark.parametrize("condition", ["subtract", "cross"])
@pytest.mark.parametrize("m", TWO)
def test_the_generator_of_a_modality_learns_its_specific_component_from_what_the_other_recovers(m, condition):
    model = with_stubs(condition=condition)
    n = next(other for other in TWO if other != m)
    rows = model.latents(Fold(), next(s for s in model.stages(1, 1e-3) if s.name == f"generator-{m}"))
    parts = model._components(bag())
    assert torch.allclose(rows["target"], parts.specific[m])
    expected = parts.recovered(n) if condition == "subtract" else parts.read[m, n]  # c~ of Eq. 20, or c^_{m<-n}
    assert torch.allclose(rows["conditions"][:, 0], expected)
    target, given = model.generators[m].seen[0]
    assert torch.equal(target, rows["target"])
    assert torch.equal(given, rows["conditions"][:, 0])


@torch.no_grad()
@pytest.mark.parametrize("condition", ["subtract", "cross"])
def test_who_lacks_the_rest_in_training_lends_the_own_recovered_component(condition):
    model = with_stubs(condition=condition)
    fold = Fold(lacking={"histology": "b", "omics": "d"})
    rows = model.latents(fold, model.stages(1, 1e-3)[-1])
    parts = model._components(fold.whole)
    assert len(rows["target"]) == 3  # d has no omics to be generated
    assert torch.allclose(rows["target"], parts.specific["omics"][[0, 1, 2]])
    assert torch.allclose(rows["conditions"][1, 0], parts.recovered("omics")[1])
    assert bool(rows["known"].all())


@torch.no_grad()
def test_with_three_modalities_training_mixes_what_may_be_known_and_evaluation_takes_all_of_it():
    model = with_stubs(modalities=THREE)
    rows = model.latents(Fold(THREE, lacking={"blood": "a"}), model.stages(1, 1e-3)[2])
    assert rows["conditions"].shape == (4, 2, 8)
    assert rows["known"].tolist() == [[True, False], [True, True], [True, True], [True, True]]
    progress, stub = Progress(0, 1, 0, 1, "generator-histology"), model.generators["histology"]
    model.eval().latent_losses(rows, progress)
    for i in range(4):
        known = [rows["conditions"][i, k].tolist() for k in range(2) if bool(rows["known"][i, k])]
        assert stub.seen[-1][1][i].tolist() == pytest.approx(mean(known), rel=1e-9)
    model.train()
    seen = set()
    for _ in range(30):
        model.latent_losses(rows, progress)
        given = stub.seen[-1][1]
        assert torch.allclose(given[0], rows["conditions"][0, 0])
        both = rows["conditions"][1].mean(dim=0)
        options = {"first": rows["conditions"][1, 0], "second": rows["conditions"][1, 1], "both": both}
        seen |= {name for name, value in options.items() if torch.allclose(given[1], value)}
    assert seen == {"first", "second", "both"}


# Training with what is missing


def test_who_lacks_a_modality_in_training_has_zero_for_it_and_the_survival_loss_only():
    model = with_stubs()
    whole = bag(lacking={"omics": "b", "histology": "c"})
    terms, parts = model.losses(whole, SURVIVAL, MAIN), model._components(whole)
    total = 0.0
    with torch.no_grad():
        for i in range(4):
            u = {m: parts.specific[m][i].tolist() for m in TWO}
            assert [u[m] == [0.0] * 8 for m in TWO] == [PATIENTS[i] == "c", PATIENTS[i] == "b"]
            shared = parts.read_in("histology")[i].tolist(), parts.read_in("omics")[i].tolist()
            c = mean(list(shared)) if bool(parts.complete[i]) else recovered(parts, i)
            total += cost(model, phi(model, u["histology"], c, u["omics"]), float(SURVIVAL.time[i]), bool(SURVIVAL.event[i])) / 4
    assert float(terms["survival"].detach()) == pytest.approx(total, rel=1e-6)
    assert [len(model.generators[m].seen) for m in TWO] == [0, 0]  # in training nothing is generated


@torch.no_grad()
def test_the_other_losses_are_means_over_complete_patients():
    model, lacking = tiny(), {"omics": "b", "histology": "c"}
    parts, whole = made_up(lacking=lacking), made_up()
    kept = torch.tensor([True, False, False, True])
    both = whole._replace(
        present={m: torch.ones(2, dtype=torch.bool) for m in TWO},
        whole={m: parts.whole[m][kept] for m in TWO},
        specific={m: parts.specific[m][kept] for m in TWO},
        read={pair: c[kept] for pair, c in parts.read.items()},
    )
    for loss in (model._decomposition, model._shared_consistency, model._orthogonality):
        assert float(loss(parts)) == pytest.approx(float(loss(both)), rel=1e-12)


def test_where_nobody_is_complete_the_other_losses_are_zero_and_leave_no_gradient():
    model = tiny().train()
    terms = model.losses(bag(lacking={"omics": "ab", "histology": "cd"}), SURVIVAL, MAIN)
    assert [float(terms[name].detach()) for name in ("decomposition", "shared", "orthogonality")] == [0.0] * 3
    sum(terms.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    assert not any(bool(g.any()) for name, g in gradients.items() if name.startswith("cross."))


def test_with_three_modalities_every_pattern_at_once_has_finite_losses_and_gradients():
    model = tiny(modalities=THREE).train()
    for lacking in ({"histology": "abd", "omics": "bcd", "blood": "ac"}, {"histology": "a", "omics": "b", "blood": "c"}):
        model.zero_grad()
        sum(model.losses(bag(THREE, lacking=lacking), SURVIVAL, MAIN).values()).backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
