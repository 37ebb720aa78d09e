"""Any model of the table as a scikit-learn estimator, for cross_val_score, GridSearchCV, pipelines and scikit-survival's scorers.

`X` is one of three things:

- without `cohort`, and `reads="rna"` (or `cnv`, `snv`): patients x genes; a DataFrame's columns are the genes;
- without `cohort`, and `reads="clinical"`: a DataFrame with some of the columns age, sex, stage, grade;
- with `cohort`: the ids of patients of that cohort, as a column or a flat array. The model then reads whatever it reads of them, slides
  too, and scikit-learn divides the patients.

`y` is what `sksurv.util.Surv` makes: a structured array of a bool (event observed) and a float (days), in this order. It is what counts,
with a cohort too: labels that were permuted stay permuted.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from prognos.cohort import Cohort
from prognos.cohort.cohort import OMICS_KINDS
from prognos.cohort.defects import naming
from prognos.metrics import concordance

READS = ("clinical", *OMICS_KINDS)


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """The predicted survival of one patient, as a function of days; linear between the times of `x`, as scikit-survival's step functions
    are constant.

    Args:
        x: rising days.
        y: survival at these.
    """

    x: Float[np.ndarray, " times"]
    y: Float[np.ndarray, " times"]

    @property
    def domain(self) -> tuple[float, float]:
        """The first and the last day."""
        return float(self.x[0]), float(self.x[-1])

    def __call__(self, days: Any) -> Any:
        """Survival at some days.

        Raises:
            ValueError: a day lies outside the domain.
        """
        asked = np.asarray(days, dtype=float)
        if asked.size and (asked.min() < self.x[0] or asked.max() > self.x[-1]):
            raise ValueError(
                f"survival is known from day {self.x[0]:g} to day {self.x[-1]:g}; {asked.min():g} to {asked.max():g} was asked for."
            )
        return np.interp(asked, self.x, self.y)


class SurvivalEstimator(BaseEstimator):
    """A model of the table with scikit-learn's methods.

    Args:
        model: name of an entry of `MODELS`.
        cohort: whose patients `X` names; None when `X` holds the measurements.
        reads: what the columns of `X` are, without a cohort: clinical, rna, cnv or snv.
        gene_sets: name -> pathway -> genes, for models of pathways, without a cohort.
        seed: of weights, batches and dropout.
        config: values of the model's config, over its preset.
        training: values of `TrainingConfig`, over the preset.
        inputs: values of `InputsConfig`, over the preset.

    After `fit`: `fitted_` (a `prognos.Fitted`), `unique_times_` (the days at which curves are known), `n_features_in_` and, where
    there are names, `feature_names_in_`.

    Example:
        >>> from sklearn.model_selection import cross_val_score
        >>> cross_val_score(SurvivalEstimator("snn", reads="rna", training={"epochs": 5}), rna, y, cv=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "clinical",
        *,
        cohort: Cohort | None = None,
        reads: str = "clinical",
        gene_sets: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        seed: int = 1,
        config: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ):
        self.model = model
        self.cohort = cohort
        self.reads = reads
        self.gene_sets = gene_sets
        self.seed = seed
        self.config = config
        self.training = training
        self.inputs = inputs

    def fit(self, X: Any, y: Any) -> "SurvivalEstimator":
        """Fits the model to patients and their survival; returns itself.

        Raises:
            ValueError: `X` or `y` is not as the module says, or the model cannot be fed with it.
        """
        from prognos.training import fit

        event, time = _survival(y)
        train = self._cohort(X)
        if len(event) != len(train):
            raise ValueError(f"X has {len(train)} patients and y {len(event)}: give one row of y for each.")
        own = replace(train, endpoint="time", time=time, event=event)
        self.fitted_ = fit(own, self.model, seed=self.seed, config=self.config, training=self.training, inputs=self.inputs)
        self.unique_times_ = np.unique(np.concatenate([[0.0], time]))
        self.n_features_in_ = 1 if self.cohort is not None else np.asarray(X).shape[1]
        if self.cohort is None and isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.array([str(name) for name in X.columns], dtype=object)
        return self

    def predict(self, X: Any) -> Float[np.ndarray, " patients"]:
        """The risk of each patient; higher means an earlier event."""
        check_is_fitted(self)
        return np.asarray(self.fitted_.predict(self._cohort(X, fitted=True)).risk, dtype=float)

    def predict_survival_function(self, X: Any, return_array: bool = False) -> np.ndarray:
        """The survival curve of each patient: an array of `SurvivalCurve`, or patients x `unique_times_`."""
        check_is_fitted(self)
        curves = self.fitted_.predict(self._cohort(X, fitted=True), horizons=self.unique_times_).survival
        if return_array:
            return curves
        found = np.empty(len(curves), dtype=object)
        for row, curve in enumerate(curves):
            found[row] = SurvivalCurve(self.unique_times_, curve)
        return found

    def score(self, X: Any, y: Any) -> float:
        """Harrell's concordance of the predicted risks."""
        event, time = _survival(y)
        return concordance(self.predict(X), time, event)

    def __sklearn_clone__(self) -> "SurvivalEstimator":
        """An unfitted copy that shares the cohort, which is frozen and may be large."""
        settings = self.get_params(deep=False)
        return type(self)(**{name: value if name == "cohort" else copy.deepcopy(value) for name, value in settings.items()})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")

    def _cohort(self, X: Any, *, fitted: bool = False) -> Cohort:
        """The patients of `X` as a cohort without outcome; after the fit with the columns of the fit."""
        if self.cohort is not None:
            ids = [str(patient) for patient in np.asarray(X).reshape(-1)]
            unknown = [patient for patient in ids if patient not in set(self.cohort.patients)]
            if unknown:
                raise ValueError(
                    f"{len(unknown)} of {len(ids)} values of X are no patients of {self.cohort.name} ({naming(unknown)}): X holds ids."
                )
            return self.cohort.subset(ids)
        if self.reads not in READS:
            raise ValueError(
                f"reads is {self.reads!r}: without a cohort X holds one of {', '.join(READS)}; give a cohort for anything else."
            )
        names = [str(name) for name in getattr(self, "feature_names_in_", ())] if fitted else []
        return _cohort_of(_frame(X, names), self.reads, self.gene_sets or {})


