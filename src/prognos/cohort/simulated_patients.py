"""Patients whose risk is known: what is planted, and what each modality shows of it.

Every cause of risk is a standard normal (or a sign) of each patient. Histology shows it in the kinds of patches there are and in
where their features lie, omics in the expression of some pathways. What a cause looks like is the same in every simulated cohort
of one feature width (`World`), so that a model of one cohort can be tried on another; only the patients depend on the seed.

| cause          | histology                                             | omics                                     |
|----------------|-------------------------------------------------------|-------------------------------------------|
| shared         | share of tumour patches, and a shift of their features | pathways 1-4, some copy numbers           |
| histology_only | a shift of the features of the focus, a few patches    |                                           |
| omics_only     |                                                       | pathways 5-6 and mutations of their genes |
| interaction    | one sign: a shift of the features of the nest          | another sign: pathways 7-8; the product   |
| subtype        | a shift of the features of the glands                  | pathways 9-10                             |
| site           | a shift of all features                               | a shift of all genes                      |
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

CAUSES = ("shared", "histology_only", "omics_only", "interaction", "clinical", "site")
KINDS = ("stroma", "tumour", "focus", "nest", "gland")
ROLES = {"shared": (0, 1, 2, 3), "omics_only": (4, 5), "interaction": (6, 7), "subtype": (8, 9)}
N_PATHWAYS, GENES_PER_PATHWAY, N_FREE_GENES, N_GROUPS = 20, 12, 40, 6
N_GENES = N_PATHWAYS * GENES_PER_PATHWAY + N_FREE_GENES
PATHWAY_PURITY = 0.7
FOCUS_SHARE, NEST_SHARE, GLAND_SHARE = 0.08, 0.10, 0.12
CENTRE, SHIFT = 3.0, 2.0
STAGE_SHARES = np.array([0.2, 0.35, 0.3, 0.15])
N_DIRECTIONS = 2 * len(KINDS)


@dataclass(frozen=True)
class World:
    """What a cause looks like: fixed directions in feature space and fixed loadings of genes.

    Args:
        centre: where patches of each kind lie; `kinds x d_patch`.
        shift: along which direction the cause of a kind moves them; `kinds x d_patch`.
        site: direction of the site effect.
        loading: how much of the variance of each gene's expression its pathway explains, as a correlation.
        site_loading: sign and size of the site effect on each gene.
    """

    centre: np.ndarray
    shift: np.ndarray
    site: np.ndarray
    loading: np.ndarray
    site_loading: np.ndarray

    @classmethod
    def of_width(cls, d_patch: int) -> "World":
        """The world in which patch features have this width."""
        generator = np.random.default_rng(20_240_607)
        loading, site_loading = generator.uniform(0.5, 0.8, N_GENES), generator.normal(size=N_GENES)
        directions = np.linalg.qr(generator.normal(size=(d_patch, N_DIRECTIONS)))[0].T
        centre = CENTRE * directions[: len(KINDS)]
        centre[KINDS.index("stroma")] = 0.0
        shift = directions[len(KINDS) :].copy()
        shift[KINDS.index("stroma")] = 0.0
        return cls(centre, shift, directions[0], loading, site_loading)


@dataclass(frozen=True)
class Causes:
    """The causes of each patient's risk, each with mean 0 and variance 1, and what the modalities show of them.

    Args:
        cause: cause -> its value for each patient.
        in_histology: cause -> what patches show; the interaction's is one of its two signs.
        in_omics: cause -> what genes show; the interaction's is the other sign.
        site: number of the site of each patient.
        clinical: age, sex, stage, grade.
    """

    cause: Mapping[str, np.ndarray]
    in_histology: Mapping[str, np.ndarray]
    in_omics: Mapping[str, np.ndarray]
    site: np.ndarray
    clinical: pd.DataFrame


def draw_causes(n_patients: int, n_sites: int, visibility: float, generator: np.random.Generator) -> Causes:
    """Causes of patients; `visibility` is the correlation of the shared cause with what each modality shows of it."""
    sizes = generator.dirichlet(np.full(n_sites, 3.0))
    site = generator.choice(n_sites, n_patients, p=sizes)
    of_site = generator.normal(size=n_sites)[site]
    spread = of_site.std()
    of_site = (of_site - of_site.mean()) / spread if spread > 0 else np.zeros(n_patients)
    shared, histology_only, omics_only, subtype = generator.normal(size=(4, n_patients))
    sign_in_histology, sign_in_omics = generator.choice([-1.0, 1.0], (2, n_patients))
    blur = generator.normal(size=(2, n_patients)) * np.sqrt(1 - visibility**2)
    clinical, of_clinical = _clinical(n_patients, generator)
    cause = {
        "shared": shared,
        "histology_only": histology_only,
        "omics_only": omics_only,
        "interaction": sign_in_histology * sign_in_omics,
        "clinical": of_clinical,
        "site": of_site,
        "subtype": subtype,
    }
    in_histology = {
        "shared": visibility * shared + blur[0],
        "histology_only": histology_only,
        "interaction": sign_in_histology,
        "subtype": subtype,
        "site": of_site,
    }
    in_omics = {
        "shared": visibility * shared + blur[1],
        "omics_only": omics_only,
        "interaction": sign_in_omics,
        "subtype": subtype,
        "site": of_site,
    }
    return Causes(cause, in_histology, in_omics, site, clinical)


def _clinical(n_patients: int, generator: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Age, sex, stage and grade, and the clinical cause: age and stage in equal parts."""
    age = np.clip(np.round(generator.normal(63, 11, n_patients)), 25, 90)
    stage = generator.choice(4, n_patients, p=STAGE_SHARES)
    grade = np.clip(np.round(1.6 + 0.35 * stage + generator.normal(0, 0.6, n_patients)), 1, 4).astype(int)
    mean_stage = STAGE_SHARES @ np.arange(4)
    spread_stage = np.sqrt(STAGE_SHARES @ (np.arange(4) - mean_stage) ** 2)
    cause = ((age - 63) / 11 + (stage - mean_stage) / spread_stage) / np.sqrt(2)
    table = pd.DataFrame(
        {
            "age": age.astype(int),
            "sex": generator.choice(["female", "male"], n_patients),
            "stage": np.array(["Stage I", "Stage II", "Stage III", "Stage IV"])[stage],
            "grade": np.char.add("G", grade.astype(str)),
        }
    )
    return table, cause


