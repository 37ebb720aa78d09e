"""PANTHER: a slide as a Gaussian mixture of a few kinds of tissue, and a linear model on it.

A. H. Song, R. J. Chen, T. Ding, D. F. K. Williamson, G. Jaume, F. Mahmood, "Morphological prototyping for unsupervised slide
representation learning in computational pathology", CVPR 2024; with its linear survival head.

Prototypes are the centres of k-means over patches. They are the prior of a mixture that is fitted to each patient's patches by one step
of expectation maximisation: how much of each kind there is (pi), what it looks like in this patient (mu), and how varied it is (Sigma).
The three, one behind the other, are the patient's embedding, and the risk is linear in it. Nothing but the head is trained.

Symbols: m_k prototype, V prior variance, tau prior strength; r responsibilities, pi, mu, Sigma the mixture (see `prognos.nn.gaussians`).

Departures: prototypes are found on patches that are spread evenly over each training patient's slides (the published code takes the first
ones of each slide, and clusters memory that it never filled where there are too few), on 20,000 of them in place of 100,000 a
prototype; Sigma is computed in double precision, where the published difference of two large numbers may fall below 0; in training the
mixture rests on the patches that are drawn.
"""

from prognos.models.contract import Needs
from prognos.models.mixture_based import MixtureBased, MixtureConfig
from prognos.types import Bag, InputShape, Prediction, Progress


class PANTHERConfig(MixtureConfig):
    """Hyperparameters of PANTHER: those of the mixture."""


class PANTHER(MixtureBased):
    """Patches -> mixture -> risk.

    Evidence: `responsibilities`, one (patches, prototypes) tensor a patient, rows sum to 1; `tokens` (batch, prototypes, 1 + 2 d_patch),
    pi, mu and Sigma of each prototype.
    """

    Config = PANTHERConfig
    config: PANTHERConfig
    needs = Needs(modalities=("histology",))

    def __init__(self, config: PANTHERConfig, shape: InputShape):
        super().__init__(config, shape)
        self.head = config.head(config.n_prototypes * self.mixture.d_token)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        tokens, responsibilities = self.mixture([bag["histology"].rows(i) for i in range(len(bag))])
        prediction = self.head(tokens.flatten(1))
        evidence = {"responsibilities": responsibilities, "tokens": tokens}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)
