"""What stands for a component of a patient that was not measured: five generators behind one interface.

A generator gives a vector (`target`) from another (`condition`). Diffusion draws from a distribution, a regressor gives its
mean; the training mean, zero and the nearest training patients cost nothing and say what the two others are worth.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prognos.nn.diffusion import TRAINING_STEPS, Denoiser, add_noise, ddim_sample, noise_share, sampling_times
from prognos.nn.moving_average import MovingAverage

GeneratorKind = Literal["diffusion", "regressor", "mean", "zero", "nearest"]


class Generator(nn.Module):
    """The contract of a generator; never built itself.

    Targets and conditions are standardised per dimension by what the training fold has; a dimension that does not vary is
    only centred. None of n values lies further than sqrt(n) standard deviations from their mean: a condition outside that
    range is like none of the training fold and is read as lying on its border.

    Args:
        d_model: width of target and condition.
    """

    stochastic: ClassVar[bool] = False
    """Two draws differ."""
    trained: ClassVar[bool] = False
    """It has a stage of training by gradients."""

    target_mean: Tensor
    target_sd: Tensor
    condition_mean: Tensor
    condition_sd: Tensor
    reach: Tensor

    def __init__(self, d_model: int):
        super().__init__()
        for name in ("target", "condition"):
            self.register_buffer(f"{name}_mean", torch.zeros(d_model))
            self.register_buffer(f"{name}_sd", torch.ones(d_model))
        self.register_buffer("reach", torch.tensor(math.inf))

    @torch.no_grad()
    def learn(self, target: Float[Tensor, "patients d_model"], condition: Float[Tensor, "patients d_model"]) -> None:
        """Mean and standard deviation of both, from the training fold.

        Raises:
            ValueError: there is no patient.
        """
        if not len(target):
            raise ValueError(
                "a generator learns from training patients who have both modalities, and there are 0; "
                "take a cohort, or a rate of missing modalities in training, that leaves some."
            )
        self.target_mean, self.target_sd = _mean_and_sd(target)
        self.condition_mean, self.condition_sd = _mean_and_sd(condition)
        self.reach = torch.full_like(self.reach, math.sqrt(len(condition)))

    def loss(
        self, target: Float[Tensor, "batch d_model"], condition: Float[Tensor, "batch d_model"], prior: Float[Tensor, " d_model"] | None
    ) -> Float[Tensor, ""]:
        """What training lowers, a mean over the batch; only of generators that are `trained`.

        In training mode it is that of the weights in training, else that of the weights that `sample` uses.

        Args:
            target: the component of patients who have it.
            condition: what is known of them when it is missing.
            prior: a vector that is the same for all patients (the class token of the component), or None.
        """
        raise NotImplementedError(f"{type(self).__name__} has no training by gradients")

    def after_step(self) -> None:
        """What follows a step of the optimiser."""

    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """Draws of the target for each patient, fixed by the noise from N(0, I); without gradients."""
        raise NotImplementedError

    def standard_condition(self, condition: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch d_model"]:
        """Conditions in standard deviations of the training fold, within its range."""
        return ((condition - self.condition_mean) / self.condition_sd).clamp(-self.reach, self.reach)

    def standard_target(self, target: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch d_model"]:
        """Targets in standard deviations of the training fold."""
        return (target - self.target_mean) / self.target_sd

    def from_standard(self, target: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The inverse of `standard_target`."""
        return self.target_mean + self.target_sd * target


class Diffusion(Generator):
    """Draws by conditional diffusion: noise prediction (Eq. 17-19) and deterministic steps from given noise (Eq. 21).

    The loss is the squared norm of Eq. 19 over the width, a mean over dimensions. Samples come from a moving average of the weights.

    Args:
        d_model: width of target, condition and tokens.
        layers: layers of the denoiser.
        heads: attention heads.
        d_hidden: width inside the denoiser's feed-forward parts.
        steps: sampling steps.
        joint: whether time and condition look at the noisy target too.
    """

    stochastic = True
    trained = True

    def __init__(self, d_model: int, *, layers: int, heads: int, d_hidden: int, steps: int, joint: bool = False):
        super().__init__(d_model)
        self.times = sampling_times(steps)
        self.network = Denoiser(d_model, layers=layers, heads=heads, d_hidden=d_hidden, joint=joint)
        self.average = MovingAverage(self.network)

    def loss(
        self, target: Float[Tensor, "batch d_model"], condition: Float[Tensor, "batch d_model"], prior: Float[Tensor, " d_model"] | None
    ) -> Float[Tensor, ""]:
        """Eq. 19 at one random time and noise a patient, drawn from torch's generator."""
        denoiser = self.network if self.training else self.average.network
        clean = self.standard_target(target)
        time = torch.randint(TRAINING_STEPS, (len(clean),), device=clean.device)
        noise = torch.randn_like(clean)
        noisy = add_noise(clean, noise, noise_share(time))
        return (denoiser(noisy, time, self.standard_condition(condition), prior) - noise).square().mean()

    def after_step(self) -> None:
        """The moving average takes its step."""
        self.average.follow(self.network)

    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """Draws of the target: all draws of all patients go through the denoiser together."""
        with torch.inference_mode():
            times = torch.tensor(self.times, device=noise.device)
            conditions = self.standard_condition(condition).repeat(len(noise), 1)
            predict_noise = self.average.network.at_steps(times, conditions, prior)
            clean = ddim_sample(predict_noise, noise.flatten(0, 1), len(self.times))
            sample = self.from_standard(clean.view_as(noise))
        return sample.clone()  # what is made in inference mode could not enter a gradient later


