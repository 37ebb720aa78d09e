"""Blocks of MCTI: maps by class, learnt groups of genes, guidance by transport, streams that exchange."""

import math

import pytest
import torch
from torch import nn

from prognos.nn import attention as attention_module
from prognos.nn.mcti import (
    SHARPNESS,
    AdaptiveGroups,
    CategoryMaps,
    ExchangeBlock,
    Streams,
    TransportGuidedAttention,
    affinities,
    guidance,
    top_patches,
)
from prognos.nn.patches import spread_patches
from prognos.nn.transport import log_domain_plan

D = 8


def made(kind: type[nn.Module], *args, **settings) -> nn.Module:
    torch.manual_seed(0)
    return kind(*args, **settings).double().eval()


def tokens(batch: int, n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Maps


@torch.no_grad()
def test_each_class_gathers_patches_by_a_map_of_its_own():
    maps = made(CategoryMaps, 4, D, 3, dropout=0.0)
    rows = torch.randn(5, 4, dtype=torch.float64)
    pooled, logits, attention = maps(rows)
    encoded = torch.relu(rows @ maps.encode.linear.weight.T + maps.encode.linear.bias)
    content, gate = maps.score.content[0](encoded).tanh(), maps.score.gate[0](encoded).sigmoid()
    for c in range(3):
        score = [float((content[i] * gate[i]) @ maps.score.score.weight[c] + maps.score.score.bias[c]) for i in range(5)]
        share = [math.exp(s) / sum(map(math.exp, score)) for s in score]
        gathered = sum(share[i] * encoded[i] for i in range(5))
        assert attention[:, c].tolist() == pytest.approx(share, rel=1e-6)
        assert pooled[c].tolist() == pytest.approx(gathered.tolist(), rel=1e-6)
        assert float(logits[c]) == pytest.approx(float(gathered @ maps.weight[c] + maps.bias[c]), rel=1e-6)


def test_a_patient_in_chunks_has_the_same_maps_and_gradients(monkeypatch):
    maps, rows = made(CategoryMaps, 4, D, 3, dropout=0.0), torch.randn(23, 4, dtype=torch.float64)
    found = []
    for chunk in (8192, 5):
        monkeypatch.setattr(attention_module, "CHUNK", chunk)
        maps.zero_grad()
        pooled, logits, attention = maps(rows)
        (pooled.sum() + logits.sum()).backward()
        found.append([pooled.detach(), logits.detach(), attention, *(p.grad.clone() for p in maps.parameters())])
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)


@torch.no_grad()
def test_a_patient_without_patches_gathers_nothing():
    pooled, logits, attention = made(CategoryMaps, 4, D, 3, dropout=0.0)(torch.zeros(0, 4, dtype=torch.float64))
    assert (pooled.shape, logits.shape, attention.shape) == ((3, D), (3,), (0, 3))
    assert not bool(pooled.any() | logits.any())


def test_the_patches_with_the_most_attention_are_kept_in_the_order_of_the_slide():
    attention = torch.tensor([0.1, 0.5, 0.0, 0.3, 0.1])
    assert top_patches(attention, 2).tolist() == [1, 3]
    assert top_patches(attention, 9).tolist() == [0, 1, 2, 3, 4]
    assert top_patches(attention[:0], 2).tolist() == []


def test_spread_patches_reach_from_the_first_to_the_last():
    assert spread_patches(9, 3).tolist() == [0, 4, 8]
    assert spread_patches(2, 3).tolist() == [0, 1]
    assert spread_patches(0, 3).tolist() == []
    assert spread_patches(10_000, 256).unique().numel() == 256


# Groups of genes


