"""PIBD: proxies are voted for, their product is common, and the estimator of information learns by its own likelihood."""

import math

import pytest
import torch

from prognos.nn.pibd import MutualInformation, Proxies
from prognos.types import Progress, Survival
from tests.papers.comparison_by_hand import linear, made, patients, softmax

PROGRESS = Progress(step=0, steps_per_epoch=2, epoch=0, epochs=3)
SURVIVAL = Survival(torch.tensor([50.0, 20.0]), torch.tensor([True, False]))
OTHER = Survival(torch.tensor([1.0, 900.0]), torch.tensor([False, True]))


def cosine(x, y):
    """x y / (|x| |y|), entry by entry."""
    products = [sum(float(a) * float(b) for a, b in zip(*pair, strict=True)) for pair in ((x, y), (x, x), (y, y))]
    return products[0] / math.sqrt(products[1] * products[2])


@torch.no_grad()
def test_tokens_vote_for_a_proxy_and_the_nearest_half_goes_on():
    torch.manual_seed(5)
    proxies = Proxies(4, 3, share=0.5, most=100).double().eval()
    tokens = torch.randn(5, 3, dtype=torch.float64)
    found = proxies([tokens])
    n_kept = 3  # the half of 5, rounded up
    similarity = [[cosine(x, p) for p in proxies.mean] for x in tokens]
    votes = [sum(sorted((row[k] for row in similarity), reverse=True)[:n_kept]) / n_kept for k in range(4)]
    proxy = votes.index(max(votes))
    nearest = sorted(range(5), key=lambda i: -similarity[i][proxy])[:n_kept]
    assert found.votes[0].tolist() == pytest.approx(votes)
    assert int(found.proxy) == proxy
    assert found.kept[0].nonzero().flatten().tolist() == sorted(nearest)


@pytest.mark.parametrize(("n_tokens", "n_kept"), [(0, 0), (1, 1), (5, 3), (511, 4), (2000, 4)])
def test_bags_of_any_size_are_read_whole_and_no_more_than_the_most_go_on(n_tokens, n_kept):
    proxies = Proxies(2, 3, share=0.5, most=4).eval()
    found = proxies([torch.randn(n_tokens, 3)])
    assert int(found.kept[0].sum()) == n_kept
    assert len(found.similarity[0]) == n_tokens


def test_the_label_has_no_part_in_the_choice_in_training_either(monkeypatch):
    model, bag, chosen = made("pibd").train(), patients(), []
    choose = Proxies.forward
    monkeypatch.setattr(Proxies, "forward", lambda self, *given: chosen.append(choose(self, *given)) or chosen[-1])
    for survival in (SURVIVAL, OTHER):
        torch.manual_seed(7)
        model.losses(bag, survival, PROGRESS)
    for one, other in zip(chosen[:2], chosen[2:], strict=True):  # of both modalities
        assert torch.equal(one.proxy, other.proxy)
        assert torch.equal(torch.cat(one.kept), torch.cat(other.kept))


def test_the_published_choice_by_the_label_is_an_option_of_training_alone():
    model, bag = made("pibd", proxy_by="label").train(), patients()
    model.cuts = torch.tensor([30.0, 60.0, 90.0], dtype=torch.float64)
    classes = torch.tensor([2 * 1 + 1, 2 * 0 + 0])  # SURVIVAL: an event in the second bin, a censored time in the first
    seen = []
    for m in ("histology", "omics"):
        model.proxies[m].register_forward_hook(lambda module, given, found: seen.append(found))
    model.losses(bag, SURVIVAL, PROGRESS)
    assert all(torch.equal(found.proxy, classes) for found in seen)
    votes = model.eval()(bag).evidence["proxy"]
    assert all(torch.equal(votes[m], found.votes.argmax(dim=1)) for m, found in zip(votes, seen[2:], strict=True))
    assert model.config.as_released == ("proxy_by = label",)


def test_a_prediction_draws_nothing():
    model, bag, risks = made("pibd"), patients(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        risks.append(model(bag).risk.tolist())
    assert risks[0] == risks[1]


@torch.no_grad()
def test_the_common_token_is_the_mean_of_the_product_of_both_chosen_proxies():
    model, bag, seen = made("pibd"), patients(), {}
    for proxies in model.proxies.values():
        proxies.log_variance.normal_()
    model.mix.register_forward_pre_hook(lambda module, given: seen.setdefault(given[0].shape[1], given[0]))
    evidence = model(bag).evidence
    for i, n_patches in enumerate((3, 2)):  # the halves of 5 and 3
        experts = [
            (model.proxies[m].mean[k], model.proxies[m].log_variance[k].exp())
            for m, k in ((m, evidence["proxy"][m][i]) for m in model.proxies)
        ]
        precision = 1 + sum(1 / variance for _, variance in experts)
        mean = sum(mu / variance for mu, variance in experts) / precision
        assert torch.allclose(seen[n_patches + 2 + 1][0, -1], mean)


@torch.no_grad()
def test_the_class_is_the_time_bin_with_the_event_and_its_loss_the_softmax_of_the_votes():
    model, bag = made("pibd", temperature=0.2), patients()
    model.cuts = torch.tensor([10.0, 30.0, 60.0], dtype=torch.float64)
    loss = float(model.losses(bag, SURVIVAL, PROGRESS)["class histology"]) / model.config.class_weight
    similarity, expected = model(bag).evidence["similarity"]["histology"], []
    for of, n_kept, own in zip(similarity, (3, 2), (2 * 2 + 1, 2 * 1 + 0), strict=True):
        votes = [float(of[:, k].sort(descending=True).values[:n_kept].mean()) / 0.2 for k in range(8)]
        expected.append(-math.log(softmax(votes)[own]))
    assert loss == pytest.approx(sum(expected) / 2)


@torch.no_grad()
def test_the_bound_of_information_is_own_pairs_against_all_pairs():
    torch.manual_seed(5)
    estimator = MutualInformation(2).double()
    x, y = torch.randn(2, 3, 2, dtype=torch.float64)
    log_q = [[0.0] * 3 for _ in range(3)]
    for i in range(3):
        mean = linear(estimator.mean[2], linear(estimator.mean[0], x[i]).clamp(min=0))
        log_variance = linear(estimator.log_variance[2], linear(estimator.log_variance[0], x[i]).clamp(min=0)).tanh()
        for j in range(3):
            terms = [
                (float(y[j, d] - mean[d]) ** 2 / math.exp(log_variance[d]) + float(log_variance[d]) + math.log(2 * math.pi))
                for d in range(2)
            ]
            log_q[i][j] = -sum(terms) / 2
    own = sum(log_q[i][i] for i in range(3)) / 3
    assert float(estimator.bound(x, y)) == pytest.approx(own - sum(map(sum, log_q)) / 9)
    assert float(estimator.negative_log_likelihood(x, y)) == pytest.approx(-own)
    assert float(estimator.bound(x[:1], y[:1])) == 0


def test_the_estimator_does_not_move_the_encoder_nor_the_bound_the_estimator():
    torch.manual_seed(5)
    estimator = MutualInformation(8)
    x, y = (torch.randn(3, 8, requires_grad=True) for _ in range(2))
    weight = estimator.mean[2].weight
    estimator.bound(x, y).backward()
    assert weight.grad is None
    assert all(bool(vectors.grad.any()) for vectors in (x, y))
    x.grad = y.grad = None
    estimator.negative_log_likelihood(x, y).backward()
    assert bool(weight.grad.any())
    assert [x.grad, y.grad] == [None, None]
