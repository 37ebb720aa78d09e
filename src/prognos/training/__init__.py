"""Fitting: one function with stages, and what it gives."""

from prognos.training.fit import FitOptions, FitProgress, fit
from prognos.training.fitted import Fitted, Folder
from prognos.training.predictions import Predictions
from prognos.training.recipe import TrainingConfig

__all__ = ["FitOptions", "FitProgress", "Fitted", "Folder", "Predictions", "TrainingConfig", "fit"]
