"""Twenty simulated cohorts in which nothing tells who dies early: how many intervals of each model hold 0.5?

    python benchmarks/noise_cohorts.py [--cohorts 20] [--out FOLDER]

Simulator, seeds and settings (those of `prognos demo`) are fixed here before any model runs. At a true coverage of 95% fewer than 17 of
20 are expected once in 60 such benchmarks. Finished cohorts in --out are not run again.
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
from prognos.study.study import Study

FIRST_SEED = 1000
PATIENTS = 240
MODELS = ("clinical", "snn", "abmil", "late-fusion", "tta")


def one(seed: int, out: Path) -> pd.DataFrame:
    """The comparison of one noise cohort."""
    run = out / f"cohort-{seed}" / "run"
    if not (run / "comparison.csv").is_file():
        settings = tomllib.loads(importlib.resources.files("prognos.study").joinpath("demo.toml").read_text())
        sections = {name: settings[name] for name in ("tokens", "training", "model")}
        folder = out / f"cohort-{seed}" / "cohort"
        if not folder.exists():
            prognos.simulate(folder, prognos.Truth.noise(), n_patients=PATIENTS, seed=seed)
        prognos.cross_validate(folder, MODELS, (1,), out=run, resume=run.exists(), endpoint="os", **sections)
    table = Study.open(run).comparison()
    return table[table["metric"] == "concordance"].assign(seed=seed)


def main() -> None:
    """Prints one line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out = options.out or Path(tempfile.mkdtemp(prefix="prognos-noise-"))
    rows = pd.concat([one(FIRST_SEED + i, out) for i in range(options.cohorts)])
    rows["holds"] = (rows["low"] <= 0.5) & (rows["high"] >= 0.5)
    print(f"{options.cohorts} noise cohorts of {PATIENTS} patients, 5 folds, seed 1; 95% intervals of the mean concordance")
    for model in MODELS:
        of_model = rows[rows["model"] == model]
        mean, spread = of_model["mean"].mean(), of_model["mean"].std()
        print(f"{model:<12} mean {mean:.3f} (sd {spread:.3f})   {of_model['holds'].sum():2d} of {len(of_model)} intervals hold 0.5")


if __name__ == "__main__":
    main()