@torch.no_grad()
def test_a_groups_token_is_made_of_genes_by_their_learnt_shares():
    groups = made(AdaptiveGroups, 5, 3, D, heads=2, dropout=0.0)
    x = torch.randn(2, 5, dtype=torch.float64)
    shares = groups.shares()
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    expected = torch.zeros(2, 3, D, dtype=torch.float64)
    for patient in range(2):
        for g in range(3):
            total = groups.bias[g].clone()
            for n in range(5):
                share = math.exp(SHARPNESS * float(groups.affinity[n, g])) / sum(math.exp(SHARPNESS * float(a)) for a in groups.affinity[n])
                total += share * x[patient, n] * groups.weight[n]
            expected[patient, g] = nn.functional.layer_norm(nn.functional.gelu(total), (D,))
    assert torch.allclose(groups(x), groups.mix(expected), atol=1e-10)


def test_the_shares_are_learnt():
    groups = made(AdaptiveGroups, 5, 3, D, heads=2, dropout=0.0)
    (groups(torch.randn(2, 5, dtype=torch.float64)) ** 2 * torch.arange(3.0)[None, :, None] * torch.arange(8.0)).sum().backward()
    assert bool(groups.affinity.grad.any())


def modules(noise: float) -> torch.Tensor:
    """Twelve genes of thirty patients: the genes 0 to 3, 4 to 7 and 8 to 11 follow a factor each."""
    generator = torch.Generator().manual_seed(3)
    factors, own = (torch.randn(30, n, generator=generator, dtype=torch.float64) for n in (3, 12))
    return factors.repeat_interleave(4, dim=1) + noise * own


def test_groups_begin_with_genes_that_vary_together():
    groups = made(AdaptiveGroups, 12, 3, D, heads=2, dropout=0.0)
    groups.learn(7.0 + 2.0 * modules(0.3))
    of_gene = groups.shares().argmax(dim=1).tolist()
    assert [of_gene[i : i + 4] for i in (0, 4, 8)] == [[of_gene[i]] * 4 for i in (0, 4, 8)]
    assert sorted({of_gene[0], of_gene[4], of_gene[8]}) == [0, 1, 2]


def test_an_affinity_is_the_cosine_with_the_centre_of_the_group():
    values = modules(0.3)
    found = affinities(values, 3)
    profiles = [column - column.mean() for column in values.T]
    profiles = [profile / profile.norm() for profile in profiles]
    for first in (0, 4, 8):
        centre = sum(profiles[first : first + 4]) / 4
        group = int(found[first].argmax())
        assert found[:, group].tolist() == pytest.approx([float(profile @ centre / centre.norm()) for profile in profiles])


def test_a_gene_that_is_the_same_in_everyone_begins_with_even_shares():
    values = modules(0.3)
    values[:, 5] = 4.0
    groups = made(AdaptiveGroups, 12, 3, D, heads=2, dropout=0.0)
    groups.learn(values)
    assert groups.shares()[5].tolist() == pytest.approx([1 / 3] * 3)


def test_with_fewer_different_genes_than_groups_some_groups_begin_with_none():
    groups = made(AdaptiveGroups, 12, 5, D, heads=2, dropout=0.0)
    groups.learn(modules(0.0))
    assert len(set(groups.shares().argmax(dim=1).tolist())) == 3
    assert affinities(torch.ones(6, 4), 2).tolist() == [[0.0, 0.0]] * 4


# Guidance


def test_the_guidance_carries_everything_once_and_carries_no_gradient():
    objective, value = tokens(2, 6).float().requires_grad_(), tokens(2, 6, seed=2).float().requires_grad_()
    carried = guidance(objective, value, 0.1)
    assert not carried.requires_grad
    assert torch.allclose(carried.sum(dim=2), torch.ones(2, 6), atol=1e-3)
    assert torch.allclose(carried.sum(dim=1), torch.ones(2, 6), atol=1e-3)


