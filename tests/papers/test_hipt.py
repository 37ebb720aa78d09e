"""HIPT: patches make regions, regions the slide."""

import math

import pytest
import torch

from prognos.models import hipt as module
from prognos.nn.grid import grid_step, square_regions
from prognos.types import Bag, Tokens
from tests.papers.comparison_by_hand import linear, made, patients, softmax, weighted

SMALL = {"side": 2, "local_layers": 1, "local_heads": 2, "local_hidden": 6, "global_heads": 2, "global_hidden": 6, "global_layers": 1}
PLACES = torch.tensor([[0, 0], [256, 0], [512, 256], [512, 512], [768, 512]])
REGIONS = [[0, 1], [2], [3, 4]]
"""Which of these places lie together on a grid of 2 x 2 patches of 256 pixels, by column, then by row of the region."""
WITHIN = [0, 1, 2, 0, 1]
"""Row by row, the place of each in its region."""


def lying(coords=PLACES):
    """The two patients, the first with patches at these places and the second with the first three of them."""
    bag = patients()
    histology = bag["histology"]
    return Bag(bag.patients, {"histology": Tokens(histology.values, histology.mask, coords.double().expand(2, 5, 2))})


def layer_by_hand(layer, tokens):
    """Every token looks at every token by two heads, then a network; each adds to what it read."""
    look, normed = layer.mix.attention, [layer.mix.norm(t) for t in tokens]
    query, key, value = ([linear(part, t) for t in normed] for part in (look.query, look.key, look.value))
    rows = []
    for i, token in enumerate(tokens):
        heads = []
        for at in (slice(0, 4), slice(4, 8)):
            weights = softmax([float(query[i][at] @ k[at]) / math.sqrt(4) for k in key])
            heads.append(weighted(weights, [v[at] for v in value]))
        token = token + linear(look.output, torch.cat(heads))
        hidden = torch.nn.functional.gelu(linear(layer.network.layers[0], layer.norm(token)))
        rows.append(token + linear(layer.network.layers[3], hidden))
    return rows


@torch.no_grad()
def test_a_region_is_the_class_token_of_its_patches_and_the_slide_a_pool_of_its_regions():
    model, bag = made("hipt", **SMALL), lying()
    prediction, local = model(bag), model.region
    rows = bag["histology"].values[0]
    regions = []
    for own in REGIONS:
        embedded = [torch.nn.functional.gelu(linear(model.patches.linear, rows[p])) + local.position[WITHIN[p]] for p in own]
        regions.append(local.norm(layer_by_hand(local.layers[0], [local.class_token, *embedded])[0]))
    widened = [linear(model.widen[0], region).clamp(min=0) for region in regions]
    mixed = [model.slide.mix[1](token) for token in layer_by_hand(model.slide.mix[0], widened)]
    score = model.slide.score
    gates = [linear(score.content[0], t).tanh() * linear(score.gate[0], t).sigmoid() for t in mixed]
    weights = softmax([float(linear(score.score, gate)[0]) for gate in gates])
    expected = model.head(linear(model.slide.dense[0], weighted(weights, mixed)).clamp(min=0)[None]).risk[0]
    assert float(prediction.risk[0]) == pytest.approx(float(expected), rel=1e-6)
    assert prediction.evidence["region_weights"][0].tolist() == pytest.approx(weights, rel=1e-6)
    (attention,) = model.patch_maps(bag, prediction, 0)
    assert attention.values.tolist() == pytest.approx([weights[r] for r in (0, 0, 1, 2, 2)], rel=1e-6)


def test_the_step_of_the_grid_is_the_commonest_gap_and_patches_that_were_not_drawn_do_not_change_it():
    grid = 224.0 * torch.cartesian_prod(torch.arange(9), torch.arange(9))
    drawn = grid[torch.randperm(81, generator=torch.Generator().manual_seed(0))[:40]]
    assert grid_step(grid) == grid_step(drawn) == 224
    assert grid_step(torch.tensor([[5.0, 7.0]])) == grid_step(torch.empty(0, 2)) == 1


def test_regions_lie_on_the_grid_of_the_slide_whatever_was_drawn():
    region, place = square_regions(PLACES.float(), side=2)
    assert [[p for p in range(5) if region[p] == r] for r in range(3)] == REGIONS
    assert place.tolist() == WITHIN
    assert square_regions(PLACES[[1, 2, 3, 4]].float(), side=2)[1].tolist() == WITHIN[1:]


@torch.no_grad()
def test_each_slide_has_regions_of_its_own():
    grid = torch.tensor([[x, y] for y in range(4) for x in range(4)], dtype=torch.float32)
    coords, slide = torch.cat([256 * grid, 100 * grid]), torch.arange(32) // 16  # at the same corner, with steps of their own
    region, place = square_regions(coords, 2, slide)
    alone = [square_regions(part, 2) for part in coords.split(16)]
    assert region.tolist() == [*alone[0][0].tolist(), *(4 + alone[1][0]).tolist()]
    assert place.tolist() == [*alone[0][1].tolist(), *alone[1][1].tolist()]


def test_regions_read_in_other_company_or_in_pieces_are_the_same(monkeypatch):
    model = made("hipt", **{**SMALL, "side": 16})
    generator = torch.Generator().manual_seed(1)
    sizes = [40, 3, 256, 17]
    tokens = torch.randn(sum(sizes), 8, generator=generator, dtype=torch.float64)
    places = torch.cat([torch.randperm(256, generator=generator)[:size] for size in sizes])
    together = model.region(tokens, places, sizes)
    singly = [model.region(t, p, [len(t)])[0] for t, p in zip(tokens.split(sizes), places.split(sizes), strict=True)]
    assert torch.allclose(together, torch.stack(singly))
    monkeypatch.setattr(module, "ROUNDED", 256)  # all of them padded to the largest
    assert torch.allclose(model.region(tokens, places, sizes), together)


def test_the_gradient_is_the_same_where_regions_are_computed_again(monkeypatch):
    model, found = made("hipt", **{**SMALL, "side": 16}), []
    tokens, places = torch.ones(5, 8, dtype=torch.float64), torch.arange(5)
    for most in (8192, 1):
        monkeypatch.setattr(module, "CHUNK", most)
        model.zero_grad()
        model.region(tokens, places, [2, 3]).square().sum().backward()
        found.append([p.grad.clone() for p in model.region.parameters()])
    assert all(torch.allclose(one, other) for one, other in zip(*found, strict=True))


def test_patches_without_coordinates_are_refused():
    unknown = lying(torch.full((5, 2), torch.nan))
    with pytest.raises(ValueError, match=r"patches of 2 patients \(a, b\) have no coordinates, and hipt makes regions of them: extract"):
        made("hipt", **SMALL)(unknown)
    with pytest.raises(ValueError, match="have no coordinates"):
        made("hipt", **SMALL)(patients())
