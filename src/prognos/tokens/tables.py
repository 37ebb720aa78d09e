"""A further table of numbers (blood counts ...) on one scale, learnt on the training patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32

from prognos.omics.scaling import centre_and_scale, measured, scaled

CLIP = 5.0


@dataclass(frozen=True, eq=False)
class TableScaler:
    """(x - median) / IQR of each column, with the standard deviation where the IQR is 0, clipped at 5.

    A missing value is 0, the training median; there is no column that flags it. A column that is constant in training is 0 for
    everyone.

    Args:
        columns: names of the columns.
        centre: one number a column.
        scale: likewise; 0 for a constant column.
    """

    columns: tuple[str, ...]
    centre: Float[np.ndarray, " columns"]
    scale: Float[np.ndarray, " columns"]

    @classmethod
    def learn(cls, table: pd.DataFrame, patients: Sequence[str]) -> "TableScaler":
        """The scaler of training patients; no other row is looked at."""
        columns = tuple(map(str, table.columns))
        return cls(columns, *centre_and_scale(measured(table, patients, columns)))

    @property
    def constant(self) -> tuple[str, ...]:
        """Columns that do not vary in training."""
        return tuple(name for name, scale in zip(self.columns, self.scale, strict=True) if scale == 0)

    def transform(
        self, table: pd.DataFrame, patients: Sequence[str]
    ) -> tuple[Float32[np.ndarray, "patients columns"], Bool[np.ndarray, " patients"]]:
        """Scaled values, and who has any value at all; a column that the table lacks is missing for everyone."""
        values = measured(table, patients, self.columns)
        return scaled(values, self.centre, self.scale, clip=CLIP).astype(np.float32), ~np.isnan(values).all(axis=1)

    def state(self) -> dict[str, Any]:
        """This scaler in JSON's types."""
        return {"columns": list(self.columns), "centre": self.centre.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TableScaler":
        """The scaler that `state` was taken of."""
        return cls(tuple(state["columns"]), np.asarray(state["centre"], float), np.asarray(state["scale"], float))
