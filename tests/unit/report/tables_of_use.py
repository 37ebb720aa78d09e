"""Made-up tables of calibration, decisions and competing events for the run of the report's tests."""

from pathlib import Path

import numpy as np
import pandas as pd

LABELS = ("clinical", "abmil", "tta")
HORIZONS = (365.0, 1095.0, 1825.0)
TOO_FEW = "9 of 200 patients are under observation at 1825 and 80 had the event by then"


def write_tables_of_use(folder: Path, patients: pd.DataFrame, cohort: str) -> None:
    """tta is off by 0.2, the others by 0.02; five years are not judged; every fifth patient, if censored, had a competing event."""
    calibration, spread, benefit = [], [], []
    for model in LABELS:
        key = {"model": model, "variant": "base", "cohort": cohort, "missing": "none"}
        for seed in (1, 2):
            for horizon in HORIZONS:
                counts = {"patients": 200, "events": 80, "at_risk": 9 if horizon == 1825 else 60}
                off = {"ici": 0.2, "ici_low": 0.12, "ici_high": 0.27, "e50": 0.19, "e90": 0.31}
                small = {"ici": 0.02, "ici_low": 0.0, "ici_high": 0.05, "e50": 0.01, "e90": 0.04}
                ici = off if model == "tta" else small
                found = {"predicted": 0.31, "observed": 0.4, **ici, "reason": ""}
                nothing = {**dict.fromkeys(found), "reason": TOO_FEW}
                calibration.append({**key, "seed": seed, "horizon": horizon, **counts, **(nothing if horizon == 1825 else found)})
            for low in np.arange(10) / 10:
                p = 0.001 if model == "tta" else 0.4 + 0.1 * seed
                bins = {"patients": 200, "low": low, "high": round(low + 0.1, 1), "share": 0.1, "chi_square": 5.0, "p": p, "reason": ""}
                spread.append({**key, "seed": seed, **bins})
        for horizon in HORIZONS[:2]:
            for threshold in (0.1, 0.3, 0.5):
                values = {"net_benefit": 0.3 - 0.5 * threshold, "treat_all": 0.3 - threshold}
                benefit.append({**key, "horizon": horizon, "threshold": threshold, **values})
    pd.DataFrame(calibration).to_csv(folder / "calibration.csv", index=False)
    pd.DataFrame(spread).to_csv(folder / "distribution_calibration.csv", index=False)
    pd.DataFrame(benefit).to_csv(folder / "net_benefit.csv", index=False)
    competing = (patients.event == 0) & (np.arange(len(patients)) % 5 == 0)
    pd.DataFrame({"patient_id": patients.patient_id, "competing": competing.astype(int), "cohort": cohort}).to_csv(
        folder / "competing.csv", index=False
    )
