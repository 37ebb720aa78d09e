"""Whether a result is real, in three tables: tests of differences, what is added to the clinical model, what fusion does."""

import pandas as pd

from prognos.study.comparison import Assessment, compare
from prognos.study.fusion_audit import FUSION_AUDIT, fusion_audit
from prognos.study.incremental import INCREMENTAL, incremental_value
from prognos.study.plan import CANARY
from prognos.study.significance import LATE_FUSION, METRIC, TESTS, difference_tests


def claims_of(predictions: pd.DataFrame, assessment: Assessment, *, reference: str | None, replicates: int) -> dict[str, pd.DataFrame]:
    """The tables by their file names, those that have a row; canaries make no claim.

    Args:
        predictions: the columns of predictions.csv.
        assessment: of these predictions, with differences to the reference.
        reference: the model that differences were taken to; None for late fusion alone.
        replicates: bootstrap replicates; 0 for no intervals.
    """
    honest = predictions[predictions.variant != CANARY]
    compared = {} if reference is None else {reference: assessment.comparison[assessment.comparison.variant != CANARY]}
    if LATE_FUSION in set(honest.model) and reference != LATE_FUSION:
        compared[LATE_FUSION] = compare(honest, reference=LATE_FUSION, metrics=(METRIC,), replicates=replicates)
    tables = {
        TESTS: difference_tests(assessment.metrics, compared),
        INCREMENTAL: incremental_value(honest),
        FUSION_AUDIT: fusion_audit(honest, replicates=replicates),
    }
    return {name: table for name, table in tables.items() if len(table)}
