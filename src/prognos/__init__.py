"""prognos: multimodal cancer survival analysis whose numbers can be compared.

The names below are looked up when they are first used, so that `import prognos` loads neither torch nor pandas.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "Bundle": "prognos.bundle:Bundle",
    "Cohort": "prognos.cohort:Cohort",
    "Fitted": "prognos.training:Fitted",
    "MODELS": "prognos.models:MODELS",
    "METRICS": "prognos.metrics:METRICS",
    "Recipe": "prognos.config:Recipe",
    "Study": "prognos.study.study:Study",
    "SurvivalEstimator": "prognos.estimator:SurvivalEstimator",
    "Truth": "prognos.cohort.simulate:Truth",
    "check": "prognos.cohort.check:check",
    "cross_validate": "prognos.study.run:cross_validate",
    "evaluate": "prognos.study.evaluate:evaluate",
    "fit": "prognos.training:fit",
    "import_table": "prognos.cohort.importers:import_table",
    "load": "prognos.predict:load",
    "make_bundle": "prognos.bundle:make_bundle",
    "read_recipe": "prognos.config:read_recipe",
    "run": "prognos.study.run:run",
    "simulate": "prognos.cohort.simulate:simulate",
}

__all__ = [*sorted(_PLACES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"prognos has no {name!r}; it has {', '.join(sorted(_PLACES))} and its modules")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
