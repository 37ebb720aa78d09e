"""Published per-fold C-indices, from the published risks, through `evaluate`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prognos.metrics import concordance
from prognos.study.evaluate import Evaluation, evaluate

SOURCES = {"MCAT repository": ("mcat_risks.csv.gz", "months"), "OTSurv repository": ("otsurv_risks.csv.gz", "days")}


@pytest.fixture(scope="module")
def published(shared_data: Path) -> pd.DataFrame:
    return pd.read_csv(shared_data / "golden" / "cindex.csv", float_precision="round_trip")


@pytest.fixture(scope="module", params=SOURCES)
def source(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def evaluation(source: str, shared_data: Path, tmp_path_factory) -> Evaluation:
    file, unit = SOURCES[source]
    return evaluate(shared_data / "golden" / file, tmp_path_factory.mktemp("golden"), time_unit=unit, replicates=20)


@pytest.fixture(scope="module")
def folds(evaluation: Evaluation) -> pd.Series:
    rows = evaluation.metrics[evaluation.metrics["metric"] == "concordance"]
    return rows.set_index(["model", "cohort", "fold"])["value"]


def test_every_published_c_index_of_a_fold_is_reproduced(source: str, published: pd.DataFrame, folds: pd.Series):
    rows = published[(published["source"] == source) & (published["statistic"] == "fold")]
    keys = list(zip(rows["model"], rows["cohort"], rows["fold"].astype(int), strict=True))
    assert len(keys) == len(folds) == {"MCAT repository": 275, "OTSurv repository": 20}[source]
    np.testing.assert_allclose(folds.loc[keys].to_numpy(), rows["published"].to_numpy(), rtol=0, atol=1e-9)


def test_the_published_mean_spread_and_maximum_over_folds_follow(source: str, published: pd.DataFrame, folds: pd.Series):
    by_model = folds.groupby(["model", "cohort"])
    ours = {"mean": by_model.mean(), "std": by_model.std(ddof=0), "max": by_model.max()}
    rows = published[(published["source"] == source) & published["published"].notna()]
    assert set(rows["statistic"]) == ({"fold", "mean", "std", "max", "pooled"} if source == "MCAT repository" else {"fold"})
    for statistic, values in ours.items():
        chosen = rows[rows["statistic"] == statistic]
        keys = list(zip(chosen["model"], chosen["cohort"], strict=True))
        if keys:
            np.testing.assert_allclose(values.loc[keys].to_numpy(), chosen["published"].to_numpy(), rtol=0, atol=1e-9)


def test_the_comparison_holds_the_mean_and_spread_of_the_published_folds(evaluation: Evaluation, folds: pd.Series):
    rows = evaluation.comparison[evaluation.comparison["metric"] == "concordance"].set_index(["model", "cohort"])
    by_model = folds.groupby(["model", "cohort"])
    np.testing.assert_allclose(rows["mean"].sort_index(), by_model.mean().sort_index(), atol=1e-12)
    np.testing.assert_allclose(rows["sd"].sort_index(), by_model.std(ddof=1).sort_index(), atol=1e-12)


def test_the_published_pooled_c_index_is_concordance_of_all_folds_as_one(source: str, published: pd.DataFrame, evaluation: Evaluation):
    rows = (
        published[(published["source"] == source) & (published["statistic"] == "pooled")]
        .set_index(["model", "cohort"])["published"]
        .dropna()
    )
    parts = dict(list(evaluation.predictions.groupby(["model", "cohort"])))
    for key, value in rows.items():
        part = parts[key]
        pooled = concordance(part["risk"].to_numpy(), part["time"].to_numpy(), part["event"].to_numpy())
        assert pooled == pytest.approx(value, abs=1e-9)
