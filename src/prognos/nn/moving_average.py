"""A moving average of the weights of a network, kept beside it."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

DECAY = 0.999

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(nn.Module, Generic[Network]):
    """A copy of a network whose weights follow those of the network, each step by a small part of the way.

    The decay of the n-th step is min(decay, (1 + n) / (10 + n)), so that the first weights are soon forgotten. The copy's
    weights are buffers: they travel with the state of the model, and no optimiser sees them.

    Args:
        network: what is followed; it is not held.
        decay: share of the average that stays in a step.
    """

    network: Network
    updates: Tensor

    def __init__(self, network: Network, decay: float = DECAY):
        super().__init__()
        self.decay = decay
        self.network = _with_buffers(copy.deepcopy(network))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: Network) -> None:
        """Moves the average towards the weights that the network has now."""
        self.updates += 1
        n = int(self.updates)
        weights = dict(network.named_parameters())
        averages = dict(self.network.named_buffers())
        share = 1.0 - min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([averages[name] for name in weights], list(weights.values()), share)


def _with_buffers(network: Network) -> Network:
    """The network with every parameter made a buffer of the same name."""
    for module in network.modules():
        for name, weight in list(module._parameters.items()):
            del module._parameters[name]
            module.register_buffer(name, None if weight is None else weight.detach().clone())
    return network
