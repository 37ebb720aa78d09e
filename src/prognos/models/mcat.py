"""MCAT: groups of genes look at the patches, and both sides are pooled and joined.

R. J. Chen, M. Y. Lu, W.-H. Weng, T. Y. Chen, D. F. K. Williamson, T. Manz, M. Shady, F. Mahmood, "Multimodal co-attention transformer
for survival prediction in gigapixel whole slide images", ICCV 2021.

Each of six functional groups of genes is one token (a self-normalising network a group). The tokens are queries of one attention head
over all patches, so that a slide of any size becomes six tokens; each side then has transformer layers, gated attention pooling and a
dense layer, and two dense layers join them (`GeneGuided`, which models that look in another way have too).

Symbols: G group tokens, H patch tokens; co-attention softmax(G W_q (H W_k)^T / sqrt(d)) H W_v.

Departures: norms stand before attention and network, with one behind the layers; a patient who lacks a modality has a zero vector for
it, or what the stated policy fills in; Cox's loss by default.
"""

from jaxtyping import Float
from torch import Tensor

from prognos.models.gene_guided import GeneGuided, GeneGuidedConfig, asked
from prognos.nn.multihead import MultiHeadAttention
from prognos.types import InputShape


class MCATConfig(GeneGuidedConfig):
    """Hyperparameters of MCAT; the co-attention has one head."""


class MCAT(GeneGuided):
    """Patches and groups of genes -> co-attention -> two vectors -> risk. Evidence: as in `GeneGuided`; rows of `attention` sum to 1."""

    Config = MCATConfig

    def __init__(self, config: MCATConfig, shape: InputShape):
        super().__init__(config, shape)
        self.co_attention = MultiHeadAttention(config.d_model, heads=1)

    def found(
        self, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]
    ) -> tuple[Float[Tensor, "batch groups d_model"], list[Float[Tensor, "groups _"]]]:
        """What each group sees by its head of attention."""
        return asked(self.co_attention, groups, patches)