def test_the_guidance_is_n_times_the_balanced_plan_between_standardised_tokens():
    objective, value = tokens(1, 5), tokens(1, 5, seed=2)
    standard = [
        (part - part.mean(-1, keepdim=True)) / (part.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() for part in (objective, value)
    ]
    cost = torch.tensor([[[float((a - b).square().sum()) for b in standard[1][0]] for a in standard[0][0]]], dtype=torch.float64)
    expected = 5 * log_domain_plan(cost / cost.max(), 1.0, kl_weight=math.inf, epsilon=0.1).plan
    assert torch.allclose(guidance(objective, value, 0.1).double(), expected, atol=2e-3)


def test_tokens_that_are_the_same_are_carried_onto_themselves():
    same = 3 * torch.eye(6).repeat(1, 1, 2)
    carried = guidance(same, same, 0.02)
    assert torch.allclose(carried, torch.eye(6).expand(1, 6, 6), atol=0.05)
    alike = guidance(torch.ones(1, 4, D), torch.ones(1, 4, D), 0.1)
    assert torch.allclose(alike, torch.full((1, 4, 4), 0.25), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["token", "channel"])
@pytest.mark.parametrize("how", ["transport", "none"])
def test_guided_attention_looks_with_queries_and_keys_at_values_that_were_carried(kind, how):
    attend = made(TransportGuidedAttention, D, heads=2, dropout=0.0, guidance=how, attention=kind)
    source, objective = tokens(1, 5), tokens(1, 5, seed=2)
    normed = attend.norm(source)[0]
    query, key, value = (normed @ weight.T for weight in attend.query_key_value.weight.chunk(3))
    if how == "transport":
        value = guidance(objective, value[None], 0.1)[0].double() @ value
    heads = []
    for h in range(2):
        q, k, v = (part[:, 4 * h : 4 * h + 4] for part in (query, key, value))
        if kind == "token":
            heads.append((q @ k.T / 2).softmax(dim=1) @ v)
        else:
            q, k = q / q.norm(dim=0), k / k.norm(dim=0)
            heads.append(v @ (k.T @ q).softmax(dim=0))
    expected = torch.cat(heads, dim=1) @ attend.output.weight.T + attend.output.bias
    assert torch.allclose(attend(source, objective)[0], expected, atol=1e-8)


# Streams


def streams(n: int = 4) -> Streams:
    return Streams(*(tokens(2, n, seed) for seed in (3, 4, 5)))


def block(**settings) -> ExchangeBlock:
    return made(ExchangeBlock, D, **{"from_shared": False, "skip": False, "gather": True, "dropout": 0.0, "heads": 2, **settings})


@torch.no_grad()
@pytest.mark.parametrize("from_shared", [False, True])
def test_task_streams_are_updated_with_the_shared_one_which_then_gathers_both(from_shared):
    exchange, given = block(from_shared=from_shared), streams()
    found = exchange(given)
    updated = []
    for i, stream in enumerate((given.subtype, given.survival)):
        attend = exchange.tasks[i]
        now = stream + (attend(given.shared, stream) if from_shared else attend(stream, given.shared))
        updated.append(now + exchange.forwards[i](exchange.norms[i](now)))
    assert torch.equal(found.subtype, updated[0])
    assert torch.equal(found.survival, updated[1])
    gathered = torch.cat(updated, dim=-1) @ exchange.gather.weight.T + exchange.gather.bias
    assert torch.allclose(found.shared, gathered, atol=1e-12)


@torch.no_grad()
def test_the_shared_stream_of_the_block_across_comes_in_by_the_skip_connection():
    exchange, given, across = block(from_shared=True, skip=True), streams(), tokens(2, 4, seed=9)
    joined = torch.cat([given.shared, across], dim=-1) @ exchange.skip.weight.T + exchange.skip.bias
    exchange_without = block(from_shared=True)
    exchange_without.load_state_dict({k: v for k, v in exchange.state_dict().items() if not k.startswith("skip.")})
    for found, expected in zip(exchange(given, across), exchange_without(given._replace(shared=joined)), strict=True):
        assert torch.allclose(found, expected, atol=1e-8)


@torch.no_grad()
def test_where_nobody_reads_the_shared_stream_it_is_not_gathered():
    given = streams()
    assert torch.equal(block(gather=False)(given).shared, given.shared)
