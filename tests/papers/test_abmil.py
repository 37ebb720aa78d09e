"""ABMIL as printed: gated attention over the patches."""

import pytest
import torch

from tests.papers.comparison_by_hand import linear, made, patients, softmax, weighted


@torch.no_grad()
def test_a_patch_counts_by_its_gated_score_and_the_patient_is_the_weighted_sum():
    model, bag = made("abmil", d_attention=6), patients()
    prediction, score = model(bag), model.attention
    for i, n in enumerate((5, 3)):
        tokens = [linear(model.encoder.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        gated = [linear(score.content[0], token).tanh() * linear(score.gate[0], token).sigmoid() for token in tokens]
        weights = softmax([float(linear(score.score, one)[0]) for one in gated])
        assert prediction.evidence["attention"][i].tolist() == pytest.approx(weights, rel=1e-6)
        embedding = linear(model.pooled[0], weighted(weights, tokens)).clamp(min=0)
        assert prediction.evidence["embedding"][i].tolist() == pytest.approx(embedding.tolist(), rel=1e-6)
        assert float(prediction.risk[i]) == pytest.approx(float(model.head(embedding[None]).risk[0]), rel=1e-6)