def draw_survival(log_risk: np.ndarray, censoring: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Days (whole, at least 1) and events: Weibull times of shape 1.3, administrative and random censoring at the given rate.

    Patients enter over the years before the study is closed, and drop out at a constant rate. The length of the study is the one at
    which the share of censored patients is as asked for.
    """
    n_patients = len(log_risk)
    time = 1800.0 * (generator.exponential(size=n_patients) * np.exp(-log_risk)) ** (1 / 1.3)
    closed, dropped = generator.uniform(0.3, 1.0, n_patients), generator.exponential(4.0, n_patients)
    follow_up = np.minimum(closed, dropped)  # in lengths of the study
    n_events = max(round((1 - censoring) * n_patients), 2)
    length_needed = np.sort(time / follow_up)
    length = length_needed[n_events - 1] if n_events < n_patients else np.inf
    event = time <= length * follow_up if n_events < n_patients else np.ones(n_patients, dtype=bool)
    days = np.where(event, time, length * follow_up if n_events < n_patients else time)
    return np.ceil(days).astype(int), event


@dataclass(frozen=True)
class Slide:
    """Patches of one slide: features, coordinates in level-0 pixels, and what each patch is."""

    features: np.ndarray
    coords: np.ndarray
    kind: np.ndarray


def draw_slide(
    shown: Mapping[str, float], site_shift: np.ndarray, n_patches: int, patch_size: int, *, world: World, generator: np.random.Generator
) -> Slide:
    """One slide of a patient of whom histology shows these causes.

    The tissue is a patch of the grid without holes. The tumour is one region of it, the focus, the nest and the glands are small
    ones elsewhere.
    """
    grid = _tissue(n_patches, generator)
    share_of_tumour = 0.6 / (1 + np.exp(0.4 - 0.9 * shown["shared"]))
    kind = np.zeros(n_patches, dtype=np.int8)
    for name, share in (("focus", FOCUS_SHARE), ("nest", NEST_SHARE), ("gland", GLAND_SHARE), ("tumour", share_of_tumour)):
        free = np.flatnonzero(kind == 0)
        n_of_kind = min(max(round(share * n_patches), 1), len(free))
        seed = grid[generator.integers(n_patches)]
        distance = np.hypot(*(grid[free] - seed).T) + generator.normal(0, 0.7, len(free))
        kind[free[np.argsort(distance)[:n_of_kind]]] = KINDS.index(name)
    size = np.array([0.0, 1.3 * shown["shared"], SHIFT * shown["histology_only"], SHIFT * shown["interaction"], SHIFT * shown["subtype"]])
    of_patient = site_shift + generator.normal(0, 0.15, world.centre.shape[1])
    features = (world.centre + size[:, None] * world.shift)[kind] + of_patient
    features += generator.standard_normal(features.shape, dtype=np.float32)
    return Slide(features.astype(np.float16), ((grid + 4) * patch_size).astype(np.int32), kind)


def _tissue(n_patches: int, generator: np.random.Generator) -> np.ndarray:
    """Columns and rows of the grid that tissue covers: the cells nearest to the middle of an ellipse, in raster order."""
    side = int(np.ceil(np.sqrt(n_patches) * 1.6)) + 1
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    stretch = generator.uniform(0.7, 1.4)
    distance = np.hypot((column - side / 2) * stretch, (row - side / 2) / stretch) + generator.normal(0, 0.4, column.shape)
    chosen = np.sort(np.argsort(distance, axis=None)[:n_patches])
    return np.column_stack([column.ravel()[chosen], row.ravel()[chosen]])


@dataclass(frozen=True)
class Genes:
    """Made-up genes and gene sets; each pathway shares two genes with the next one."""

    names: tuple[str, ...]
    pathways: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def made_up(cls) -> "Genes":
        """The genes of every simulated cohort."""
        names = tuple(f"GENE{number:04d}" for number in range(1, N_GENES + 1))
        in_pathways = N_PATHWAYS * GENES_PER_PATHWAY
        pathways, groups = {}, {}
        for pathway in range(N_PATHWAYS):
            own = range(pathway * GENES_PER_PATHWAY, (pathway + 1) * GENES_PER_PATHWAY + 2)
            pathways[f"SIMULATED_PATHWAY_{pathway + 1:02d}"] = tuple(names[gene % in_pathways] for gene in own)
        bounds = np.linspace(0, N_GENES, N_GROUPS + 1).round().astype(int)
        for group in range(N_GROUPS):
            groups[f"SIMULATED_GROUP_{group + 1}"] = names[bounds[group] : bounds[group + 1]]
        return cls(names, pathways, groups)


def draw_tables(
    shown: Mapping[str, np.ndarray], batch_effect: float, world: World, generator: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """RNA (about standard normal), CNV (-2 to 2, every second gene) and SNV (0 or 1, two genes of three), patients x genes."""
    n_patients = len(shown["shared"])
    of_pathway = generator.normal(size=(n_patients, N_PATHWAYS))
    for role, pathways in ROLES.items():
        for pathway in pathways:
            of_pathway[:, pathway] = PATHWAY_PURITY * shown[role] + np.sqrt(1 - PATHWAY_PURITY**2) * of_pathway[:, pathway]
    pathway_of_gene = np.minimum(np.arange(N_GENES) // GENES_PER_PATHWAY, N_PATHWAYS)
    of_pathway = np.column_stack([of_pathway, np.zeros(n_patients)])  # genes of no pathway
    rna = world.loading * of_pathway[:, pathway_of_gene] + np.sqrt(1 - world.loading**2) * generator.normal(size=(n_patients, N_GENES))
    rna += batch_effect * shown["site"][:, None] * world.site_loading
    of_arm = generator.normal(size=(n_patients, N_GENES // 10))[:, np.arange(N_GENES) // 10]
    is_shared = np.isin(pathway_of_gene, ROLES["shared"])
    dosage = 0.6 * of_arm + 0.35 * is_shared * shown["shared"][:, None] + 0.6 * generator.normal(size=(n_patients, N_GENES))
    cnv = np.digitize(dosage, [-2.0, -0.9, 0.9, 2.0]) - 2
    is_omics_only = np.isin(pathway_of_gene, ROLES["omics_only"])
    log_odds = np.log(0.05 / 0.95) + generator.normal(0, 0.4, N_GENES) + 0.8 * is_omics_only * shown["omics_only"][:, None]
    snv = (generator.random((n_patients, N_GENES)) < 1 / (1 + np.exp(-log_odds))).astype(int)
    names = np.array(Genes.made_up().names)
    every_second, two_of_three = np.arange(N_GENES) % 2 == 0, np.arange(N_GENES) % 3 != 2
    return {
        "rna": pd.DataFrame(np.round(rna, 4), columns=names),
        "cnv": pd.DataFrame(cnv[:, every_second], columns=names[every_second]),
        "snv": pd.DataFrame(snv[:, two_of_three], columns=names[two_of_three]),
    }
