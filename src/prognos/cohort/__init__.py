"""Who: patients, endpoints, sites, folds, clinical covariates. No torch in here."""

from prognos.cohort.cohort import OMICS_KINDS, Cohort
from prognos.cohort.defects import CohortError, Defect, Exclusion

__all__ = ["OMICS_KINDS", "Cohort", "CohortError", "Defect", "Exclusion"]
