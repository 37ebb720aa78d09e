"""Blocks of LD-CVAE: posteriors of image and genes, and a decoder that gives each group of genes a latent of its own."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.nn.attention import masked_mean
from prognos.nn.gaussians import Gaussian
from prognos.nn.patches import by_size
from prognos.nn.pathways import LinearEach
from prognos.nn.token_pool import TransformerLayer
from prognos.nn.transmil import TransMILEncoder

NARROW = -4.0
"""Log-variance that posteriors start at: a draw then tells patients apart from the first step, which at the prior's width it does not."""


class ImagePosterior(nn.Module):
    """q(z | image): a TransMIL encoder over a patient's patch tokens, whose class token gives mean and log-variance.

    Args:
        d_model: width of a token and of z.
        heads: of the attention.
        landmarks: the most landmarks there are.
        dropout: share of the attended entries dropped in training.
    """

    def __init__(self, d_model: int, *, heads: int, landmarks: int, dropout: float):
        super().__init__()
        self.encoder = TransMILEncoder(d_model, heads=heads, landmarks=landmarks, dropout=dropout)
        self.both = nn.Linear(d_model, 2 * d_model)
        nn.init.constant_(self.both.bias[d_model:], NARROW)

    def forward(self, patients: list[Float[Tensor, "_ d_model"]]) -> Gaussian:
        """One Gaussian a patient; of a patient without patches it means nothing."""
        return Gaussian.of(self.both(by_size(self.encoder.first, patients)))


class GenomicPosterior(nn.Module):
    """q(z | genes): a transformer layer over two learnt queries and the tokens of the groups; the queries give mean and log-variance.

    Args:
        d_model: width of a token and of z.
        heads: of the attention.
        d_hidden: width of the network in between.
        dropout: share of entries dropped in training.
    """

    def __init__(self, d_model: int, *, heads: int, d_hidden: int, dropout: float):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, d_model) * 0.02)
        self.mix = nn.Sequential(TransformerLayer(d_model, heads=heads, d_hidden=d_hidden, dropout=dropout), nn.LayerNorm(d_model))
        self.both = LinearEach(2, d_model, d_model)
        nn.init.constant_(self.both.bias[1], NARROW)

    def forward(self, groups: Float[Tensor, "batch groups d_model"]) -> Gaussian:
        """One Gaussian a patient."""
        mixed = self.mix(torch.cat([self.queries.expand(len(groups), -1, -1), groups], dim=1))
        return Gaussian(*self.both(mixed[:, :2]).unbind(dim=1))


class GroupDecoder(nn.Module):
    """z -> a latent z_i of each group of genes -> its token, from z_i and the image's latent.

    Args:
        n_groups: groups of genes.
        d_model: width of every latent and token.
        d_hidden: width of the decoders' hidden layer.
    """

    def __init__(self, n_groups: int, d_model: int, d_hidden: int):
        super().__init__()
        self.n_groups = n_groups
        self.apart = LinearEach(n_groups, d_model, 2 * d_model)
        nn.init.constant_(self.apart.bias[:, d_model:], NARROW)
        self.decoders = nn.Sequential(LinearEach(n_groups, 2 * d_model, d_hidden), nn.ReLU(), LinearEach(n_groups, d_hidden, d_model))

    def forward(
        self, z: Float[Tensor, "batch d_model"], image: Float[Tensor, "batch d_model"], noise: Float[Tensor, "batch groups d_model"] | None
    ) -> tuple[Float[Tensor, "batch groups d_model"], Gaussian]:
        """The tokens of the groups, and q(z_i | z); z_i is its mean without noise."""
        own = Gaussian.of(self.apart(z[:, None].expand(-1, self.n_groups, -1)))
        latents = own.drawn(noise)
        return self.decoders(torch.cat([latents, image[:, None].expand_as(latents)], dim=2)), own


def apart(left: Gaussian, right: Gaussian, both: Bool[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Squared difference of means and absolute difference of variances, averaged over entries and patients who have both; 0 without one."""
    squared = (left.mean - right.mean).square().mean(dim=1)
    absolute = (left.log_variance.exp() - right.log_variance.exp()).abs().mean(dim=1)
    return masked_mean(squared + absolute, both)
