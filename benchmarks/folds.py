"""Made against published folds: events a fold, and the CPU time of the solver.

python benchmarks/folds.py COHORT_FOLDER ... [--endpoint dss] [--folds 5]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.folds import assign_folds
from prognos.cohort.published_splits import read_folds
from prognos.cohort.split_card import detectable_difference


def measure(folder: Path, endpoint: str, n_folds: int) -> dict[str, object]:
    """One row of the table."""
    clinical = pd.read_csv(folder / "clinical.csv", dtype={"patient_id": str, "site": str}).set_index("patient_id")
    published = read_folds(folder / "splits.csv") if (folder / "splits.csv").is_file() else None
    if published is not None:
        clinical = clinical.loc[clinical.index.intersection(published.index)]
    clinical = clinical[(clinical[f"{endpoint}_time"] > 0) & clinical[f"{endpoint}_event"].notna()]
    event = (clinical[f"{endpoint}_event"] == 1).to_numpy()
    sites = clinical["site"].fillna("") if "site" in clinical else pd.Series("", index=clinical.index)
    start = time.process_time()
    made = assign_folds(clinical.index, sites, event, n_folds)
    seconds = time.process_time() - start

    def events(fold: pd.Series) -> str:
        return " ".join(str(int(count)) for count in sorted(np.bincount(fold.loc[clinical.index], weights=event)))

    return {
        "cohort": folder.name,
        "patients": len(clinical),
        "events": int(event.sum()),
        "sites": int((sites.unique() != "").sum()),
        "published": "" if published is None else events(published),
        "made": events(made.fold),
        "patients a fold": " ".join(str(count) for count in sorted(made.fold.value_counts())),
        "CPU s": round(seconds, 2),
        "detectable": round(detectable_difference(clinical[f"{endpoint}_time"].to_numpy(), event, made.fold), 3),
        "note": made.note.split(":")[0],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+", type=Path)
    parser.add_argument("--endpoint", default="dss")
    parser.add_argument("--folds", type=int, default=5)
    asked = parser.parse_args()
    print(pd.DataFrame([measure(folder, asked.endpoint, asked.folds) for folder in asked.folder]).to_string(index=False))
