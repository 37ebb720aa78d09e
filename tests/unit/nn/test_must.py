"""Blocks of MUST: streams, cross-attention, projector, and the arithmetic of components."""

import pytest
import torch

from prognos.nn.must import Components, CrossPool, GroupStream, LowRankProjector, NystromPool, PatchStream, encoded_alike
from prognos.nn.patches import PACK, in_order
from prognos.types import Bag, Tokens


def patches(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def patch_stream(**settings) -> PatchStream:
    torch.manual_seed(0)
    return PatchStream(4, 8, **{"heads": 2, "landmarks": 4, "dropout": 0.0, **settings}).eval()


def group_stream(**settings) -> GroupStream:
    torch.manual_seed(0)
    return GroupStream((2, 3), 8, **{"heads": 2, "dropout": 0.0, **settings}).eval()


def components(present: dict[str, list[bool]]) -> Components:
    """Every number says where it comes from: g is 100s, u^ tens, c^ units; the modality by its letter's place."""
    names = list(present)
    has = {m: torch.tensor(values) for m, values in present.items()}
    whole = {m: 100.0 * (k + 1) * has[m][:, None] * torch.ones(1, 2) for k, m in enumerate(names)}
    specific = {m: 10.0 * (k + 1) * has[m][:, None] * torch.ones(1, 2) for k, m in enumerate(names)}
    read = {
        (n, m): float(2 ** (3 * i + k)) * (has[n] & has[m])[:, None] * torch.ones(1, 2)
        for i, n in enumerate(names)
        for k, m in enumerate(names)
        if n != m
    }
    return Components(has, whole, specific, read)


# Patients who are encoded together


def bag_of(patches: list[int], omics: list[bool]) -> Bag:
    mask = torch.arange(max(patches))[None, :] < torch.tensor(patches)[:, None]
    has = torch.tensor(omics)[:, None]
    tokens = {"histology": Tokens(torch.zeros(*mask.shape, 1), mask), "omics": Tokens(torch.zeros(len(omics), 1, 1), has)}
    return Bag(tuple(f"patient {i}" for i in range(len(patches))), tokens)


def test_patients_with_as_many_patches_and_the_same_modalities_are_encoded_together():
    bag = bag_of([5, 3, 5, 0, 5, 3], [True, True, True, True, False, True])
    assert encoded_alike(bag, ("histology", "omics")) == [[0, 2], [1, 5], [3], [4]]
    assert encoded_alike(bag, ("omics",)) == [[0, 1, 2, 3, 5], [4]]


def test_no_more_patients_are_encoded_together_than_fit_a_pack_and_a_large_one_stands_alone():
    assert encoded_alike(bag_of([PACK // 2] * 5, [True] * 5), ("histology", "omics")) == [[0, 1], [2, 3], [4]]
    assert encoded_alike(bag_of([PACK + 1] * 2, [True] * 2), ("histology",)) == [[0], [1]]


def test_rows_of_groups_come_back_in_the_order_of_the_patients_and_in_single_precision():
    rows = in_order([torch.tensor([[2.0], [0.0]], dtype=torch.bfloat16), torch.tensor([[1.0]])], [[2, 0], [1]])
    assert rows.flatten().tolist() == [0, 1, 2]
    assert rows.dtype == torch.float32
    assert in_order([torch.zeros(1, 2, dtype=torch.float64)], [[0]]).dtype == torch.float64


@pytest.mark.parametrize("specific", ["exact", "nystrom"])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_patients_encoded_together_have_what_each_has_alone(specific, n):
    stream, groups = patch_stream(specific=specific), group_stream()
    cross, rows, values = CrossPool(8, 2).eval(), torch.stack([patches(n, seed) for seed in range(3)]), torch.randn(3, 2, 3)
    together, of_groups = stream(rows), groups(values)
    read = cross(of_groups.tokens, together.tokens)
    for i in range(3):
        alone, group = stream(rows[i]), groups(values[i])
        for ours, one in ((together, alone), (of_groups, group)):
            for part in ("whole", "specific", "tokens"):
                assert torch.allclose(getattr(ours, part)[i], getattr(one, part), atol=1e-5), part
        assert torch.allclose(stream.whole(rows)[i], alone.whole, atol=1e-5)
        assert torch.allclose(read[i], cross(group.tokens, alone.tokens), atol=1e-5)


# Streams


@pytest.mark.parametrize("specific", ["exact", "nystrom"])
@pytest.mark.parametrize("n", [1, 3, 9])
def test_patches_give_one_global_and_one_specific_vector_and_as_many_tokens(specific, n):
    whole, u, tokens = patch_stream(specific=specific)(patches(n))
    assert (whole.shape, u.shape, tokens.shape) == ((8,), (8,), (n, 8))


@pytest.mark.parametrize("n", [1, 3, 9])
def test_the_global_vector_alone_is_that_of_the_whole_stream(n):
    stream, groups = patch_stream(), torch.randn(2, 3)
    assert torch.allclose(stream.whole(patches(n)), stream(patches(n)).whole, atol=1e-6)
    assert torch.equal(group_stream().whole(groups), group_stream()(groups).whole)


def test_half_precision_patches_are_read():
    found = patch_stream()(patches(5).half()).whole
    assert found.dtype == torch.float32
    assert torch.allclose(found, patch_stream()(patches(5)).whole, atol=1e-2)


def test_groups_give_one_token_each_and_padding_is_not_read():
    stream, groups = group_stream(), torch.randn(2, 3)
    other = groups.clone()
    other[0, 2] = 9.0  # the first group has two measurements
    assert stream(groups).tokens.shape == (2, 8)
    assert torch.equal(stream(groups).whole, stream(other).whole)


def test_class_tokens_are_those_of_the_specific_components():
    for stream in (patch_stream(), patch_stream(specific="nystrom"), group_stream()):
        assert stream.class_token is stream.specific.class_token


def test_the_nystrom_pool_computes_the_row_that_the_whole_layer_would():
    torch.manual_seed(0)
    pool, tokens = NystromPool(8, 2, 4, 0.0), torch.randn(9, 8)
    expected = pool.norm(pool.layer(torch.cat([pool.class_token[None], tokens]))[0])
    assert torch.allclose(pool(tokens), expected, atol=1e-6)


def test_dropout_acts_in_training_only():
    rows = patches(6)
    stream = patch_stream(dropout=0.5)
    assert torch.equal(stream(rows).whole, stream(rows).whole)
    stream.train()
    assert not torch.equal(stream(rows).whole, stream(rows).whole)


def test_what_is_read_is_one_vector_however_many_tokens_there_are():
    torch.manual_seed(0)
    cross = CrossPool(8, 2)
    for n, m in ((1, 1), (2, 7), (30, 2)):
        assert cross(torch.randn(n, 8), torch.randn(m, 8)).shape == (8,)


def test_what_is_read_does_not_depend_on_the_order_of_either():
    torch.manual_seed(0)
    cross, reader, source = CrossPool(8, 2), torch.randn(3, 8), torch.randn(5, 8)
    assert torch.allclose(cross(reader, source), cross(reader.flip(0), source.flip(0)), atol=1e-6)


# Projector


def test_no_weight_is_laid_out_in_another_way_than_a_checkpoint_brings_it_back():
    """Fused AdamW walks weight, gradient and moments in memory: with other strides it would pair other entries."""
    modules = patch_stream(), patch_stream(specific="nystrom"), group_stream(), CrossPool(8, 2), LowRankProjector(8, 3)
    assert all(p.is_contiguous() for module in modules for p in module.parameters())


@pytest.mark.parametrize("kind", ["orthogonal", "free", "soft"])
def test_a_new_projector_is_one(kind):
    torch.manual_seed(0)
    projector = LowRankProjector(8, 3, kind)
    matrix = projector(torch.eye(8))
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-5)
    assert int(torch.linalg.matrix_rank(matrix)) == 3
    assert float(projector.penalty().detach()) == pytest.approx(0, abs=1e-9)


def test_an_orthogonal_projector_stays_one_while_it_is_trained():
    torch.manual_seed(0)
    projector = LowRankProjector(8, 3)
    optimiser = torch.optim.SGD(projector.parameters(), lr=0.5)
    for _ in range(5):
        optimiser.zero_grad()
        projector(torch.randn(4, 8)).square().sum().neg().backward()
        optimiser.step()
    matrix = projector(torch.eye(8)).detach()
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-5)


def test_half_precision_around_it_does_not_reach_the_projector():
    torch.manual_seed(0)
    projector, v = LowRankProjector(8, 3), torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(projector(v), projector(v))
        inside = projector(v)
    assert torch.equal(inside, projector(v))


# Components


def test_what_is_read_in_a_modality_and_by_it_are_means_over_the_others():
    parts = components({"a": [True], "b": [True], "c": [True]})
    assert parts.read_in("a")[0, 0] == (8 + 64) / 2  # b<-a, c<-a
    assert parts.read_by("a")[0, 0] == (2 + 4) / 2  # a<-b, a<-c


def test_what_is_recovered_is_the_mean_over_what_a_patient_has():
    parts = components({"a": [True, True, False], "b": [True, False, False], "c": [True, True, False]})
    assert parts.recovered("b")[:, 0].tolist() == [180.0, 0.0, 0.0]
    assert parts.recovered_mean()[:, 0].tolist() == [(90 + 180 + 270) / 3, (90 + 270) / 2, 0.0]
    assert parts.complete.tolist() == [True, False, False]


def test_means_over_complete_patients_leave_the_others_out():
    values = torch.tensor([1.0, 5.0, 100.0])
    assert float(components({"a": [True, True, True], "b": [True, True, False]}).over_complete(values)) == 3
    assert float(components({"a": [True, False, True], "b": [False, True, False]}).over_complete(values)) == 0
