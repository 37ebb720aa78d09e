"""SurvPath: pathways look at pathways and patches, patches look at pathways.

G. Jaume, A. Vaidya, R. J. Chen, D. F. K. Williamson, P. P. Liang, F. Mahmood, "Modeling dense multimodal interactions between biological
pathways and histology for survival prediction", CVPR 2024.

One attention head over pathway and patch tokens together, without the patches' look at each other, which would cost the square of
their number and say least; a network and a norm on each token; the mean of each modality; dense layers.

Symbols: G pathway tokens, H patch tokens; Q, K, V their projections to half the width.

Departures: the mean over patches is taken in pieces, so that memory does not grow with the slide; padded patches take no part (the
published code reads a mask and does not use it); Hallmark gene sets by default; Cox's loss by default.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap
from prognos.nn.attention import FeedForward
from prognos.nn.multihead import fused_attention
from prognos.nn.patches import CHUNK, PatchEncoder, by_patient
from prognos.nn.pathways import GroupEncoder
from prognos.types import Bag, InputShape, Prediction, Progress


class SurvPathConfig(HeadConfig):
    """Hyperparameters of SurvPath."""

    d_model: int = Field(256, ge=4, multiple_of=4, description="width of a token; the attention has half of it")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout")


class SurvPath(Model):
    """Patches and pathways -> one attention -> a mean each -> risk.

    Evidence: `attention`, one (pathways, pathways + patches) tensor a patient, how much each pathway looks at each pathway and each patch;
    rows sum to 1.
    """

    Config = SurvPathConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="hallmark", complete=True)

    def __init__(self, config: SurvPathConfig, shape: InputShape):
        super().__init__(config, shape)
        d, half = config.d_model, config.d_model // 2
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.Identity(), dropout=0.0)
        self.pathways = GroupEncoder(shape.pathway_features, d, dropout=config.dropout)
        self.query_key_value = nn.Linear(d, 3 * half, bias=False)
        self.network = nn.Sequential(nn.LayerNorm(half), FeedForward(half, half, config.dropout))
        self.norm = nn.LayerNorm(half)
        self.join = nn.Sequential(nn.Linear(d, d // 4), nn.ReLU())
        self.head = config.head(d // 4)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and pathways."""
        histology, omics = bag["histology"], bag["omics"]
        pathways = self.query_key_value(self.pathways(omics.values))
        patches = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        means, attention = [], []
        for i, rows in enumerate(patches):
            genes = pathways[i] if bool(omics.present[i]) else pathways[i, :0]
            mean, looked = self._means(genes, self.query_key_value(rows))
            means.append(mean)
            attention.append(looked)
        prediction = self.head(self.join(torch.stack(means)))
        return Prediction(prediction.risk, prediction.hazard_logits, {"attention": attention})

    def _means(self, genes: Float[Tensor, "pathways _"], slide: Float[Tensor, "patches _"]) -> tuple[Tensor, Tensor]:
        """The means of what became of pathways and of patches, one behind the other, zeros for who is absent; the pathways' attention."""
        (g_query, g_key, g_value), (h_query, h_key, h_value) = genes.chunk(3, dim=1), slide.chunk(3, dim=1)
        key, value = torch.cat([g_key, h_key]), torch.cat([g_value, h_value])
        nothing = value.new_zeros(value.shape[1])
        of_genes = self._closed(fused_attention(g_query, key, value)).mean(dim=0) if len(genes) else nothing

        def total(query: Tensor) -> Tensor:
            return self._closed(fused_attention(query, g_key, g_value) if len(genes) else torch.zeros_like(query)).sum(dim=0)

        pieces = h_query.split(CHUNK)
        again = torch.is_grad_enabled() and len(pieces) > 1
        sums = [checkpoint(total, piece, use_reentrant=False) if again else total(piece) for piece in pieces if len(piece)]
        of_patches = torch.stack(sums).sum(dim=0) / len(slide) if sums else nothing
        looked = torch.softmax(g_query.detach() @ key.detach().T / key.shape[1] ** 0.5, dim=1)
        return torch.cat([of_genes, of_patches]), looked

    def _closed(self, attended: Float[Tensor, "tokens half"]) -> Float[Tensor, "tokens half"]:
        return self.norm(self.network(attended))

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """How much all pathways together look at each patch."""
        looked = prediction.evidence["attention"][patient]
        if not len(looked):
            return ()
        meaning = "mean over pathways of how much they look at the patch; at most 1 over the patient"
        return (PatchMap("attention of pathways", meaning, looked[:, len(looked) :].mean(dim=0)),)

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """How much all pathways together look at each pathway."""
        n = bag["omics"].values.shape[1]
        rows = [looked[:, :n].mean(dim=0) if len(looked) else looked.new_zeros(n) for looked in prediction.evidence["attention"]]
        return torch.stack(rows)
