"""How alike patients are, and what one gathers from those who are alike: the blocks of M3Care."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.nn.modality_vectors import ModalityVectors

BANDWIDTHS = (0.5, 1.0, 2.0)
"""Of the Gaussian kernels, in mean squared distances of two training patients."""


class PatientSimilarity(nn.Module):
    """How alike two patients are in the modalities that both have, from 0 to 1, and 0 below a learnt threshold.

    Of one modality: (1 - e) k(f(x), f(y)) + e q(x, y), where q and k are means of Gaussian kernels, f is a learnt projection and e a
    learnt share. Where a similarity is kept, the threshold has a gradient of -1, as if it were taken off.

    Args:
        modalities: how many.
        d_model: width of a vector.
        threshold: what it starts at.
        product: whether the kernels are mixed as ((1 - e) k + e) q.
    """

    def __init__(self, modalities: int, d_model: int, *, threshold: float, product: bool):
        super().__init__()
        self.product = product
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model)) for _ in range(modalities)
        )
        self.share = nn.Parameter(torch.full((modalities,), 2.0))
        self.threshold = nn.Parameter(torch.tensor(threshold).logit())

    def forward(
        self, patients: ModalityVectors, training: ModalityVectors, other: Bool[Tensor, "batch patients"] | None = None
    ) -> Float[Tensor, "batch patients"]:
        """How alike each patient is to each training patient.

        Args:
            patients: who looks.
            training: the training patients.
            other: False where both are the same patient, who is then not alike; everyone is another one when empty.
        """
        both = patients.present[:, None] & training.present[None]
        alike = torch.stack([self._alike(m, patients.values[:, m], training) for m in range(both.shape[2])], dim=2)
        mean = (alike * both).sum(dim=2) / both.sum(dim=2).clamp(min=1)
        threshold = self.threshold.sigmoid()
        near = mean > threshold if other is None else (mean > threshold) & other
        return torch.where(near, mean - threshold + threshold.detach(), 0)

    def stretching(self, patients: ModalityVectors) -> Float[Tensor, ""]:
        """How much the projections change the norm of all vectors of a modality together, summed over modalities."""
        vectors = patients.values.unbind(dim=1)
        changes = [project(x[has]).norm() - x.norm() for project, x, has in zip(self.project, vectors, patients.present.T, strict=True)]
        return torch.stack(changes).abs().sum()

    def _alike(self, m: int, rows: Float[Tensor, "batch d_model"], training: ModalityVectors) -> Float[Tensor, "batch patients"]:
        theirs, known, project, share = training.values[:, m], training.present[:, m], self.project[m], self.share[m].sigmoid()
        plain = gaussians(rows, theirs, known)
        projected = gaussians(project(rows), project(theirs), known)
        return ((1 - share) * projected + share) * plain if self.product else (1 - share) * projected + share * plain


def gaussians(
    left: Float[Tensor, "batch d_model"], right: Float[Tensor, "patients d_model"], known: Bool[Tensor, " patients"]
) -> Float[Tensor, "batch patients"]:
    """The mean of exp(-|x - y|^2 / b) over bandwidths b, each a multiple of the mean squared distance among the known on the right."""
    rows = right[known].detach()
    spread = 2 * (rows - rows.mean(dim=0)).square().mean(dim=0).sum()  # the mean over all pairs
    spread = spread.clamp(min=torch.finfo(spread.dtype).tiny)  # 0 where all of them are the same
    distance = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2 * left @ right.T
    return torch.stack([torch.exp(-distance.clamp(min=0) / (width * spread)) for width in BANDWIDTHS]).mean(dim=0)


class Gathering(nn.Module):
    """One modality from similar patients by two graph convolutions, weighed against the own vector.

    A layer is relu(W A H + b) with rows of A that sum to 1, or to 0 for who has nobody. The own vector h and the gathered one g are
    joined as (a g + b h) / (a + b) with a = sigmoid(w_g g), b = sigmoid(w_h h); who lacks the modality has g.

    Args:
        d_model: width of a vector.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.of_gathered, self.of_own = nn.Linear(d_model, 1), nn.Linear(d_model, 1)

    def forward(
        self,
        own: tuple[Float[Tensor, "batch d_model"], Bool[Tensor, " batch"]],
        training: tuple[Float[Tensor, "patients d_model"], Bool[Tensor, " patients"]],
        alike: Float[Tensor, "batch patients"],
        among: Float[Tensor, "patients patients"],
    ) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
        """The joined vector, and the share of what was gathered in it.

        Args:
            own: vectors of the patients and who has them.
            training: vectors of the training patients and who has them.
            alike: how alike the patients are to the training patients.
            among: how alike these are to each other; each is like itself.
        """
        (vectors, has), (theirs, known) = own, training
        around = torch.relu(self.inner(_mean_of(theirs, among * known)))
        gathered = torch.relu(self.outer(_mean_of(around, alike)))
        weight, weight_of_own = self.of_gathered(gathered).sigmoid(), self.of_own(vectors).sigmoid()
        share = torch.where(has[:, None], weight / (weight + weight_of_own), 1)
        return share * gathered + (1 - share) * vectors, share[:, 0]


def _mean_of(rows: Float[Tensor, "patients d_model"], weights: Float[Tensor, "batch patients"]) -> Float[Tensor, "batch d_model"]:
    """Weighted means; zeros where all weights are 0."""
    total = weights.sum(dim=1, keepdim=True)
    return weights @ rows / torch.where(total > 0, total, 1)
