"""AttnMISL: kinds of patches, learnt on the training fold, and attention over them."""

import pytest
import torch

from prognos.models import entry_of
from prognos.models.attnmisl import AttnMISL, AttnMISLConfig
from prognos.types import InputShape
from tests.contract.tiny_models import Fold
from tests.papers.comparison_by_hand import linear, made, patients, softmax, weighted


@torch.no_grad()
def test_a_kind_is_the_mean_of_its_patches_and_attention_is_over_the_kinds_that_there_are():
    model, bag = made("attnmisl", n_prototypes=3), patients()
    model.centres.copy_(torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    model.centres[2] = 1e3  # nobody is near
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        rows = bag["histology"].values[i, :n]
        kinds = [min(range(3), key=lambda k, row=row: float((row - model.centres[k]).norm())) for row in rows]
        assert prediction.evidence["kinds"][i].tolist() == kinds
        tokens = [linear(model.patches.linear, row).clamp(min=0) for row in rows]
        present = sorted(set(kinds))
        means = [sum(t for t, k in zip(tokens, kinds, strict=True) if k == kind) / kinds.count(kind) for kind in present]
        scores = [float(linear(model.score[2], linear(model.score[0], mean).tanh())[0]) for mean in means]
        weights = softmax(scores)
        expected = [weights[present.index(k)] if k in present else 0.0 for k in range(3)]
        assert prediction.evidence["kind_attention"][i].tolist() == pytest.approx(expected, rel=1e-6)
        hidden = linear(model.dense[0], weighted(weights, means)).clamp(min=0)
        assert float(prediction.risk[i]) == pytest.approx(float(model.head(hidden[None]).risk[0]), rel=1e-6)


def test_the_kinds_are_learnt_from_the_training_patients_and_travel_with_the_weights():
    needs = entry_of("attnmisl").load().needs
    model = AttnMISL(AttnMISLConfig(d_model=4, n_prototypes=3), InputShape(d_patch=8))
    model.learn(Fold(needs))
    patches = torch.cat([bag["histology"].rows(0) for bag in Fold(needs).bags()])
    assert bool((model.centres >= patches.amin(dim=0) - 1e-5).all())
    assert bool((model.centres <= patches.amax(dim=0) + 1e-5).all())
    assert "centres" in model.state_dict()
