"""One vector a modality: patches pooled by gated attention, genes through two layers."""

import pytest
import torch
from tests.contract.tiny_models import Fold
from tests.papers.comparison_by_hand import linear, patients, softmax, weighted

from prognos.models.contract import Needs
from prognos.nn.modality_vectors import ModalityEncoders
from prognos.types import InputShape


def encoders(shape: InputShape, dropout: float = 0.0) -> ModalityEncoders:
    torch.manual_seed(0)
    return ModalityEncoders(shape, 3, d_attention=2, dropout=dropout)


@torch.no_grad()
def test_patches_are_pooled_by_attention_and_genes_pass_two_layers():
    one, bag = encoders(InputShape(d_patch=4, n_genes=5)).double(), patients("genes")
    found = one(bag)
    for i, n in enumerate((5, 3)):
        tokens = [linear(one.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        gated = [linear(one.attention.content[0], t).tanh() * linear(one.attention.gate[0], t).sigmoid() for t in tokens]
        weights = softmax([float(linear(one.attention.score, g)[0]) for g in gated])
        assert found.attention[i].tolist() == pytest.approx(weights, rel=1e-6)
        slide = linear(one.slides[0], weighted(weights, tokens)).clamp(min=0)
        assert found.values[i, 0].tolist() == pytest.approx(slide.tolist(), rel=1e-6)
        genes = bag["omics"].values[i, 0]
        for layer in (one.genes[0], one.genes[3]):
            genes = linear(layer, genes)
            genes = torch.where(genes > 0, genes, genes.exp() - 1)
        assert found.values[i, 1].tolist() == pytest.approx(genes.tolist(), rel=1e-6)


@torch.no_grad()
def test_the_vector_of_an_absent_modality_is_zero():
    bag = patients("genes").without("histology", patients=torch.tensor([True, False]))
    found = encoders(InputShape(d_patch=4, n_genes=5)).double()(bag)
    assert found.present.tolist() == [[False, True], [True, True]]
    assert not found.values[0, 0].any()
    assert found.values[0, 1].any()


def test_training_patients_are_read_in_order_without_dropout_and_training_goes_on():
    one, fold = encoders(InputShape(d_patch=8, n_genes=5), dropout=0.5).train(), Fold(Needs(("histology", "omics")))
    found = one.of_training_patients(fold)
    assert one.training
    assert torch.allclose(found.values, one.eval()(next(fold.bags(6))).values, atol=1e-6)
    assert not found.values.requires_grad
