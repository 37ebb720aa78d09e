"""A simulated cohort so small that any model is fitted in a second, with the settings that suit it."""

import dataclasses
import hashlib
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from prognos.cohort import Cohort
from prognos.cohort.simulate import Truth, simulate
from prognos.models import entry_of
from prognos.training import FitOptions, Fitted, fit
from tests.contract.tiny_models import small

N_TRAIN = 20


@cache
def tiny_cohort() -> Cohort:
    """Thirty patients of four sites; about a fifth lack slides and a fifth lack omics, nobody lacks both."""
    truth = Truth(shared=1.0, censoring=0.4, missing={"histology": 0.2, "omics": 0.2})
    folder = Path(mkdtemp(prefix="prognos-tests-")) / "tiny"
    return Cohort.read(simulate(folder, truth, n_patients=30, n_sites=4, d_patch=10, patches=(5, 8), seed=5))


def train_and_test(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """The first twenty patients, and the others."""
    return cohort.subset(cohort.patients[:N_TRAIN]), cohort.subset(cohort.patients[N_TRAIN:])


def tiny_fit(cohort: Cohort, name: str, *, seed: int = 1, config=None, training=None, inputs=None, options=None) -> Fitted:
    """A small instance of the model called `name`, fitted for two epochs."""
    options = options or FitOptions()
    parts = {part: options.parts.get(part) or tiny_fit(cohort, part, seed=seed) for part in entry_of(name).load().needs.parts}
    recipe = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu", **(training or {})}
    options = dataclasses.replace(options, parts=parts)
    return fit(cohort, name, seed=seed, config={**small(name), **(config or {})}, training=recipe, inputs=inputs, options=options)


@cache
def fitted_on_train(name: str) -> Fitted:
    """The model fitted on the training part of the tiny cohort."""
    return tiny_fit(train_and_test(tiny_cohort())[0], name)


def state_hash(fitted: Fitted) -> str:
    """Changes with any bit of any parameter or buffer, and with the threshold and the marginal curve."""
    digest = hashlib.sha256(repr(fitted.threshold).encode())
    for name, value in [*sorted(fitted.model.state_dict().items()), *fitted.marginal.state_dict().items()]:
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
