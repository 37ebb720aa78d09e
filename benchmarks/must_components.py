"""Does MUST take apart what was planted, what does a missing modality cost, and do its intervals hold? Twenty simulated cohorts.

    python benchmarks/must_components.py [--cohorts 20] [--generator diffusion] [--out FOLDER]

Each cohort has a cause that both modalities show, one that only patches show and one that only genes show, of equal strength. Simulator,
seeds and settings are fixed here before any model runs. MUST is fitted on 200 patients and asked of 100 others, complete and without
each modality.

- components: ridge regressions of each planted cause on a component, learnt on the training patients, complete; their correlation
  with the planted cause on the others, from complete, recovered and generated components.
- cost: what concordance falls by when a modality goes missing, less what it falls by for the planted risk itself when the cause that
  only this modality shows is taken out of it.
- coverage: how many patients' complete risk lies within the 5th to 95th percentile of 100 draws (90% if draws were right).

Means over cohorts, with 95% intervals over cohorts. Finished cohorts in --out are not run again.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import prognos
from prognos.cohort import Cohort
from prognos.metrics import concordance
from prognos.training import Fitted

FIRST_SEED, PATIENTS, TRAINED = 3000, 300, 200
TRUTH = prognos.Truth(shared=1.2, histology_only=1.0, omics_only=1.0, censoring=0.4)
CONFIG = {
    **{"d_model": 64, "heads": 4, "rank": 16, "landmarks": 32, "warm_up_rate": 1.0},
    **{"denoiser_layers": 2, "denoiser_hidden": 128, "generator_steps": 1500, "generator_rate": 1e-3, "generator_patience": 4},
}
TRAINING = {"epochs": 12, "learning_rate": 1e-3}
OWN = {"histology": "histology_only", "omics": "omics_only"}
PENALTY = 10.0


def components(fitted: Fitted, cohort: Cohort, without: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Shared and specific components of every patient, in the order of the cohort, as the head was given them."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("shared", *OWN)}
    patients: list[str] = []
    for bag, prediction in fitted.predictions(cohort, cohort.patients, without=without):
        patients += bag.patients
        found["shared"].append(prediction.evidence["shared"].numpy())
        for m in OWN:
            which = "generated" if m in without else "specific"
            found[m].append(prediction.evidence[which][m].numpy())
    order = [patients.index(patient) for patient in cohort.patients]
    return {name: np.concatenate(rows)[order] for name, rows in found.items()}


def ridge(features: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre, weights and mean of a ridge regression."""
    centre = features.mean(axis=0)
    x = features - centre
    scale = PENALTY * np.trace(x.T @ x) / x.shape[1] / 10
    weights = np.linalg.solve(x.T @ x + scale * np.eye(x.shape[1]), x.T @ (target - target.mean()))
    return centre, weights, float(target.mean())


def correlation(model: tuple[np.ndarray, np.ndarray, float], features: np.ndarray, target: np.ndarray) -> float:
    """Of the regression's prediction with the planted cause; 0 for a prediction that is the same for everyone."""
    predicted = (features - model[0]) @ model[1] + model[2]
    return float(np.corrcoef(predicted, target)[0, 1]) if predicted.std() > 1e-9 else 0.0


def one(seed: int, generator: str, out: Path) -> dict[str, float]:
    """Every number of one cohort."""
    place = out / f"cohort-{seed}-{generator}.csv"
    if place.is_file():
        return dict(pd.read_csv(place).iloc[0])
    folder = out / f"cohort-{seed}"
    if not folder.exists():
        prognos.simulate(folder, TRUTH, n_patients=PATIENTS, seed=seed)
    cohort = Cohort.read(folder, endpoint="os")
    planted = pd.read_csv(folder / "truth.csv", index_col="patient_id").reindex(list(cohort.patients))
    learnt, asked = cohort.subset(cohort.patients[:TRAINED]), cohort.subset(cohort.patients[TRAINED:])
    fitted = prognos.fit(learnt, "must", config={**CONFIG, "generator": generator}, training=TRAINING, inputs={"n_patches": 64})
    truth = {name: (planted[name].to_numpy()[:TRAINED], planted[name].to_numpy()[TRAINED:]) for name in ("shared", *OWN.values())}
    trained, complete = components(fitted, learnt), components(fitted, asked)
    lacking = {m: components(fitted, asked, (m,)) for m in OWN}
    found: dict[str, float] = {}
    for cause, (before, after) in truth.items():
        for component in ("shared", *OWN):
            regression = ridge(trained[component], before)
            found[f"{cause} in {component}"] = correlation(regression, complete[component], after)
            for m in OWN:
                found[f"{cause} in {component} without {m}"] = correlation(regression, lacking[m][component], after)
    whole = fitted.predict(asked)
    log_risk = planted["log_risk"].to_numpy()[TRAINED:]
    found["concordance"] = concordance(whole.risk, asked.time, asked.event)
    found["concordance of the truth"] = concordance(log_risk, asked.time, asked.event)
    for m, own in OWN.items():
        answered = fitted.predict(asked, without=m, draws=100)
        known = concordance(log_risk - planted[own].to_numpy()[TRAINED:], asked.time, asked.event)
        fall = found["concordance"] - concordance(answered.risk, asked.time, asked.event)
        found[f"fall without {m}"] = fall
        found[f"cost without {m}"] = fall - (found["concordance of the truth"] - known)
        if np.isfinite(answered.low).any():
            found[f"coverage without {m}"] = float(np.mean((answered.low <= whole.risk) & (whole.risk <= answered.high)))
    pd.DataFrame([found]).to_csv(place, index=False)
    return found


def main() -> None:
    """Prints one line a number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--generator", default="diffusion")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out = options.out or Path(tempfile.mkdtemp(prefix="prognos-components-"))
    table = pd.DataFrame([one(FIRST_SEED + i, options.generator, out) for i in range(options.cohorts)])
    print(f"{len(table)} cohorts, {TRAINED} patients trained on, {PATIENTS - TRAINED} asked, generator {options.generator}")
    for name, values in table.items():
        half = 1.96 * values.std() / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:<52}{values.mean():7.3f} ({values.mean() - half:.3f} to {values.mean() + half:.3f})")


if __name__ == "__main__":
    main()
