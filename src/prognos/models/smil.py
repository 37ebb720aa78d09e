"""SMIL: a missing modality is a mix of what training patients show, and training goes through a step on patients without it.

M. Ma, J. Ren, L. Zhao, S. Tulyakov, C. Wu, X. Peng, "SMIL: Multimodal learning with severely missing modality", AAAI 2021.

The vector of a modality that a patient lacks is made up of a few centres of the training patients' vectors, weighed by what the other
modality says. Training is two steps in one: a gradient step on the loss of patients with a modality taken away, and after that step the
loss of the patients as they are, through which the weights are learnt by second-order gradients. Learnt noise regularises the vectors.

Symbols: x_m vector of modality m; c_mk centres; x^_m = sum_k softmax_k(W_m x_n) c_mk; theta fusion and head,
theta* = theta - eta grad L_missing(theta); r ~ N(mu(x), sigma(x)) noise, x softplus(r) the noised vector.

Stages: warm-up, in which each modality predicts alone; then the centres are learnt from the training patients; main.

The step is taken on one half of a batch and the loss on the other, in turn: on the same patients, the step would carry their outcomes into
the loss, which training then brings to zero.

Departures: theta is what follows the vectors, so that the inner step costs little; both modalities may be missing, each in its turn in the
inner step; a prediction takes no noise; the last epoch in place of the best on the test patients. Cox's loss by default.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

from prognos.models.contract import Beside
from prognos.models.vector_based import VectorBased, VectorConfig
from prognos.nn.modality_vectors import VECTORS_OF, ModalityVectors
from prognos.nn.prototypes import exactly, k_means
from prognos.nn.smil import Noise
from prognos.risk import CoxHead, DiscreteHead
from prognos.types import Bag, InputShape, Prediction, Progress, Stage, Survival, TrainingFold

WARM_UP, MAIN = "warm-up", "main"

Theta = Mapping[str, Tensor]
"""Parameters of fusion and head by name."""

AS_IT_IS: Theta = {}
"""The parameters that the modules have."""


class SMILConfig(VectorConfig):
    """Hyperparameters of SMIL."""

    n_centres: int = Field(10, ge=1, description="centres of each modality")
    warm_up: float = Field(0.5, ge=0, le=1, description="epochs of the warm-up, in those of the main stage")
    inner_rate: float = Field(0.01, ge=0, description="eta: length of the step on patients with a modality taken away")
    noise_weight: float = Field(0.01, ge=0, description="weight of the squared distance of each noised vector to the clean one")


class SMIL(VectorBased):
    """Patches and genes -> a vector each, or a mix of centres -> risk.

    Evidence: `attention`, one (patches,) tensor a patient; `mix` (batch, modalities, centres), weights of the centres in what stands in
    for each modality, histology first.
    """

    Config = SMILConfig
    config: SMILConfig
    centres: Tensor

    def __init__(self, config: SMILConfig, shape: InputShape):
        super().__init__(config, shape)
        d, n = config.d_model, len(VECTORS_OF)
        self.alone = nn.ModuleList(config.head(d) for _ in VECTORS_OF)
        self.mix = nn.ModuleList(nn.Linear(d, config.n_centres) for _ in VECTORS_OF)
        self.noise_of_vectors, self.noise_of_fused = Noise(d), Noise(d)
        self.fusion = nn.Sequential(nn.Linear(n * d, d), nn.ReLU())
        self.head = config.head(d)
        self.register_buffer("centres", torch.zeros(n, config.n_centres, d))

    @property
    def filled_by(self) -> str:
        """The centres."""
        return "a mix of centres of training patients, by the other modality"

    def stages(self, epochs: int, learning_rate: float) -> tuple[Stage, ...]:
        """Each modality alone, then both."""
        return (
            Stage(WARM_UP, round(self.config.warm_up * epochs), learning_rate, chosen=False),
            Stage(MAIN, epochs, learning_rate),
        )

    def trained_in(self, stage: Stage) -> Iterable[tuple[str, nn.Parameter]]:
        """Encoders and their own heads in the warm-up; all but these heads in the main stage."""
        for name, parameter in self.named_parameters():
            alone = name.startswith("alone.")
            if (not alone) if stage.name == MAIN else (alone or name.startswith("encoders.")):
                yield name, parameter

    def learn(self, train: TrainingFold) -> None:
        """Time bins of all heads, and the centres of vectors as they are before training."""
        super().learn(train)
        for head in self._own_heads():
            head.learn_marginal(train.survival)
        self._learn_centres(train)

    def begin_epoch(self, train: TrainingFold, progress: Progress) -> None:
        """The centres, once after the warm-up."""
        if progress.stage == MAIN and not progress.epoch:
            self._learn_centres(train)

    def _learn_centres(self, train: TrainingFold) -> None:
        vectors = self.encoders.of_training_patients(train)
        for m in range(len(VECTORS_OF)):
            found = k_means(vectors.values[vectors.present[:, m], m], self.config.n_centres).to(self.centres)
            self.centres[m] = exactly(self.config.n_centres, found)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from what each patient has, and from mixes of centres in place of the rest."""
        vectors = self.encoders(bag)
        filled, _, mix = self._filled(vectors)
        prediction = self.head(self._fused(filled, AS_IT_IS))
        return Prediction(prediction.risk, prediction.hazard_logits, {"attention": vectors.attention, "mix": mix.detach()})

    def _filled(self, vectors: ModalityVectors) -> tuple[Tensor, Tensor, Float[Tensor, "batch modalities centres"]]:
        """The vectors with x^ where a patient lacks one, x^ of every modality from the other one, and the weights of its centres."""
        mix = torch.stack([weigh(vectors.values[:, 1 - m]) for m, weigh in enumerate(self.mix)], dim=1).softmax(dim=2)
        rebuilt = torch.einsum("bmk,mkd->bmd", mix, self.centres)
        return torch.where(vectors.present[:, :, None], vectors.values, rebuilt), rebuilt, mix

    def _fused(self, vectors: Float[Tensor, "batch modalities d_model"], theta: Theta) -> Float[Tensor, "batch d_model"]:
        """Both vectors as one, by theta where it is given."""
        return functional_call(self.fusion, _of(theta, "fusion."), vectors.flatten(1))

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Each modality alone in the warm-up; in the main stage the losses of each half of the batch after a step on the other half.

        In the warm-up, patients of other batches do not count: the risks known of them are of both modalities.
        """
        vectors = self.encoders(bag)
        if progress.stage == WARM_UP:
            return {"warm_up": self._alone(vectors, survival)}
        filled, rebuilt, _ = self._filled(vectors)
        lacking = self._lacking(filled, rebuilt, vectors.present)
        even = torch.arange(len(bag), device=filled.device) % 2 == 0
        halves = [half for half in (even, ~even) if bool(half.any())]
        total: dict[str, Tensor] = {}
        for half in halves:
            theta = self._stepped([rows[~half] for rows in lacking], survival[~half], beside)
            for name, term in self._after_step(filled[half], theta, survival[half], beside).items():
                total[name] = total.get(name, 0) + half.float().mean() * term
        return total

    def _after_step(
        self, vectors: Float[Tensor, "batch modalities d_model"], theta: Theta, survival: Survival, beside: Beside
    ) -> dict[str, Tensor]:
        """The loss of clean vectors, that of noised ones, and their distance."""
        fused, noised = self._fused(vectors, theta), self.noise_of_vectors(vectors)
        noised_fused = self.noise_of_fused(self._fused(noised, theta))
        return {
            "survival": self._loss(fused, theta, survival, beside),
            "noised": self._loss(noised_fused, theta, survival, beside),
            "noise": self.config.noise_weight * (mse_loss(noised, vectors) + mse_loss(noised_fused, fused)),
        }

    def _own_heads(self) -> Iterable[CoxHead | DiscreteHead]:
        return cast(Iterable[CoxHead | DiscreteHead], self.alone)

    def _alone(self, vectors: ModalityVectors, survival: Survival) -> Float[Tensor, ""]:
        """The survival losses of single modalities, over the patients who have each."""
        losses = []
        for m, head in enumerate(self._own_heads()):
            has = vectors.present[:, m]
            if bool(has.any()):
                losses.append(head.loss(head(vectors.values[has, m]), survival[has]))
        return torch.stack(losses).sum()

    def _lacking(
        self,
        filled: Float[Tensor, "batch modalities d_model"],
        rebuilt: Float[Tensor, "batch modalities d_model"],
        present: Bool[Tensor, "batch modalities"],
    ) -> list[Float[Tensor, "batch modalities d_model"]]:
        """The vectors without the first and without the second modality; patients who have but one keep it."""
        complete = present.all(dim=1, keepdim=True)
        without = torch.eye(len(VECTORS_OF), dtype=torch.bool, device=present.device)
        return [torch.where((complete & gone)[:, :, None], rebuilt, filled) for gone in without]

    def _stepped(self, lacking: list[Tensor], survival: Survival, beside: Beside) -> Theta:
        """theta*, which theta, the centres' weights and the encoders have a gradient through; theta without patients."""
        if not len(survival):
            return AS_IT_IS
        theta = {name: value for name, value in self.named_parameters() if name.startswith(("fusion.", "head."))}
        loss = torch.stack([self._loss(self._fused(vectors, AS_IT_IS), AS_IT_IS, survival, beside) for vectors in lacking]).mean()
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        return {name: value - self.config.inner_rate * g for (name, value), g in zip(theta.items(), gradients, strict=True)}

    def _loss(self, fused: Float[Tensor, "batch d_model"], theta: Theta, survival: Survival, beside: Beside) -> Float[Tensor, ""]:
        return self.head.loss(functional_call(self.head, _of(theta, "head."), fused), survival, beside)


def _of(theta: Theta, module: str) -> dict[str, Tensor]:
    """The parameters of one module by their names in it."""
    return {name.removeprefix(module): value for name, value in theta.items() if name.startswith(module)}
