"""One planted signal at a time: which models find what both modalities share, what one of them has alone, and what only both tell?

    python benchmarks/planted_signals.py [--models abmil,late-fusion,tta] [--out FOLDER]

Simulator, strength, seed and settings (those of `prognos demo`) are fixed here before any model runs. An interaction is the product of a
sign that patches show and a sign that pathways show: a mean of two unimodal risks cannot see it. "truth" is the concordance of the
planted log-risk itself. Finished cohorts in --out are not run again.
"""

import argparse
import importlib.resources
import tempfile
import tomllib
from pathlib import Path

import pandas as pd

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import prognos
from prognos.cohort import Cohort
from prognos.metrics import concordance
from prognos.study.study import Study

SIGNALS = ("shared", "histology_only", "omics_only", "interaction")
STRENGTH, PATIENTS, SEED = 2.0, 240, 2027
MODELS = ("snn", "abmil", "late-fusion", "tta")


def one(signal: str, models: tuple[str, ...], out: Path) -> pd.DataFrame:
    """The concordance of every model, and of the truth, on the cohort with one signal."""
    folder, run = out / signal / "cohort", out / signal / "run"
    if not folder.exists():
        prognos.simulate(folder, prognos.Truth(**{signal: STRENGTH}), n_patients=PATIENTS, seed=SEED)
    if not (run / "comparison.csv").is_file():
        settings = tomllib.loads(importlib.resources.files("prognos.study").joinpath("demo.toml").read_text())
        sections = {name: settings[name] for name in ("tokens", "training", "model")}
        study = {"metrics": ["concordance"]}
        prognos.cross_validate(folder, models, (1,), out=run, resume=run.exists(), endpoint="os", study=study, **sections)
    table = Study.open(run).comparison()
    table = table[table["metric"] == "concordance"][["model", "mean", "low", "high"]]
    cohort = Cohort.read(folder, endpoint="os")
    risk = pd.read_csv(folder / "truth.csv", index_col="patient_id")["log_risk"].reindex(list(cohort.patients))
    truth = {"model": "truth", "mean": concordance(risk.to_numpy(), cohort.time, cohort.event)}
    return pd.concat([table, pd.DataFrame([truth])], ignore_index=True).assign(signal=signal)


def main() -> None:
    """Prints a line a signal and model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out = options.out or Path(tempfile.mkdtemp(prefix="prognos-signals-"))
    print(f"{PATIENTS} patients, seed {SEED}, strength {STRENGTH:g}, 5 folds; mean concordance and its 95% interval")
    for signal in SIGNALS:
        for row in one(signal, tuple(options.models.split(",")), out).itertuples():
            interval = "" if pd.isna(row.low) else f" ({row.low:.3f} to {row.high:.3f})"
            print(f"{signal:<15} {row.model:<12} {row.mean:.3f}{interval}")


if __name__ == "__main__":
    main()