class Regressor(Generator):
    """The mean of the target given the condition, by a network with two hidden layers; the prior is not read.

    Args:
        d_model: width of target and condition.
        d_hidden: width of the hidden layers.
    """

    trained = True

    def __init__(self, d_model: int, *, d_hidden: int):
        super().__init__(d_model)
        self.network = nn.Sequential(
            nn.Linear(d_model, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_model)
        )
        self.average = MovingAverage(self.network)

    def loss(
        self, target: Float[Tensor, "batch d_model"], condition: Float[Tensor, "batch d_model"], prior: Float[Tensor, " d_model"] | None
    ) -> Float[Tensor, ""]:
        """Squared error of the standardised target, a mean over patients and dimensions."""
        network = self.network if self.training else self.average.network
        return (network(self.standard_condition(condition)) - self.standard_target(target)).square().mean()

    def after_step(self) -> None:
        """The moving average takes its step."""
        self.average.follow(self.network)

    @torch.no_grad()
    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """The same mean for each draw."""
        return self.from_standard(self.average.network(self.standard_condition(condition))).expand_as(noise)


class TrainingMean(Generator):
    """The mean of the training fold, for every patient."""

    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """The same mean for each patient and draw."""
        return self.target_mean.expand_as(noise)


class Zero(Generator):
    """Zeros: the component is left out."""

    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """Zeros."""
        return torch.zeros_like(noise)


class Nearest(Generator):
    """The mean target of the training patients whose standardised conditions are nearest (Euclidean).

    Args:
        d_model: width of target and condition.
        neighbours: how many patients; all of the training fold when it has fewer.

    Raises:
        ValueError: less than one neighbour.
    """

    conditions: Tensor
    targets: Tensor

    def __init__(self, d_model: int, *, neighbours: int):
        super().__init__(d_model)
        if neighbours < 1:
            raise ValueError(f"the nearest patients must be at least 1, got neighbours = {neighbours}.")
        self.neighbours = neighbours
        self.register_buffer("conditions", torch.zeros(1, d_model))
        self.register_buffer("targets", torch.zeros(1, d_model))

    @torch.no_grad()
    def learn(self, target: Float[Tensor, "patients d_model"], condition: Float[Tensor, "patients d_model"]) -> None:
        """The training fold itself."""
        super().learn(target, condition)
        self.conditions, self.targets = self.standard_condition(condition), target.clone()

    @torch.no_grad()
    def sample(
        self,
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
        noise: Float[Tensor, "draws batch d_model"],
    ) -> Float[Tensor, "draws batch d_model"]:
        """The same mean for each draw."""
        # by differences: the way through products rounds by the size of the batch
        distance = torch.cdist(self.standard_condition(condition), self.conditions, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance.topk(min(self.neighbours, len(self.conditions)), largest=False).indices
        return self.targets[nearest].mean(dim=1).expand_as(noise)


def latent_generator(
    kind: GeneratorKind,
    d_model: int,
    *,
    layers: int = 4,
    heads: int = 8,
    d_hidden: int = 1024,
    steps: int = 50,
    joint: bool = False,
    neighbours: int = 5,
) -> Generator:
    """The generator of a kind; each takes from the options what it has.

    Args:
        kind: diffusion, regressor, mean, zero or nearest.
        d_model: width of target and condition.
        layers: layers of the diffusion's denoiser.
        heads: its attention heads.
        d_hidden: width inside its feed-forward parts, and of the regressor's hidden layers.
        steps: its sampling steps, a divisor of 1,000.
        joint: whether time and condition look at the noisy target in it.
        neighbours: training patients that `nearest` looks at.
    """
    kinds: dict[str, Callable[[], Generator]] = {
        "diffusion": lambda: Diffusion(d_model, layers=layers, heads=heads, d_hidden=d_hidden, steps=steps, joint=joint),
        "regressor": lambda: Regressor(d_model, d_hidden=d_hidden),
        "mean": lambda: TrainingMean(d_model),
        "zero": lambda: Zero(d_model),
        "nearest": lambda: Nearest(d_model, neighbours=neighbours),
    }
    return kinds[kind]()


def _mean_and_sd(values: Float[Tensor, "patients d_model"]) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
    """Per dimension, in double precision so that equal values have a standard deviation of exactly 0, which becomes 1."""
    exact = values.double()
    sd = exact.std(dim=0, correction=0)
    return exact.mean(dim=0).to(values.dtype), torch.where(sd > 0, sd, 1.0).to(values.dtype)
