"""TransMIL: positions follow the order of patches, and the order can be the slide's."""

import pytest
import torch

from prognos.nn.grid import raster_order
from prognos.types import Bag, Tokens
from tests.papers.comparison_by_hand import linear, made, patients


@torch.no_grad()
def test_the_risk_is_read_from_the_class_token():
    model, bag = made("transmil"), patients()
    for i, n in enumerate((5, 3)):
        tokens = torch.stack([linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]])
        whole, _ = model.encoder(tokens)
        assert float(model(bag).risk[i]) == pytest.approx(float(model.head(whole[None]).risk[0]), rel=1e-6)


def test_raster_order_goes_by_rows_then_columns():
    coords = torch.tensor([[512, 0], [0, 256], [0, 0], [256, 256]])
    assert raster_order(coords).tolist() == [2, 0, 1, 3]
    assert raster_order(coords, torch.tensor([1, 0, 1, 0])).tolist() == [1, 3, 2, 0]  # slide by slide


@torch.no_grad()
def test_in_raster_order_the_order_of_the_file_does_not_matter():
    model, bag = made("transmil", order="raster"), patients()
    coords = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]).expand(2, 5, 2).clone()
    histology = bag["histology"]
    turned = [4, 2, 0, 3, 1]
    one = Bag(("a",), {"histology": Tokens(histology.values[:1], histology.mask[:1], coords[:1])})
    other = Bag(("a",), {"histology": Tokens(histology.values[:1, turned], histology.mask[:1], coords[:1, turned])})
    assert torch.allclose(model(one).risk, model(other).risk)
    given = made("transmil")
    assert not torch.allclose(given(one).risk, given(other).risk)
