"""The noise canary: the same pipeline on labels that belong to somebody else.

Whatever concordance a model reaches there, it reaches without any signal. A pipeline that leaks, or that picks its epoch on the
reported fold, shows it here.
"""

from dataclasses import replace

from prognos import runtime
from prognos.cohort import Cohort


def permuted(cohort: Cohort, seed: int) -> Cohort:
    """The cohort with time, event and subtype, together, permuted across its patients; inputs and folds stay."""
    order = runtime.generator("canary", cohort.name, seed).permutation(len(cohort.time))
    subtype = None if cohort.subtype is None else cohort.subtype.iloc[order].set_axis(cohort.subtype.index)
    return replace(cohort, time=cohort.time[order], event=cohort.event[order], subtype=subtype)
