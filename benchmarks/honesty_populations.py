"""Populations of known truth for `honesty.py`: patients as rows of pooled features, with times that are known beyond censoring.

Causes, slides, genes and times are drawn by the simulator of prognos. A patient's row is the mean of the patches, the mean of
each pathway's genes, age, sex, stage and grade. Only the site-confounded population is made here, because the simulator's site shifts
features by as much as it shifts the hazard, in one direction: what is learnt from it holds at new sites too. Here every site has a look
of its own, drawn apart from its hazard, so that a look that was learnt says nothing about another site.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from prognos.cohort.simulate import Truth
from prognos.cohort.simulated_patients import (
    GENES_PER_PATHWAY,
    N_PATHWAYS,
    Causes,
    World,
    draw_causes,
    draw_slide,
    draw_survival,
    draw_tables,
)

D_PATCH, PATCHES, PATCH_SIZE = 32, 60, 512
PATIENTS, SITES = 240, 12
OTHERS_OF_THE_SITES = 2000
PATIENTS_PER_NEW_SITE = 20


@dataclass(frozen=True)
class Patients:
    """Patients and what is known of them.

    Args:
        features: patients x columns; NaN where a modality is missing.
        site: name of each patient's site.
        time: days to the event or to censoring.
        event: True where the event was observed.
        event_time: days to the event, were there no censoring. Drawn apart from `time`, at the same risk.
    """

    features: np.ndarray
    site: np.ndarray
    time: np.ndarray
    event: np.ndarray
    event_time: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice | np.ndarray) -> "Patients":
        return Patients(self.features[rows], self.site[rows], self.time[rows], self.event[rows], self.event_time[rows])


@dataclass(frozen=True)
class Population:
    """Where cohorts are drawn from.

    Args:
        title: what it is called in the table.
        truth: what is planted.
        look: standard deviation of each site's own shift of every column of histology and omics, in units of the column.
        null: True where no model can tell the risks of patients of new sites apart, so that the true concordance is 0.5.
    """

    title: str
    truth: Truth = field(default_factory=Truth.noise)
    look: float = 0.0
    null: bool = False

    def draw(self, n_patients: int, n_sites: int, generator: np.random.Generator) -> Patients:
        """New patients of new sites."""
        causes = draw_causes(n_patients, n_sites, self.truth.visibility, generator)
        log_risk = self.truth.log_risk(causes)["log_risk"].to_numpy()
        days, event = draw_survival(log_risk, self.truth.censoring, generator)
        event_time, _ = draw_survival(log_risk, 0.0, generator)
        histology, omics = _pooled_patches(causes, self.truth, generator), _pathways(causes, self.truth, generator)
        if self.look:
            width = histology.shape[1] + omics.shape[1]
            look = (self.look * generator.standard_normal((n_sites, width)))[causes.site]
            histology = histology + look[:, : histology.shape[1]] * histology.std(axis=0)
            omics = omics + look[:, histology.shape[1] :] * omics.std(axis=0)
        lacking = generator.random(n_patients) < self.truth.missing.get("omics", 0.0)
        omics = np.where(lacking[:, None], np.nan, omics)
        features = np.column_stack([histology, omics, _clinical(causes)]).astype(np.float32)
        return Patients(features, np.char.mod("S%03d", causes.site + 1), days.astype(float), event, event_time.astype(float))

    def cohort(self, seed: list[int]) -> tuple[Patients, Patients]:
        """A cohort, and other patients of the same sites."""
        others = OTHERS_OF_THE_SITES if self.look else 0
        drawn = self.draw(PATIENTS + others, SITES, np.random.default_rng(seed))
        return drawn[:PATIENTS], drawn[PATIENTS:]

    def fresh(self, parts: int, patients: int, seed: list[int]) -> list[Patients]:
        """Parts of a large draw of new patients, at new sites of few patients each."""
        return [self.draw(patients, patients // PATIENTS_PER_NEW_SITE, np.random.default_rng([*seed, part])) for part in range(parts)]


POPULATIONS = {
    "noise": Population("pure noise", null=True),
    "clinical": Population("clinical only", Truth(clinical=1.0)),
    "site": Population("site-confounded", Truth(site=0.7, batch_effect=0.0), look=1.0, null=True),
    "interaction": Population("interaction only", Truth(interaction=2.0)),
    "half-missing": Population("half missing", replace(Truth.demo(), missing={"omics": 0.5})),
}


def _pooled_patches(causes: Causes, truth: Truth, generator: np.random.Generator) -> np.ndarray:
    """Mean feature of each patient's patches; patients x d_patch."""
    world = World.of_width(D_PATCH)
    shown = {name: values for name, values in causes.in_histology.items() if name != "site"}
    pooled = np.empty((len(causes.site), D_PATCH))
    for patient in range(len(pooled)):
        site_shift = truth.batch_effect * causes.in_histology["site"][patient] * world.site
        of_patient = {name: values[patient] for name, values in shown.items()}
        slide = draw_slide(of_patient, site_shift, PATCHES, PATCH_SIZE, world=world, generator=generator)
        pooled[patient] = slide.features.mean(axis=0, dtype=np.float64)
    return pooled


def _pathways(causes: Causes, truth: Truth, generator: np.random.Generator) -> np.ndarray:
    """Mean expression of each pathway's own genes; patients x pathways."""
    rna = draw_tables(causes.in_omics, truth.batch_effect, World.of_width(D_PATCH), generator)["rna"].to_numpy()
    bounds = np.arange(N_PATHWAYS + 1) * GENES_PER_PATHWAY
    return np.column_stack([rna[:, first:last].mean(axis=1) for first, last in pairwise(bounds)])


def _clinical(causes: Causes) -> np.ndarray:
    """Age, sex, stage and grade as numbers; patients x 4."""
    table = causes.clinical
    stage = table["stage"].map({"Stage I": 1, "Stage II": 2, "Stage III": 3, "Stage IV": 4})
    return np.column_stack([table["age"], table["sex"] == "male", stage, table["grade"].str[1:].astype(int)]).astype(float)
