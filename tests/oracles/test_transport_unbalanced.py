"""POT agrees on transport with two soft marginals."""

import warnings

import numpy as np
import pytest
import torch

from prognos.nn.transport_unbalanced import unbalanced_plan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ot = pytest.importorskip("ot")


@pytest.mark.parametrize("kl_weight", [0.1, 0.5, 5.0])
def test_the_plan_is_pots(kl_weight):
    cost = torch.rand(1, 40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = unbalanced_plan(cost, kl_weight=kl_weight, epsilon=0.1)[0].numpy()
    uniform = [np.full(n, 1 / n) for n in (40, 6)]
    theirs = ot.unbalanced.sinkhorn_unbalanced(*uniform, cost[0].numpy(), 0.1, kl_weight, reg_type="kl", numItermax=20_000, stopThr=1e-14)
    assert ours == pytest.approx(theirs, rel=1e-5)
