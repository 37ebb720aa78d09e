"""What Eq. 13 of MUST does to the global vectors: as printed, where they give way to it, and with them as fixed targets.

    python benchmarks/must_decomposition.py [--cohorts 3]

Cohorts, settings and sizes of `must_components.py`, other seeds (MUST's recommended settings were chosen on these). Printed for each
cohort and reading: the survival loss of the last epoch beside that of the marginal hazards, the share of the global vectors' mean square
that varies over the patients who were not trained on, and the concordance on them.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch

import prognos
from must_components import CONFIG, PATIENTS, TRAINED, TRAINING, TRUTH
from prognos.cohort import Cohort
from prognos.metrics import concordance
from prognos.risk.discrete import likelihood_loss, marginal_hazards
from prognos.runtime import apply_host_settings
from prognos.training import Fitted
from prognos.training.fold import survival_of

FIRST_SEED = 9001


def varies(fitted: Fitted, cohort: Cohort) -> dict[str, float]:
    """Share of g's mean square that is variance over patients, by modality."""
    found: dict[str, list[np.ndarray]] = {}
    for _, prediction in fitted.predictions(cohort, cohort.patients):
        for m, whole in prediction.evidence["whole"].items():
            found.setdefault(m, []).append(whole.numpy())
    rows = {m: np.concatenate(parts) for m, parts in found.items()}
    return {m: float(g.var(axis=0).mean() / np.square(g).mean()) for m, g in rows.items()}


def marginal_loss(cohort: Cohort, cuts: torch.Tensor) -> float:
    """The loss of whoever predicts the training fold's hazards for everyone."""
    survival = survival_of(cohort)
    bin = torch.searchsorted(cuts, survival.time, right=True)
    hazards = marginal_hazards(bin, survival.event, len(cuts) + 1)
    return float(likelihood_loss(torch.logit(hazards).expand(len(bin), -1), bin, survival.event))


def main() -> None:
    """Prints one line a cohort and reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=3)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    print(f"{'seed':>6} {'g is':<7}{'loss':>7}{'marginal':>10}{'histology varies':>18}{'omics varies':>14}{'concordance':>13}")
    for seed in range(FIRST_SEED, FIRST_SEED + options.cohorts):
        with tempfile.TemporaryDirectory() as place:
            folder = prognos.simulate(Path(place) / "cohort", TRUTH, n_patients=PATIENTS, seed=seed)
            cohort = Cohort.read(folder, endpoint="os")
            learnt, asked = cohort.subset(cohort.patients[:TRAINED]), cohort.subset(cohort.patients[TRAINED:])
            for decomposed in ("free", "fixed"):
                config = {**CONFIG, "generator": "zero", "decomposed": decomposed}
                fitted = prognos.fit(learnt, "must", config=config, training=TRAINING, inputs={"n_patches": 64})
                loss = float(fitted.log.query("stage == 'main'")["survival"].iloc[-1])
                share, c = varies(fitted, asked), concordance(fitted.predict(asked).risk, asked.time, asked.event)
                marginal = marginal_loss(learnt, fitted.model.head.cuts)
                print(
                    f"{seed:>6} {decomposed:<7}{loss:>7.3f}{marginal:>10.3f}{share['histology']:>18.1%}{share['omics']:>14.1%}{c:>13.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
