"""Whether a difference could be chance."""

import numpy as np
import pandas as pd
import pytest

from prognos.study.comparison import assess, corrected_resampled_t
from prognos.study.significance import difference_tests, holm


def study(models: dict[str, float], cohorts: tuple[str, ...] = ("one",), seeds: tuple[int, ...] = (1, 2)) -> pd.DataFrame:
    """Out-of-fold predictions of forty patients in four folds; a model's risk is so much of the truth, and noise."""
    random = np.random.default_rng(3)
    rows = []
    for cohort in cohorts:
        truth = random.normal(size=40)
        time, event = 100 * np.exp(-truth + random.normal(size=40)), random.random(40) < 0.7
        for model, strength in models.items():
            for seed in seeds:
                risk = strength * truth + random.normal(size=40)
                of_model = {"model": model, "variant": "base", "cohort": cohort, "seed": seed, "missing": "none", "threshold": 0.0}
                patients = [f"{cohort}-{i}" for i in range(40)]
                rows.append(
                    pd.DataFrame({"patient_id": patients, "fold": np.arange(40) % 4, "time": time, "event": event, "risk": risk}).assign(
                        **of_model
                    )
                )
    return pd.concat(rows, ignore_index=True)


def rows_of(predictions: pd.DataFrame, references: tuple[str, ...] = ("clinical",)) -> pd.DataFrame:
    found = {name: assess(predictions, reference=name, replicates=50, metrics=("concordance",)) for name in references}
    return difference_tests(found[references[0]].metrics, {name: assessment.comparison for name, assessment in found.items()})


def test_the_test_is_over_folds_and_seeds_with_the_correction_for_shared_training_patients():
    predictions = study({"clinical": 0.5, "tta": 2.0})
    (row,) = rows_of(predictions).itertuples()
    metrics = assess(predictions, replicates=0, metrics=("concordance",)).metrics
    by_run = metrics.pivot(index=["seed", "fold"], columns="model", values="value")
    expected = corrected_resampled_t((by_run.tta - by_run.clinical).to_numpy(), test_share=1 / 4)
    assert row.runs == 8
    assert (row.t, row.p) == pytest.approx((expected.statistic, expected.p_value))
    assert row.difference == pytest.approx((by_run.tta - by_run.clinical).mean())
    assert row.difference_low < row.difference < row.difference_high


def test_a_reference_with_one_seed_serves_every_seed():
    both = study({"clinical": 0.5, "tta": 2.0})
    once = both[(both.model != "clinical") | (both.seed == 1)]
    assert rows_of(once).runs.tolist() == [8]


def test_each_reference_has_its_rows_and_no_model_is_compared_with_itself():
    table = rows_of(study({"clinical": 0.5, "late-fusion": 1.0, "tta": 2.0}), ("clinical", "late-fusion"))
    assert sorted(zip(table.model, table.reference, strict=True)) == [
        ("clinical", "late-fusion"),
        ("late-fusion", "clinical"),
        ("tta", "clinical"),
        ("tta", "late-fusion"),
    ]


def test_holm_is_over_the_cohorts_of_a_model():
    table = rows_of(study({"clinical": 0.5, "tta": 1.5}, cohorts=("one", "two", "three")))
    assert table.p_holm.tolist() == pytest.approx(holm(table.p.to_numpy()).tolist())
    assert (table.p_holm >= table.p).all()


def test_holm_multiplies_the_smallest_most_and_never_falls():
    # .01 * 4, then .02 * 3, then max(.06, .03 * 2), then max(.06, .5 * 1)
    assert holm(np.array([0.5, 0.02, 0.01, 0.03])).tolist() == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert np.isnan(holm(np.array([np.nan, 0.01]))).tolist() == [True, False]


def test_of_one_fold_there_is_a_difference_and_no_test():
    one = study({"clinical": 0.5, "tta": 2.0}, seeds=(1,)).assign(fold=0)
    (row,) = rows_of(one).itertuples()
    assert np.isnan(row.p)
    assert np.isfinite(row.difference)
