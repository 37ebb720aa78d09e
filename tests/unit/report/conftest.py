"""A run folder with made-up numbers: three models, two seeds, five folds, two hundred patients."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.tables_of_use import write_tables_of_use

from prognos.report.build import page
from prognos.report.run_folder import RunFolder, read_run_folder

MODELS = {"clinical": 0.6, "abmil": 0.7, "tta": 1.1}
SEEDS, N_FOLDS, N_PATIENTS = (1, 2), 5, 200
HORIZONS = (365.0, 730.0, 1095.0, 1825.0)
COHORT = "made-up"
KINDS = ("lobular", "ductal", "mucinous")


def write_run(folder: Path, *, cohort: str = COHORT) -> Path:
    """Writes every file of a run; the same bytes every time."""
    generator = np.random.default_rng(7)
    hazard = generator.normal(size=N_PATIENTS)
    time = np.ceil(generator.exponential(1600 * np.exp(-0.8 * hazard)))
    censoring = np.ceil(generator.uniform(200, 4000, N_PATIENTS))
    event = time <= censoring
    patients = pd.DataFrame(
        {"patient_id": [f"P{i:03d}" for i in range(N_PATIENTS)], "time": np.minimum(time, censoring), "event": event.astype(int)}
    )
    patients["fold"] = np.arange(N_PATIENTS) % N_FOLDS
    folder.mkdir(parents=True, exist_ok=True)
    patients[["patient_id", "fold"]].to_csv(folder / "splits.csv", index=False)
    predictions, survival, metrics = [], [], []
    for model, strength in MODELS.items():
        for seed in SEEDS:
            risk = strength * hazard + generator.normal(size=N_PATIENTS)
            key = {"model": model, "variant": "base", "cohort": cohort, "seed": seed, "missing": "none"}
            rows = patients.assign(**key, risk=risk, threshold=0.0)
            predictions.append(rows)
            for horizon in HORIZONS:
                survival.append(rows.assign(horizon=horizon, survival=np.exp(-horizon / 1600 * np.exp(0.5 * risk)).round(4)))
            for fold in range(N_FOLDS):
                value = 0.55 + 0.08 * strength + 0.03 * generator.normal()
                metrics.append({**key, "fold": fold, "metric": "concordance", "value": round(value, 4)})
            _write_logs(folder, cohort, model, seed, generator)
    _write_tables(folder, pd.concat(predictions), pd.concat(survival), pd.DataFrame(metrics))
    _similarities(patients, cohort, generator).to_csv(folder / "similarities.csv", index=False)
    _subtypes(patients, cohort, generator).to_csv(folder / "subtypes.csv", index=False)
    _gene_groups(cohort).to_csv(folder / "gene_groups.csv.gz", index=False)
    _gene_group_sets(cohort).to_csv(folder / "gene_group_sets.csv", index=False)
    write_tables_of_use(folder, patients, cohort)
    _comparison(cohort).to_csv(folder / "comparison.csv", index=False)
    (folder / "cohort.json").write_text(json.dumps({cohort: _cohort_facts(patients)}))
    (folder / "study.json").write_text(json.dumps(STUDY))
    provenance = {
        "versions": {"prognos": "0.1.0", "torch": "2.8.0"},
        "host": {"cores": 2},
        "hashes": {"clinical.csv": "ab" * 32},
        "seconds": 61.5,
    }
    (folder / "provenance.json").write_text(json.dumps({**provenance, "started": "2031-02-03 04:05"}))
    (folder / "recipe.toml").write_text('[study]\nmodels = ["clinical", "abmil", "tta"]\n')
    return folder


def _write_tables(folder: Path, predictions: pd.DataFrame, survival: pd.DataFrame, metrics: pd.DataFrame) -> None:
    keys = ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id"]
    predictions[[*keys, "time", "event", "risk", "threshold"]].to_csv(folder / "predictions.csv", index=False)
    survival[[*keys, "horizon", "survival"]].to_csv(folder / "survival.csv.gz", index=False)
    metrics[["model", "variant", "cohort", "seed", "fold", "missing", "metric", "value"]].to_csv(folder / "metrics.csv", index=False)


def _write_logs(folder: Path, cohort: str, model: str, seed: int, generator: np.random.Generator) -> None:
    if model == "clinical":
        return
    for fold in range(N_FOLDS):
        epoch = np.repeat(np.arange(10), 4)
        loss = 2 * np.exp(-epoch / 4) + 0.5 + 0.1 * generator.random(len(epoch))
        log = pd.DataFrame({"stage": "main", "epoch": epoch, "step": np.arange(len(epoch)), "learning_rate": 1e-4, "survival": loss})
        if model == "tta":
            log["contrast"] = 0.5 * loss
            log["rho"] = np.linspace(0.1, 0.9, len(log))
        log["total"] = log.survival + log.get("contrast", 0.0)
        place = folder / "models" / cohort / model / f"seed-{seed}" / f"fold-{fold}"
        place.mkdir(parents=True, exist_ok=True)
        log.to_csv(place / "log.csv", index=False)


def _similarities(patients: pd.DataFrame, cohort: str, generator: np.random.Generator) -> pd.DataFrame:
    """Of tta and, the same, of its variant; of abmil, others."""
    means = {
        ("specific histology", "specific omics"): 0.0,
        ("shared read in histology", "shared read in omics"): 0.9,
        ("global histology", "specific + shared histology"): 0.8,
        ("global histology", "specific + shared omics"): -0.1,
    }
    parts = []
    for (left, right), mean in means.items():
        cosine = np.clip(mean + 0.05 * generator.normal(size=len(patients)), -1, 1).round(4)
        for model, variant, shift in (("tta", "base", 0.0), ("tta", "regressor", 0.0), ("abmil", "base", 0.01)):
            key = {"model": model, "variant": variant, "cohort": cohort, "seed": 1, "left": left, "right": right}
            parts.append(patients[["patient_id", "fold"]].assign(**key, cosine=(cosine - shift).round(4)))
    return pd.concat(parts, ignore_index=True)


def _subtypes(patients: pd.DataFrame, cohort: str, generator: np.random.Generator) -> pd.DataFrame:
    """Of tta and abmil: three classes, of which fold 2 lacks the last; P007 has none."""
    observed = np.resize(KINDS, N_PATIENTS)
    observed[(patients.fold == 2) & (observed == KINDS[2])] = KINDS[0]
    observed[7] = ""
    parts = []
    for model, strength in (("tta", 3.0), ("abmil", 0.5)):
        for seed in SEEDS:
            scores = np.exp(strength * (observed[:, None] == np.array(KINDS)) + generator.normal(size=(N_PATIENTS, 3)))
            probability = (scores / scores.sum(axis=1, keepdims=True)).round(6)
            key = {"model": model, "variant": "base", "cohort": cohort, "seed": seed, "missing": "none"}
            rows = patients[["patient_id", "fold"]].assign(**key, subtype=observed)
            long = rows.loc[rows.index.repeat(3)]
            parts.append(long.assign(**{"class": np.tile(KINDS, N_PATIENTS), "probability": probability.ravel()}))
    return pd.concat(parts, ignore_index=True)


def _gene_groups(cohort: str) -> pd.DataFrame:
    """Of tta, two seeds: twelve genes in three groups, the second with the groups' numbers exchanged."""
    parts = []
    for seed, shift in ((1, 0), (2, 1)):
        key = {"model": "tta", "variant": "base", "cohort": cohort, "seed": seed, "fold": 0, "kind": "rna"}
        rows = pd.DataFrame({"gene": [f"G{i}" for i in range(12)], "group": [(i // 4 + shift) % 3 for i in range(12)]})
        parts.append(rows.assign(**key, share=[0.4 + 0.01 * i for i in range(12)]))
    return pd.concat(parts, ignore_index=True)


def _gene_group_sets(cohort: str) -> pd.DataFrame:
    """Of the first fold: a set that is the first group's, one that is nobody's; none for the third group."""
    key = {"model": "tta", "variant": "base", "cohort": cohort, "seed": 1, "fold": 0, "collection": "hallmark", "of_group": 4}
    rows = [(0, "HYPOXIA", 5, 4, 0.002, 0.012), (1, "MYC", 6, 2, 0.6, 1.0)]
    return pd.DataFrame(rows, columns=["group", "gene_set", "of_set", "in_both", "p", "p_holm"]).assign(**key)


def _comparison(cohort: str) -> pd.DataFrame:
    numbers = {
        ("clinical", "concordance"): (0.601, 0.030, 0.550, 0.652, 0.0, 0.0, 0.0),
        ("abmil", "concordance"): (0.615, 0.050, 0.560, 0.670, 0.014, -0.030, 0.058),
        ("tta", "concordance"): (0.662, 0.041, 0.612, 0.711, 0.061, 0.012, 0.110),
        ("clinical", "integrated_brier"): (0.190, 0.01, 0.170, 0.210, 0.0, 0.0, 0.0),
        ("abmil", "integrated_brier"): (0.188, 0.01, 0.168, 0.208, -0.002, -0.010, 0.006),
        ("tta", "integrated_brier"): (0.171, 0.01, 0.151, 0.191, -0.019, -0.030, -0.008),
        ("clinical", "auc_365d"): (0.620, 0.05, 0.540, 0.700, 0.0, 0.0, 0.0),
        ("abmil", "auc_365d"): (0.610, 0.05, 0.530, 0.690, -0.010, -0.060, 0.040),
        ("tta", "auc_365d"): (0.680, 0.05, 0.600, 0.760, 0.060, -0.001, 0.121),
        ("abmil", "subtype_auc"): (0.633, 0.03, 0.580, 0.686, *[np.nan] * 3),
        ("abmil", "subtype_balanced_accuracy"): (0.441, 0.03, 0.380, 0.502, *[np.nan] * 3),
        ("tta", "subtype_auc"): (0.971, 0.01, 0.950, 0.992, *[np.nan] * 3),
        ("tta", "subtype_balanced_accuracy"): (0.902, 0.02, 0.860, 0.944, *[np.nan] * 3),
    }
    names = ["mean", "sd", "low", "high", "difference", "difference_low", "difference_high"]
    rows = [
        {"model": model, "variant": "base", "cohort": cohort, "missing": "none", "metric": metric, **dict(zip(names, values, strict=True))}
        for (model, metric), values in numbers.items()
    ]
    return pd.DataFrame(rows)


def _cohort_facts(patients: pd.DataFrame) -> dict:
    card = [
        {
            "fold": fold,
            "patients": len(rows),
            "events": int(rows.event.sum()),
            "sites": 4,
            "shared_sites": 0,
            "median_follow_up_days": 1500.0 + fold,
        }
        for fold, rows in patients.groupby("fold")
    ]
    return {
        "endpoint": "dss",
        "patients_in_table": 214,
        "kept": N_PATIENTS,
        "events": int(patients.event.sum()),
        "median_follow_up_days": 1504.0,
        "modalities": {"clinical": 200, "histology": 188, "omics": 200},
        "exclusions": [
            {"rule": "time is empty, NaN or not above 0", "count": 9},
            {"rule": "no usable modality: neither slides nor omics", "count": 5},
        ],
        "notes": ["3 patients have several slides; all patches of a patient make one bag."],
        "gene_sets": {"hallmark": {"sets": 50, "genes_found": 3900, "genes": 4241}},
        "patches": {"min": 41, "median": 2210, "max": 4487},
        "split_card": card,
        "site_preserving": True,
        "split_source": "made",
        "split_note": "Events per fold differ by at most 2.",
        "detectable_difference": 0.058,
    }


STUDY = {
    "name": "three models",
    "command": "prognos run three.toml --out runs/three",
    "reference": "clinical",
    "selection": "last",
    "not_applicable": [{"model": "blood-net", "variant": "base", "cohort": COHORT, "reason": "the cohort has no table 'blood'"}],
    "unusable": [
        {"model": "tta", "cohort": COHORT, "seed": 2, "fold": 4, "metric": "auc_1825d", "reason": "nobody is followed for 1825 days"}
    ],
    "warnings": ["2 of 30 fits took their last epoch with a loss still falling."],
    "seeds": list(SEEDS),
    "models": {
        "tta": {"summary": "transport of patches to prototypes", "paper": "TTA", "parameters": 1234567},
        "abmil": {"summary": "gated attention"},
    },
    "cost": [
        {
            "model": "tta",
            "variant": "base",
            "cohort": COHORT,
            "parameters": 1234567,
            "fit_seconds": 12.25,
            "fit_cpu_seconds": 9.75,
            "fit_peak_bytes": 1_234_000_000,
            "predict_seconds": {"none": 0.0123, "omics": 0.004},
        },
        {"model": "abmil", "variant": "base", "cohort": COHORT, "parameters": 460289, "predict_seconds": {"none": 0.002}},
    ],
    "canary": False,
    "simulated": False,
}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder that no test may change."""
    return write_run(tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A complete run folder that a test may spoil."""
    return write_run(tmp_path / "run")


@pytest.fixture(scope="session")
def finished(finished_run: Path) -> RunFolder:
    """The complete run as the report reads it."""
    return read_run_folder(finished_run)


@pytest.fixture(scope="session")
def finished_page(finished: RunFolder) -> str:
    """Its page."""
    return page(finished)
