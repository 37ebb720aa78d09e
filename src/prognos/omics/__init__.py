"""What we measure: RNA, CNV and SNV tables, gene sets, and features scaled on the training patients.

Arrays and pandas only; this station imports no torch.
"""

from prognos.omics.gene_sets import GeneSetError, read_gmt
from prognos.omics.scaler import OmicsGaps, OmicsScaler
from prognos.omics.schema import KINDS, OmicsSchema

__all__ = ["KINDS", "GeneSetError", "OmicsGaps", "OmicsScaler", "OmicsSchema", "read_gmt"]
