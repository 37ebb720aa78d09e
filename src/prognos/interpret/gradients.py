"""Integrated gradients: what each measurement adds to a risk, from a patient of whom all of them are 0 to the patient who is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from prognos.types import Bag

STEPS = 32
"""Points of the quadrature between the baseline and the patient."""


@dataclass(frozen=True)
class IntegratedGradients:
    """What one modality adds to the risks of some patients.

    Args:
        patients: ids.
        values: by how much each measurement raises the risk, in the unit of the risk.
        risk: what the model says of the patients.
        baseline: what it says of them with every measurement of the modality at 0 and all else as it is.
    """

    patients: tuple[str, ...]
    values: Float[np.ndarray, "patients tokens width"]
    risk: Float[np.ndarray, " patients"]
    baseline: Float[np.ndarray, " patients"]

    @property
    def unexplained(self) -> Float[np.ndarray, " patients"]:
        """What the values lack to the difference of the two risks: 0 for an exact integral of a gradient that sees everything."""
        return self.risk - self.baseline - self.values.sum(axis=(1, 2))


def integrated_gradients(model: nn.Module, bag: Bag, modality: str = "omics", *, steps: int = STEPS) -> IntegratedGradients:
    """The integrated gradients of the risk for one modality.

    x (integral from 0 to 1 of risk'(a x) da), with a = t^2 and Gauss and Legendre's quadrature over t: norms inside a model make the risk
    change fastest near 0, and half of the points are then below a quarter of the way. The baseline 0 is, after scaling, the training median
    of RNA, the neutral copy number and no mutation; a patient keeps being one who has the modality.

    Args:
        model: in evaluation mode; a bag in, a prediction out.
        bag: patients who have the modality.
        modality: whose measurements are looked at.
        steps: points of the quadrature, at least 1.

    Raises:
        ValueError: fewer than 1 step, or a model whose risk does not depend on the modality.
    """
    if steps < 1:
        raise ValueError(f"integrated gradients take at least 1 step, and {steps} were asked for.")
    whole = bag[modality].values.detach()
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(whole)
    with _constant_parameters(model):
        for root, weight in zip((points + 1) / 2, weights / 2, strict=True):
            values = (float(root**2) * whole).requires_grad_()
            risk = model(_with(bag, modality, values)).risk
            if not risk.requires_grad:
                raise ValueError(f"the risk of {type(model).__name__} has no gradient for {modality}: attribute a model that reads it.")
            total += float(2 * root * weight) * torch.autograd.grad(risk.sum(), values)[0]
        with torch.no_grad():
            ends = [model(_with(bag, modality, share * whole)).risk.double().cpu().numpy() for share in (1.0, 0.0)]
    return IntegratedGradients(bag.patients, (total * whole).double().cpu().numpy(), *ends)


def _with(bag: Bag, modality: str, values: torch.Tensor) -> Bag:
    return replace(bag, modalities={**bag.modalities, modality: replace(bag[modality], values=values)})


@contextmanager
def _constant_parameters(model: nn.Module) -> Iterator[None]:
    """No gradient for parameters: what does not depend on the measurements then keeps nothing in memory."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
