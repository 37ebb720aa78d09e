"""Clinical Cox: age, sex, tumour stage and grade, the comparison that the field's tables leave out.

D. R. Cox, "Regression models and life-tables", JRSS B 1972, with a ridge penalty:
minimise  l(b) + penalty / 2 |b|^2,  l = Eq. 56 with Efron's ties, b over columns standardised on the training fold.

The penalty is the one of the grid whose cross-validated partial likelihood is best: sum over inner folds of
l(all training patients) - l(inner training part), both at the coefficients of the inner training part (Verweij and van
Houwelingen 1993). Inner folds keep sites together where the training fold has sites enough.
"""

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from prognos.models.contract import Model, ModelConfig, Needs
from prognos.risk import CoxHead
from prognos.risk.cox import partial_likelihood_loss
from prognos.types import Bag, InputShape, Prediction, Progress, TrainingFold


class ClinicalConfig(ModelConfig):
    """Settings of the clinical Cox model."""

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), min_length=1, description="ridge penalties that are tried"
    )
    inner_folds: int = Field(5, ge=2, description="inner folds that choose the penalty")


class Clinical(Model):
    """Clinical columns -> log-risk. Evidence: `coefficients` (columns,), log hazard ratios per standard deviation."""

    Config = ClinicalConfig
    needs = Needs(modalities=("clinical",))
    trained = False
    config: ClinicalConfig
    head: CoxHead
    penalty: Tensor

    def __init__(self, config: ClinicalConfig, shape: InputShape):
        super().__init__(config, shape)
        self.head = CoxHead(shape.tables["clinical"], ties="efron")
        self.register_buffer("penalty", torch.tensor(float("nan"), dtype=torch.float64))

    def learn(self, train: TrainingFold) -> None:
        """The penalty by inner cross-validation, then the coefficients on the whole training fold."""
        columns = torch.cat([bag["clinical"].values[:, 0] for bag in train.bags(batch_size=1024)]).double()
        time, event = train.survival.time.double(), train.survival.event
        inner = _inner_folds(train, self.config.inner_folds)
        scores = [_cross_validated_likelihood(columns, time, event, inner, p) for p in self.config.penalties]
        self.penalty.fill_(self.config.penalties[int(np.argmax(scores))])
        coefficients = ridge_coefficients(columns, time, event, float(self.penalty))
        with torch.no_grad():
            self.head.weight.weight.copy_(coefficients[None, :])

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The log-risk of the clinical columns."""
        prediction = self.head(bag["clinical"].values[:, 0])
        return Prediction(prediction.risk, evidence={"coefficients": self.head.weight.weight[0].detach()})


def ridge_coefficients(
    columns: Float[Tensor, "batch columns"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], penalty: float
) -> Float[Tensor, " columns"]:
    """The minimiser of l(b) + penalty / 2 |b|^2 by Newton's steps, halved until the objective falls."""

    def objective(b: Float[Tensor, " columns"]) -> float:
        return float(partial_likelihood_loss(columns @ b, time, event, "efron") + penalty / 2 * (b * b).sum())

    b = columns.new_zeros(columns.shape[1])
    if not columns.shape[1] or not event.any():
        return b
    descending = torch.argsort(time, descending=True, stable=True)
    ordered = columns[descending], time[descending], event[descending]
    value = objective(b)
    for _ in range(50):
        slope, curvature = _derivatives(*ordered, b)
        step = torch.linalg.solve(curvature + penalty * torch.eye(len(b), dtype=b.dtype, device=b.device), slope + penalty * b)
        share = 1.0
        while (reached := objective(b - share * step)) > value and share > 1e-6:
            share /= 2
        if reached > value:
            break  # to the last digit there is nothing lower
        b, value = b - share * step, reached
        if float(step.abs().max()) < 1e-9:
            break
    return b


def _derivatives(
    columns: Float[Tensor, "batch columns"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], b: Float[Tensor, " columns"]
) -> tuple[Float[Tensor, " columns"], Float[Tensor, "columns columns"]]:
    """Gradient and Hessian of l(b) for patients in the order of falling time.

    With w = exp(columns b), M_k = sum of w x^k over the patients at risk at an event, less the share l / d of the tied
    events (Efron): gradient = mean over events of M_1 / M_0 - x, Hessian = mean of M_2 / M_0 - (M_1 / M_0)(M_1 / M_0)^T.
    """
    risk = columns @ b
    weight = torch.exp(risk - risk.max())  # a common factor leaves every ratio as it is
    moments = weight[:, None] * torch.cat([torch.ones_like(columns[:, :1]), columns, _squares(columns)], dim=1)
    _, group, size = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    last = torch.cumsum(size, 0) - 1
    at_risk = torch.cumsum(moments, 0)[last[group]]
    died = event.to(columns.dtype)
    tied = torch.zeros(len(size), moments.shape[1], dtype=moments.dtype, device=moments.device).index_add(0, group, moments * died[:, None])
    n_tied = torch.zeros(len(size), dtype=died.dtype, device=died.device).index_add(0, group, died)
    before = torch.cumsum(died, 0) - died
    rank = before - before[(last - size + 1)[group]]  # l = 0 .. d - 1
    left = (at_risk - (rank / n_tied[group].clamp(min=1))[:, None] * tied[group])[event]
    n_columns = columns.shape[1]
    mean = left[:, 1 : n_columns + 1] / left[:, :1]
    square = (left[:, n_columns + 1 :] / left[:, :1]).mean(dim=0).reshape(n_columns, n_columns)
    return (mean - columns[event]).mean(dim=0), square - mean.T @ mean / len(mean)


def _squares(columns: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch squares"]:
    """x x^T of each patient, as one row."""
    return (columns[:, :, None] * columns[:, None, :]).flatten(1)


def _cross_validated_likelihood(
    columns: Float[Tensor, "batch columns"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], inner: np.ndarray, penalty: float
) -> float:
    """Sum over inner folds of what the held-out patients add to the partial log-likelihood."""
    total = 0.0
    for fold in np.unique(inner):
        kept = torch.as_tensor(inner != fold)
        if not event[kept].any():
            continue
        b = ridge_coefficients(columns[kept], time[kept], event[kept], penalty)
        everyone = partial_likelihood_loss(columns @ b, time, event, "efron") * event.sum()
        inside = partial_likelihood_loss(columns[kept] @ b, time[kept], event[kept], "efron") * event[kept].sum()
        total += float(inside - everyone)
    return total


def _inner_folds(train: TrainingFold, n_folds: int) -> np.ndarray:
    """Fold of each training patient: whole sites dealt by their events where there are sites enough, else patients."""
    sites, event = np.array(train.sites), train.survival.event.cpu().numpy()
    known = sites != ""
    groups = np.where(known, sites, np.char.add("patient ", np.array(train.patients)))
    if len(set(groups)) < 2 * n_folds:
        groups = np.array(train.patients)
    names, index = np.unique(groups, return_inverse=True)
    events, patients = np.bincount(index, weights=event), np.bincount(index)
    load = np.zeros((n_folds, 2))
    fold_of_group = np.zeros(len(names), dtype=int)
    for group in sorted(range(len(names)), key=lambda g: (-events[g], -patients[g], names[g])):
        fold = min(range(n_folds), key=lambda f: (load[f, 0], load[f, 1], f))
        fold_of_group[group] = fold
        load[fold] += (events[group], patients[group])
    return fold_of_group[index]
