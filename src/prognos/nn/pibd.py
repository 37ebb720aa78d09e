"""Blocks of PIBD: Gaussian proxies of classes of patients, and a bound of mutual information that does not fight its own estimator."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize

from prognos.nn.gaussians import Gaussian, kl_to_standard, log_density


class Chosen(NamedTuple):
    """What the tokens of some patients say of their classes, and which of them go on.

    `similarity` is the cosine of each token with each proxy, a tensor a patient; `votes` its mean over the most similar tokens of each
    proxy; `proxy` the one with most votes, 0 for a patient without a token, and `gaussian` what it is; `kept`, a tensor a patient, is True
    for the tokens that are most similar to it.
    """

    similarity: list[Float[Tensor, "_ proxies"]]
    votes: Float[Tensor, "batch proxies"]
    proxy: Int[Tensor, " batch"]
    gaussian: Gaussian
    kept: list[Bool[Tensor, " _"]]


class Proxies(nn.Module):
    """One Gaussian a class of patients, in the space of tokens.

    Args:
        n_proxies: classes.
        d_model: width of a token.
        share: of a patient's tokens that go on.
        most: tokens that go on at most.
    """

    def __init__(self, n_proxies: int, d_model: int, *, share: float, most: int):
        super().__init__()
        self.share = share
        self.most = most
        self.mean = nn.Parameter(torch.randn(n_proxies, d_model))
        self.log_variance = nn.Parameter(torch.zeros(n_proxies, d_model))

    @property
    def gaussians(self) -> Gaussian:
        """The proxies, one a row."""
        return Gaussian(self.mean, self.log_variance)

    def forward(self, patients: Sequence[Float[Tensor, "_ d_model"]], classes: Int[Tensor, " batch"] | None = None) -> Chosen:
        """The proxy that each patient's tokens choose by their own similarity, or that of a given class, and the tokens that go on.

        Tokens are compared with one draw of each proxy in training, with the means otherwise.
        """
        noise = torch.randn_like(self.mean) if self.training else None
        directions = normalize(self.gaussians.drawn(noise), dim=1)
        similarity = [normalize(tokens, dim=1) @ directions.T for tokens in patients]
        votes = torch.stack([of.topk(self.n_kept(of), dim=0).values.sum(dim=0) / max(1, self.n_kept(of)) for of in similarity])
        proxy = votes.argmax(dim=1) if classes is None else classes
        kept = [torch.zeros(len(of), dtype=torch.bool, device=of.device) for of in similarity]
        for here, of, k in zip(kept, similarity, proxy, strict=True):
            here[of[:, k].topk(self.n_kept(of)).indices] = True
        return Chosen(similarity, votes, proxy, Gaussian(self.mean[proxy], self.log_variance[proxy]), kept)

    def n_kept(self, tokens: Float[Tensor, "tokens _"]) -> int:
        """How many of a patient's tokens go on."""
        return min(math.ceil(self.share * len(tokens)), self.most)

    def compression(self) -> Float[Tensor, ""]:
        """KL of the proxies to N(0, I), their mean."""
        return kl_to_standard(self.gaussians).mean()

    def closeness(self) -> Float[Tensor, ""]:
        """The squared cosine of two proxies' means, averaged over pairs."""
        directions = normalize(self.mean, dim=1)
        between = (directions @ directions.T).square()
        n = len(between)
        return (between.sum() - between.diagonal().sum()) / (n * (n - 1))


class MutualInformation(nn.Module):
    """CLUB (Cheng et al. 2020): I(x; y) <= E_p(x,y) log q(y | x) - E_p(x) E_p(y) log q(y | x), with a Gaussian network q.

    Args:
        d_model: width of x and of y.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model))
        self.log_variance = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model), nn.Tanh())

    def forward(self, x: Float[Tensor, "batch d_model"]) -> Gaussian:
        """q(y | x)."""
        return Gaussian(self.mean(x), self.log_variance(x))

    def negative_log_likelihood(self, x: Float[Tensor, "batch d_model"], y: Float[Tensor, "batch d_model"]) -> Float[Tensor, ""]:
        """What q is learnt by: the mean of -log q(y | x). Vectors are taken as they are, so that their encoder is not moved by it."""
        return -log_density(self(x.detach()), y.detach()).mean()

    def bound(self, x: Float[Tensor, "batch d_model"], y: Float[Tensor, "batch d_model"]) -> Float[Tensor, ""]:
        """The bound over a batch, in nats; 0 for one patient. q is taken as it is, so that only the vectors are moved by it."""
        fixed = {name: parameter.detach() for name, parameter in self.named_parameters()}
        q = functional_call(self, fixed, (x,))
        of_pairs = log_density(Gaussian(q.mean[:, None], q.log_variance[:, None]), y.expand(len(x), -1, -1))
        return of_pairs.diagonal().mean() - of_pairs.mean()
