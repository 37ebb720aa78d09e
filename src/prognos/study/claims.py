"""Whether a result is real, in three tables: tests of differences, what is added to the clinical model, what fusion does."""

import pandas as pd

from prognos.study.fusion_audit import FUSION_AUDIT, fusion_audit
from prognos.study.incremental import INCREMENTAL, incremental_value
from prognos.study.plan import CANARY
from prognos.study.significance import LATE_FUSION, TESTS, difference_tests


def claims_of(predictions: pd.DataFrame, metrics: pd.DataFrame, *, reference: str | None, replicates: int) -> dict[str, pd.DataFrame]:
    """The tables by their file names, those that have a row; canaries make no claim.

    Args:
        predictions: the columns of predictions.csv.
        metrics: the columns of metrics.csv.
        reference: the model that differences are taken to, beside late fusion; None for late fusion alone.
        replicates: bootstrap replicates; 0 for no intervals.
    """
    honest = predictions[predictions.variant != CANARY]
    references = [name for name in dict.fromkeys((reference, LATE_FUSION)) if name is not None]
    tables = {
        TESTS: difference_tests(honest, metrics, references=references, replicates=replicates),
        INCREMENTAL: incremental_value(honest),
        FUSION_AUDIT: fusion_audit(honest, replicates=replicates),
    }
    return {name: table for name, table in tables.items() if len(table)}
