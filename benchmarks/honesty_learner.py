"""The learner of `honesty.py`: a small discrete-time network on pooled features, of which every epoch is kept.

It is the same on both sides of the comparison. All fits of a replicate are trained side by side as one batched product; each
has its own patients, scaler and cuts, and fits of the same seed begin from the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from prognos.risk.discrete import DiscreteHead, likelihood_loss, quantile_cuts
from prognos.types import Prediction, Survival

HIDDEN, BINS, EPOCHS, BATCH_SIZE = 16, 4, 40, 32
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2


class Network(nn.Module):
    """One hidden layer under the discrete head of prognos.

    Args:
        width: columns of a patient.
    """

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Linear(width, HIDDEN)
        self.head = DiscreteHead(HIDDEN, BINS)

    def forward(self, columns: Tensor) -> Prediction:
        """Hazards and risk; columns are patients x width."""
        return self.head(torch.relu(self.hidden(columns)))


@dataclass(frozen=True)
class Part:
    """What one fit learns from.

    Args:
        train: index of each training patient.
        cuts_from: index of each patient of whose events the time bins are quantiles.
        seed: of the first weights and of the batches.
    """

    train: np.ndarray
    cuts_from: np.ndarray
    seed: int


@dataclass(frozen=True)
class Fit:
    """One fitted network after each of its epochs.

    Args:
        centre: mean of each column over the training patients who have it.
        spread: standard deviation of each column.
        network: it holds cuts; its weights are put in by `predict`.
        weights: for each epoch the weights, in the order of `network.parameters()`.
    """

    centre: np.ndarray
    spread: np.ndarray
    network: Network
    weights: list[list[Tensor]]

    @torch.no_grad()
    def predict(self, features: np.ndarray, epoch: int = -1) -> Prediction:
        """Hazards and risk of patients after an epoch; the last one when not said. A missing modality is the training mean."""
        for parameter, value in zip(self.network.parameters(), self.weights[epoch], strict=True):
            parameter.copy_(value)
        return self.network(torch.from_numpy(_scaled(features, self.centre, self.spread)))

    def survival(self, prediction: Prediction, horizons: np.ndarray) -> np.ndarray:
        """Survival curves of patients; patients x horizons."""
        return self.network.head.survival_curve(prediction, torch.from_numpy(horizons)).numpy()


def fit_all(features: np.ndarray, time: np.ndarray, event: np.ndarray, parts: Sequence[Part]) -> list[Fit]:
    """A fit of each part, trained by AdamW in batches that wrap around where a part has fewer patients than the largest one."""
    survival = Survival(torch.from_numpy(time), torch.from_numpy(event))
    scalers = [_scaler(features[part.train]) for part in parts]
    networks = [_beginning(features.shape[1], survival, part) for part in parts]
    columns = torch.from_numpy(np.stack([_scaled(features, *scaler) for scaler in scalers]))
    bins = torch.stack([torch.searchsorted(network.head.cuts, survival.time, right=True) for network in networks])
    stacked = [nn.Parameter(torch.stack(own).detach()) for own in zip(*(network.parameters() for network in networks), strict=True)]
    optimiser = torch.optim.AdamW(stacked, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    order = [np.random.default_rng(part.seed) for part in parts]
    n_batches = -(-max(len(part.train) for part in parts) // BATCH_SIZE)
    fit_of = torch.arange(len(parts))[:, None]
    history = []
    for _ in range(EPOCHS):
        drawn = [np.resize(generator.permutation(part.train), n_batches * BATCH_SIZE) for generator, part in zip(order, parts, strict=True)]
        for batch in torch.from_numpy(np.stack(drawn)).split(BATCH_SIZE, dim=1):
            loss = likelihood_loss(_logits(stacked, columns[fit_of, batch]), bins[fit_of, batch].flatten(), survival.event[batch].flatten())
            optimiser.zero_grad()
            (loss * len(parts)).backward()  # the mean over all fits becomes a mean in each
            optimiser.step()
        history.append([value.detach().clone() for value in stacked])
    weights = [[[value[place] for value in epoch] for epoch in history] for place in range(len(parts))]
    return [Fit(*scaler, network, own) for scaler, network, own in zip(scalers, networks, weights, strict=True)]


def _beginning(width: int, survival: Survival, part: Part) -> Network:
    """A network before training: cuts, and hazards of its part on average."""
    torch.manual_seed(part.seed)
    network = Network(width)
    network.head.learn_marginal(survival[torch.from_numpy(part.train)])
    source = survival[torch.from_numpy(part.cuts_from)]
    network.head.cuts = quantile_cuts(source.time, source.event, BINS)
    assert len(network.head.cuts) == BINS - 1
    return network


def _logits(stacked: Sequence[Tensor], columns: Tensor) -> Tensor:
    """Hazard logits of all fits, one below the other; columns are fits x batch x width."""
    in_weight, in_bias, out_weight, out_bias = stacked
    hidden = torch.relu(torch.baddbmm(in_bias[:, None], columns, in_weight.mT))
    return torch.baddbmm(out_bias[:, None], hidden, out_weight.mT).flatten(0, 1)


def _scaler(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the patients who have it: a missing modality is no number to average."""
    there = ~np.isnan(features)
    n_there = there.sum(axis=0)
    centre = np.where(there, features, 0).sum(axis=0) / n_there
    spread = np.sqrt((np.where(there, features - centre, 0) ** 2).sum(axis=0) / n_there)
    return centre.astype(np.float32), spread.astype(np.float32)


def _scaled(features: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(features), np.float32(0), (features - centre) / spread)
