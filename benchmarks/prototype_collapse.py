"""Do TTA's prototypes stay apart, and does it matter for the prediction? By the weight gamma of Eq. 8, on twenty simulated cohorts.

    python benchmarks/prototype_collapse.py [--cohorts 20] [--first-seed 7000] [--out FOLDER]

Cohorts as that of the demo, whose tissue has several kinds of patches; simulator, seeds and settings are fixed here before any model
runs. TTA is fitted on 200 patients and asked of 100 others. Occupancy: of all their patches, the share that each prototype takes first
(the largest W of Eq. 12); its entropy as an effective number of prototypes, from 1 (all patches are one thing) to 16. Differences in
concordance are to gamma 0.1, the print's, paired by cohort; means with 95% intervals over cohorts.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import torch

import prognos
from prognos.cohort import Cohort
from prognos.metrics import concordance
from prognos.training import Fitted

PATIENTS, TRAINED, PROTOTYPES = 300, 200, 16
GAMMAS = (0.1, 1.0, 10.0)
CONFIG = {"d_model": 64, "n_prototypes": PROTOTYPES}
TRAINING = {"epochs": 12, "learning_rate": 1e-3}


def occupancy(fitted: Fitted, cohort: Cohort) -> np.ndarray:
    """Share of all patches that each prototype takes first."""
    taken = torch.zeros(PROTOTYPES)
    for bag, prediction in fitted.predictions(cohort, cohort.patients):
        for patient in torch.nonzero(bag["histology"].present).flatten().tolist():
            maps = fitted.model.patch_maps(bag, prediction, patient)
            weights = torch.stack([one.values for one in maps if one.family == "prototype"], dim=1)
            taken += torch.bincount(weights.argmax(dim=1), minlength=PROTOTYPES)
    return (taken / taken.sum()).numpy()


def one(seed: int, out: Path) -> pd.DataFrame:
    """The numbers of one cohort, a row a gamma."""
    place, folder = out / f"cohort-{seed}.csv", out / f"cohort-{seed}"
    if place.is_file():
        return pd.read_csv(place)
    if not folder.exists():
        prognos.simulate(folder, prognos.Truth.demo(), n_patients=PATIENTS, seed=seed)
    cohort = Cohort.read(folder, endpoint="os")
    learnt, asked = cohort.subset(cohort.patients[:TRAINED]), cohort.subset(cohort.patients[TRAINED:])
    rows = []
    for gamma in GAMMAS:
        fitted = prognos.fit(learnt, "tta", config={**CONFIG, "kl_weight": gamma}, training=TRAINING, inputs={"n_patches": 64})
        shares = occupancy(fitted, asked)
        entropy = -sum(share * np.log(share) for share in shares if share > 0)
        found = {"effective": np.exp(entropy), "largest": shares.max()}
        answer = fitted.predict(asked)
        rows.append({"seed": seed, "gamma": gamma, **found, "concordance": concordance(answer.risk, asked.time, asked.event)})
    table = pd.DataFrame(rows)
    table.to_csv(place, index=False)
    return table


def with_interval(values: pd.Series) -> str:
    """Mean with its 95% interval over cohorts."""
    half = 1.96 * values.std() / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.3f} ({values.mean() - half:.3f} to {values.mean() + half:.3f})"


def main() -> None:
    """Prints a line a gamma."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=7000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out = options.out or Path(tempfile.mkdtemp(prefix="prognos-collapse-"))
    out.mkdir(parents=True, exist_ok=True)
    table = pd.concat([one(options.first_seed + i, out) for i in range(options.cohorts)])
    base = table[table.gamma == GAMMAS[0]].set_index("seed").concordance
    print(f"{options.cohorts} cohorts, {TRAINED} patients trained on, {PATIENTS - TRAINED} asked, {PROTOTYPES} prototypes")
    print(f"{'gamma':<8}{'effective prototypes':<28}{'largest share':<28}{'concordance':<28}difference to gamma {GAMMAS[0]}")
    for gamma, part in table.groupby("gamma"):
        values = part.set_index("seed")
        numbers = [with_interval(values[name]) for name in ("effective", "largest", "concordance")]
        difference = "" if gamma == GAMMAS[0] else with_interval(values.concordance - base)
        print(f"{gamma:<8}" + "".join(f"{text:<28}" for text in numbers) + difference)


if __name__ == "__main__":
    main()
