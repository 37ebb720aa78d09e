"""LD-CVAE: groups of genes are decoded from what slide and genes have in common, also where there are no genes.

J. Zhou, J. Tang, Y. Zuo, P. Wan, D. Zhang, W. Shao, "Robust multimodal survival prediction with conditional latent differentiation
variational autoencoder", CVPR 2025.

Image and genes each give a Gaussian of one latent. Their product, with N(0, I), says as much of it as there is to say; of a patient
without genes it is that of the image. Each group of genes has a latent of its own within it, from which, beside the image's, its token is
decoded. Decoded tokens ask the patches, as in MCAT, in place of those of the measured genes, so that a patient without genes has what
all others have.

Symbols: z joint latent, z_I the image's, z_i that of group i.

Loss: the survival loss; that of z_I alone; the squared error of decoded tokens; the distance of both posteriors; with a weight that rises
from 0, KL to N(0, I) of both, of their product and of the groups' latents. Errors, distances and KL are means over the width.

Departures: latents are their means in prediction (the published code draws); each term is in the loss once (the published code adds one
twice); a patient without slides has the genes' latent, the prior's z_I and an empty histology side; one class token of the image gives
mean and variance, where print has one for each; in the first quarter of the epochs measured genes ask the patches, where print has 5 of
20 epochs; posteriors start narrower than the prior, at which few steps of training learn no decoder; Cox's loss by default.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from prognos import runtime
from prognos.models.contract import Beside, Needs
from prognos.models.gene_guided import GeneGuided, GeneGuidedConfig, asked
from prognos.nn.attention import masked_mean
from prognos.nn.gaussians import Gaussian, kl_to_standard, product_of_experts
from prognos.nn.ld_cvae import GenomicPosterior, GroupDecoder, ImagePosterior, apart
from prognos.nn.multihead import MultiHeadAttention
from prognos.nn.patches import by_patient
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold

DRAWS = "ld-cvae draws"


class LDCVAEConfig(GeneGuidedConfig):
    """Hyperparameters of LD-CVAE."""

    landmarks: int = Field(128, ge=1, description="landmarks of the image's attention")
    measured_share: float = Field(0.25, ge=0, le=1, description="share of the epochs in which measured genes ask the patches")
    reconstruction_weight: float = Field(1.0, ge=0, description="weight of the squared error of decoded tokens")
    image_weight: float = Field(1.0, ge=0, description="weight of the survival loss of the image's latent")
    alignment_weight: float = Field(0.1, ge=0, description="weight of the distance of both posteriors")
    kl_weight: float = Field(0.1, ge=0, description="weight of the four divergences at the end of training")


class Latents(NamedTuple):
    """What a batch of patients is encoded to; posteriors are N(0, I) for who lacks the modality."""

    image: Gaussian
    genomic: Gaussian
    joint: Gaussian
    of_groups: Gaussian
    z_image: Float[Tensor, "batch d_model"]
    decoded: Float[Tensor, "batch groups d_model"]
    measured: Float[Tensor, "batch groups d_model"]


class LDCVAE(GeneGuided):
    """Patches and groups of genes -> joint latent -> decoded groups -> co-attention -> two vectors -> risk.

    Evidence: as in `GeneGuided`; rows of `attention` sum to 1; `decoded` (batch, groups, d_model), the groups' decoded tokens; `latent`
    (batch, d_model), the mean of z.
    """

    Config = LDCVAEConfig
    config: LDCVAEConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="functional")
    ordered = True

    def __init__(self, config: LDCVAEConfig, shape: InputShape):
        super().__init__(config, shape)
        d, n_groups = config.d_model, len(shape.pathway_features)
        self.co_attention = MultiHeadAttention(d, heads=1)
        self.image = ImagePosterior(d, heads=config.heads, landmarks=config.landmarks, dropout=config.dropout)
        self.genomic = GenomicPosterior(d, heads=config.heads, d_hidden=config.d_hidden, dropout=config.dropout)
        self.decoder = GroupDecoder(n_groups, d, config.d_hidden)
        self.image_head = config.head(d)

    @property
    def filled_by(self) -> str:
        """Decoded genes; nothing for slides."""
        return "genes: decoded from the image's latent; slides: nothing, predicted from the genes"

    def learn(self, train: TrainingFold) -> None:
        """Time bins and marginal hazards, of both heads."""
        super().learn(train)
        self.image_head.learn_marginal(train.survival)

    def found(
        self, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]
    ) -> tuple[Float[Tensor, "batch groups d_model"], list[Float[Tensor, "groups _"]]]:
        """What each group sees by its head of attention."""
        return asked(self.co_attention, groups, patches)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and decoded groups of genes; latents are drawn in training only."""
        return self._predict(bag, progress, self._training_noise(bag))[0]

    def draws(self, bag: Bag, n_draws: int) -> tuple[Prediction, ...]:
        """Predictions with one draw each of the latents that a patient's absent modality would have told; fixed by the patient's id."""
        shape = (n_draws, 2 + self.decoder.n_groups, self.config.d_model)
        noise = np.stack([runtime.generator(DRAWS, patient).standard_normal(shape) for patient in bag.patients], axis=1)
        without_slides, without_genes = ~bag["histology"].present, ~bag["omics"].present
        of_joint = without_genes[:, None].expand(-1, 1 + self.decoder.n_groups)
        absent = torch.cat([without_slides[:, None], of_joint], dim=1)[:, :, None]
        return tuple(self._predict(bag, None, torch.as_tensor(one).to(self.decoder.apart.weight) * absent)[0] for one in noise)

    def _training_noise(self, bag: Bag) -> Float[Tensor, "batch latents d_model"] | None:
        """Noise of z_I, z and each z_i; none in prediction."""
        shape = (len(bag), 2 + self.decoder.n_groups, self.config.d_model)
        return torch.randn(shape).to(self.decoder.apart.weight) if self.training else None

    def _predict(
        self, bag: Bag, progress: Progress | None, noise: Float[Tensor, "batch latents d_model"] | None
    ) -> tuple[Prediction, Latents]:
        histology, omics = bag["histology"], bag["omics"]
        patches = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        measured = self.groups(omics.values)
        latents = self._latents(patches, measured, histology.present, omics.present, noise)
        early = progress is not None and progress.epoch < self.config.measured_share * progress.epochs
        groups = torch.where((omics.present & early)[:, None, None], measured, latents.decoded)
        prediction = self.predicted(groups, patches, torch.ones_like(omics.present), histology.present)
        evidence = {**prediction.evidence, "decoded": latents.decoded.detach(), "latent": latents.joint.mean.detach()}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), latents

    def _latents(
        self,
        patches: list[Float[Tensor, "_ d_model"]],
        measured: Float[Tensor, "batch groups d_model"],
        has_slides: Bool[Tensor, " batch"],
        has_genes: Bool[Tensor, " batch"],
        noise: Float[Tensor, "batch latents d_model"] | None,
    ) -> Latents:
        """Posteriors and decoded groups; in training measured tokens are taken as they are, lest they move to be easy to decode."""
        of_image, of_joint, of_groups = (None, None, None) if noise is None else (noise[:, 0], noise[:, 1], noise[:, 2:])
        measured = measured.detach() if self.training else measured  # in prediction, attributions follow the gradient to the genes
        image = self.image(patches).or_standard(has_slides)
        genomic = self.genomic(measured).or_standard(has_genes)
        joint = product_of_experts([image, genomic], [has_slides, has_genes])
        z_image = image.drawn(of_image)
        decoded, apart_latents = self.decoder(joint.drawn(of_joint), z_image, of_groups)
        return Latents(image, genomic, joint, apart_latents, z_image, decoded, measured)

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, and what teaches the latents."""
        config, (has_slides, has_genes) = self.config, (bag[m].present for m in self.needs.modalities)
        prediction, latents = self._predict(bag, progress, self._training_noise(bag))
        terms = {"survival": self.head.loss(prediction, survival, beside)}
        if bool(has_slides.any()):
            of_image = self.image_head(latents.z_image[has_slides])
            terms["image"] = config.image_weight * self.image_head.loss(of_image, survival[has_slides])
        error = mse_loss(latents.decoded, latents.measured, reduction="none").mean(dim=(1, 2))
        terms["reconstruction"] = config.reconstruction_weight * masked_mean(error, has_genes)
        terms["alignment"] = config.alignment_weight * apart(latents.image, latents.genomic, has_slides & has_genes)
        divergences = [kl_to_standard(of).mean() for of in (latents.image, latents.genomic, latents.joint, latents.of_groups)]
        terms["kl"] = config.kl_weight * rising(progress) * torch.stack(divergences).sum() / config.d_model
        return terms


def rising(progress: Progress) -> float:
    """(1 - cos(pi t)) / 2, where t goes from 0 to 1 over the steps of a stage."""
    return 0.5 * (1 - math.cos(math.pi * progress.step / (progress.steps_per_epoch * progress.epochs)))
