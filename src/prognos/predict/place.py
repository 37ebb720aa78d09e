"""Where a risk stands among risks of training patients, on the scale of each model alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.bundle import RISK_LEVELS, Bundle
from prognos.training import Folder

HELD_OUT = "the training patients whom the model was not trained on"
TRAINED_ON = "the patients that it was trained on, whose risks are further apart than those of others"


def references_of(folders: Sequence[Folder], bundle: Bundle | None) -> tuple[list[Float[np.ndarray, " levels"]] | None, str]:
    """For each model the risks at `RISK_LEVELS` that a new one is placed among, and whose they are; None where there are none.

    Args:
        folders: of the models; those that a study wrote hold the predictions of their test fold.
        bundle: that holds the models, if one does.
    """
    if bundle is not None:
        whose = TRAINED_ON if bundle.manifest.kind == "refit" else HELD_OUT
        return [np.array(member.risks) for member in bundle.manifest.members], whose
    found = [_held_out(folder / "predictions.csv") for folder in folders]
    known = [risks for risks in found if risks is not None]
    return (known, HELD_OUT) if len(known) == len(found) else (None, "")


def percentiles_among(
    risks: Float[np.ndarray, "models patients"], references: Sequence[Float[np.ndarray, " levels"]] | None
) -> Float[np.ndarray, " patients"]:
    """Mean over the models of the percentile of each risk among the reference risks, from 5 to 95; NaN without references.

    Beyond the outermost reference nothing is known but that a risk lies there. Of equal references the middle counts.
    """
    if references is None:
        return np.full(risks.shape[1], np.nan)
    each = []
    for row, reference in zip(risks, references, strict=True):
        levels = pd.Series(RISK_LEVELS, dtype=float).groupby(reference).mean()
        each.append(np.interp(row, levels.index.to_numpy(dtype=float), levels.to_numpy()))
    return np.mean(each, axis=0)


def _held_out(path: Folder) -> Float[np.ndarray, " levels"] | None:
    """The levels of the risks of a test fold that was predicted with nothing taken away."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, usecols=["missing", "risk"], dtype={"missing": str}, keep_default_na=False, float_precision="round_trip")
    risks = table.loc[table["missing"] == "none", "risk"].to_numpy(dtype=float)
    return np.percentile(risks, RISK_LEVELS) if len(risks) else None