def _survival(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Event and time of a structured array."""
    names = getattr(getattr(y, "dtype", None), "names", None)
    if names is None or len(names) != 2 or y.dtype[names[0]] != np.bool_:
        raise ValueError(
            f"y is {type(y).__name__} of {getattr(y, 'dtype', 'no')} type: give a structured array of a bool (event observed) and a float "
            "(days), as sksurv.util.Surv.from_arrays(event, time) makes it."
        )
    event, time = np.asarray(y[names[0]], dtype=bool), np.asarray(y[names[1]], dtype=float)
    wrong = ~(np.isfinite(time) & (time > 0))
    if wrong.any():
        raise ValueError(f"{int(wrong.sum())} of {len(time)} times of y are not days above 0: leave these patients out.")
    return event, time


def _frame(X: Any, names: Sequence[str]) -> pd.DataFrame:
    """`X` as a table of patients by column; ids are the places of the rows."""
    if isinstance(X, pd.DataFrame):
        frame = X.rename(columns=str)
    else:
        values = np.asarray(X)
        if values.ndim != 2:
            raise ValueError(f"X has {values.ndim} axes: give patients x columns, or a cohort and the ids of its patients.")
        frame = pd.DataFrame(values, columns=[f"column {place}" for place in range(values.shape[1])])
    if lacking := [name for name in names if name not in frame]:
        raise ValueError(f"X lacks {len(lacking)} of the {len(names)} columns that the model was fitted with ({naming(lacking)}).")
    frame.index = pd.Index([f"row {place}" for place in range(len(frame))], dtype=object, name="patient_id")
    return frame


def _cohort_of(frame: pd.DataFrame, reads: str, gene_sets: Mapping[str, Mapping[str, Sequence[str]]]) -> Cohort:
    clinical = frame if reads == "clinical" else pd.DataFrame(index=frame.index)
    return Cohort(
        name="X",
        endpoint="",
        clinical=clinical,
        time=np.full(len(frame), np.nan),
        event=np.zeros(len(frame), dtype=bool),
        slides=pd.DataFrame({name: pd.Series(dtype=object) for name in ("slide_id", "patient_id", "path", "n_patches")}),
        tables={} if reads == "clinical" else {reads: frame.astype(np.float32)},
        omics_kinds=() if reads == "clinical" else (reads,),
        gene_sets={name: {pathway: tuple(genes) for pathway, genes in sets.items()} for name, sets in gene_sets.items()},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=0,
        subtype=None,
    )
