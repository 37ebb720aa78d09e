"""A finished study: what lies in a run folder, as tables."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

_TEXT = {name: str for name in ("model", "variant", "cohort", "missing", "patient_id", "metric", "selection", "subtype", "class")}


@dataclass(frozen=True)
class Study:
    """A run folder.

    Args:
        folder: where `prognos run` or `prognos.cross_validate` wrote.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> "Study":
        """The study of a run folder.

        Raises:
            ValueError: there is no finished study.
        """
        folder = Path(folder)
        if not (folder / "study.json").is_file():
            raise ValueError(f"{folder} holds no finished study (no study.json); run it, or finish it with --resume.")
        return cls(folder)

    def comparison(self) -> pd.DataFrame:
        """comparison.csv: one row a model, variant, cohort, missing pattern and metric."""
        return read_table(self.folder / "comparison.csv")

    def metrics(self) -> pd.DataFrame:
        """metrics.csv: one row a metric of one model on one fold."""
        return read_table(self.folder / "metrics.csv")

    def predictions(self) -> pd.DataFrame:
        """predictions.csv: the out-of-fold risk of every patient."""
        return read_table(self.folder / "predictions.csv")

    def survival(self) -> pd.DataFrame:
        """survival.csv.gz: the out-of-fold survival curve of every patient."""
        return read_table(self.folder / "survival.csv.gz")

    def subtypes(self) -> pd.DataFrame:
        """subtypes.csv: the out-of-fold probability of every subtype of every patient.

        Raises:
            ValueError: no model of the study predicts the subtype.
        """
        path = self.folder / "subtypes.csv"
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist: no subtypes were predicted; that takes a cohort with a subtype and a model such as mcti."
            )
        return read_table(path)

    def facts(self) -> dict[str, Any]:
        """study.json: selection, what was not applicable or unusable, warnings, models."""
        return json.loads((self.folder / "study.json").read_text(encoding="utf-8"))

    def report(self, path: Path | str | None = None) -> Path:
        """Writes the one-page report; into the run folder when no path is given."""
        # The report stands above the study and reads its folder. This method is the convenience that the Python interface
        # promises, so it looks the report up at call time: nothing of the study's own work depends on it.
        build = importlib.import_module("prognos.report").build
        return build(self.folder, path=None if path is None else Path(path))


def read_table(path: Path) -> pd.DataFrame:
    """A table of a run: names stay text (a model is called `null`, a pattern `none`), numbers come back exactly."""
    header = list(pd.read_csv(path, nrows=0).columns)
    numbers = {column: ["", "nan", "NaN"] for column in header if column not in _TEXT}
    types = {column: kind for column, kind in _TEXT.items() if column in header}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=numbers, float_precision="round_trip")
