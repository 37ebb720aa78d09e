"""What does learning subtype and survival together gain or cost? Twenty pairs of simulated cohorts.

    python benchmarks/mcti_sharing.py [--cohorts 20] [--first-seed 5000] [--out FOLDER]

The two cohorts of a pair have the same patients, slides, genes and times to an event. In one the subtype is cut out of the cause of
survival that both modalities show; in the other out of a cause that both show as well and that has nothing to do with survival.
Simulator, seeds and settings are fixed here before any model runs. MCTI is fitted on 200 patients and asked of 100 others: with both
losses, with survival alone, with subtypes alone, and with both but no transport between the streams.

Means over cohorts with 95% intervals over cohorts; differences are paired by cohort. Finished cohorts in --out are not run again.
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
from prognos.metrics.classification import one_vs_rest_auc

PATIENTS, TRAINED, CLASSES = 300, 200, 3
STRENGTHS = {"shared": 1.0, "histology_only": 0.5, "omics_only": 0.5, "censoring": 0.4}
CAUSES = {"shared": 1.0, "not shared": 0.0}
CONFIG = {"d_model": 64, "heads": 4, "n_top": 32, "blocks": 1}
TRAINING = {"epochs": 12, "learning_rate": 1e-3}
VARIANTS = {
    "both": {},
    "survival only": {"subtype_weight": 0.0},
    "subtype only": {"survival_weight": 0.0},
    "no guidance": {"guidance": "none"},
}


def one(seed: int, cause: str, out: Path) -> pd.DataFrame:
    """Concordance and area under the curve of each variant on one cohort; NaN where a variant has no such task."""
    name = f"{seed}-{cause.replace(' ', '-')}"
    place, folder = out / f"cohort-{name}.csv", out / f"cohort-{name}"
    if place.is_file():
        return pd.read_csv(place)
    if not folder.exists():
        truth = prognos.Truth(**STRENGTHS, subtype_shared=CAUSES[cause])
        prognos.simulate(folder, truth, n_patients=PATIENTS, n_classes=CLASSES, seed=seed)
    cohort = Cohort.read(folder, endpoint="os")
    learnt, asked = cohort.subset(cohort.patients[:TRAINED]), cohort.subset(cohort.patients[TRAINED:])
    rows = []
    for variant, options in VARIANTS.items():
        fitted = prognos.fit(learnt, "mcti", config={**CONFIG, **options}, training=TRAINING, inputs={"n_patches": 64})
        answer = fitted.predict(asked)
        survives, classes = variant != "subtype only", answer.subtype_probabilities
        rows.append(
            {
                "cause": cause,
                "seed": seed,
                "variant": variant,
                "concordance": concordance(answer.risk, asked.time, asked.event) if survives else np.nan,
                "subtype AUC": np.nan if classes is None else one_vs_rest_auc(classes, asked.subtype_index),
            }
        )
    table = pd.DataFrame(rows)
    table.to_csv(place, index=False)
    return table


def with_interval(values: pd.Series) -> str:
    """Mean with its 95% interval over cohorts."""
    half = 1.96 * values.std() / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.3f} ({values.mean() - half:.3f} to {values.mean() + half:.3f})"


def main() -> None:
    """Prints one line a variant, cause and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out = options.out or Path(tempfile.mkdtemp(prefix="prognos-sharing-"))
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + options.cohorts)
    table = pd.concat([one(seed, cause, out) for seed in seeds for cause in CAUSES])
    print(f"{options.cohorts} pairs of cohorts, {TRAINED} patients trained on, {PATIENTS - TRAINED} asked, {CLASSES} classes")
    print(f"{'cause of subtype':<18}{'task':<14}{'variant':<16}{'mean':<26}difference to both")
    for (cause, task), part in table.melt(["cause", "seed", "variant"], var_name="task").dropna().groupby(["cause", "task"], sort=False):
        by_variant = part.pivot(index="seed", columns="variant", values="value")
        for variant in [name for name in VARIANTS if name in by_variant]:
            difference = "" if variant == "both" else with_interval(by_variant[variant] - by_variant["both"])
            print(f"{cause:<18}{task:<14}{variant:<16}{with_interval(by_variant[variant]):<26}{difference}")


if __name__ == "__main__":
    main()
