"""Simulated cohorts: folders like those of real patients, with the truth beside them.

`simulate` writes a folder that `Cohort.read` reads, and next to it what no model sees: `truth.csv` (log-risk and its components of
each patient), `truth.json` (what was planted and where) and `truth_patches.csv.gz` (what each patch is).
"""

import io
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from prognos.cohort.simulated_patients import (
    CAUSES,
    KINDS,
    N_DIRECTIONS,
    ROLES,
    Causes,
    Genes,
    Slide,
    World,
    draw_causes,
    draw_slide,
    draw_survival,
    draw_tables,
)
from prognos.files import write_bytes, write_csv, write_json, write_text

PATCH_SIZE = 512
MICRONS_PER_PIXEL = 0.25
TWO_SLIDES_SHARE = 0.15
CAN_BE_MISSING = ("histology", "omics", "rna", "cnv", "snv")


@dataclass(frozen=True)
class Truth:
    """What is planted in a simulated cohort; all strengths 0 is pure noise.

    A strength is the change of the log-hazard by one standard deviation of its cause.

    Args:
        shared: a cause that both modalities show, each with its own noise, so that both together know more than either.
        histology_only: a cause that only a few patches of each slide show.
        omics_only: a cause that only some pathways and mutations show.
        interaction: the product of a sign that patches show and a sign that pathways show; neither alone says anything.
        clinical: age and tumour stage, in equal parts.
        site: hazard of the site, which also shifts all its features in one direction: what is learnt from that shift holds at other
            sites too. For a confounder that does not, use `batch_effect`, whose shift is each site's own.
        batch_effect: size of the site's shift of features and genes, in standard deviations of a patch or gene; it is there
            whether or not the site matters for survival.
        visibility: correlation of the shared cause with what each modality shows of it.
        censoring: share of patients without an observed event.
        missing: share of patients who lack `histology`, `omics` (all tables), `rna`, `cnv` or `snv`. A patient who would
            lose everything keeps one.
        subtype_shared: share of the variance of the subtype's cause that is the shared cause of survival; the rest has
            nothing to do with survival.
    """

    shared: float = 0.0
    histology_only: float = 0.0
    omics_only: float = 0.0
    interaction: float = 0.0
    clinical: float = 0.0
    site: float = 0.0
    batch_effect: float = 0.15
    visibility: float = 0.8
    censoring: float = 0.65
    missing: Mapping[str, float] = field(default_factory=dict)
    subtype_shared: float = 0.5

    def __post_init__(self) -> None:
        for name in (*CAUSES, "batch_effect"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the strength {name} = {value:g} of a planted signal: choose a number from 0, about 3 at most.")
        for name in ("visibility", "subtype_shared"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name):g} is a share: choose a number from 0 to 1.")
        if not 0 <= self.censoring < 1:
            raise ValueError(f"censoring = {self.censoring:g} leaves nobody with an event: choose a number from 0 to below 1.")
        for name, rate in self.missing.items():
            if name not in CAN_BE_MISSING:
                raise ValueError(f"{name!r} cannot be missing in a simulated cohort: choose among {', '.join(CAN_BE_MISSING)}.")
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate {rate:g} of missing {name} is a share: choose a number from 0 to 1.")

    @classmethod
    def demo(cls) -> "Truth":
        """Mostly a shared signal, a little of each modality's own, and age and stage."""
        return cls(shared=2.2, histology_only=0.4, omics_only=0.4, clinical=0.4, visibility=0.85)

    @classmethod
    def noise(cls) -> "Truth":
        """Nothing tells who dies early."""
        return cls()

    def log_risk(self, causes: Causes) -> pd.DataFrame:
        """Log-risk of each patient and its components, which add up to it."""
        components = {name: getattr(self, name) * causes.cause[name] for name in CAUSES}
        return pd.DataFrame({"log_risk": np.sum(list(components.values()), axis=0), **components})


def simulate(
    path: str | os.PathLike[str],
    truth: Truth,
    *,
    n_patients: int = 300,
    n_sites: int = 12,
    d_patch: int = 32,
    patches: tuple[int, int] = (40, 160),
    n_classes: int = 0,
    seed: int = 0,
) -> Path:
    """Writes a simulated cohort and returns its folder.

    Args:
        path: a folder that does not exist yet or is empty.
        truth: what is planted.
        n_patients: number of patients.
        n_sites: number of tissue source sites, of uneven size.
        d_patch: width of the patch features.
        patches: fewest and most patches of a slide; some patients have two slides.
        n_classes: number of tumour subtypes; 0 writes no subtype.
        seed: decides on the patients; the same seed gives the same bytes.

    Raises:
        ValueError: the folder holds something, or a number is out of range.
    """
    folder = Path(path)
    _check(folder, n_patients, n_sites, d_patch, patches, n_classes)
    generator = np.random.default_rng(seed)
    causes = draw_causes(n_patients, n_sites, truth.visibility, generator)
    risk = truth.log_risk(causes)
    days, event = draw_survival(risk["log_risk"].to_numpy(), truth.censoring, generator)
    patients = pd.Index([f"SIM-{number:04d}" for number in range(1, n_patients + 1)], name="patient_id")
    clinical = pd.DataFrame(
        {"site": np.char.mod("S%02d", causes.site + 1), **causes.clinical, "os_time": days, "os_event": event.astype(int)}
    )
    world = World.of_width(d_patch)
    tables = draw_tables(causes.in_omics, truth.batch_effect, world, generator)
    has = _measured(truth.missing, n_patients, generator)
    if n_classes:
        clinical.insert(1, "subtype", _subtype(causes, truth.subtype_shared, n_classes))
    slides = _draw_slides(causes, truth, patients[has["histology"]], has["histology"], patches, world, generator)
    _write_slides(folder, slides)
    for kind, table in tables.items():
        write_csv(folder / f"{kind}.csv", table.set_axis(patients)[has[kind]])
    _write_gene_sets(folder, n_classes)
    signs = pd.DataFrame({"histology_sign": causes.in_histology["interaction"], "omics_sign": causes.in_omics["interaction"]})
    write_csv(
        folder / "truth.csv", pd.concat([risk, signs, pd.DataFrame({"subtype_cause": causes.cause["subtype"]})], axis=1).set_axis(patients)
    )
    roles = {role: [f"SIMULATED_PATHWAY_{pathway + 1:02d}" for pathway in pathways] for role, pathways in ROLES.items()}
    write_json(folder / "truth.json", {"truth": asdict(truth), "seed": seed, "pathways": roles})
    write_csv(folder / "clinical.csv", clinical.set_axis(patients))  # last: a folder with it is whole
    return folder


def oracle_risk(path: str | os.PathLike[str]) -> pd.Series:
    """The true log-risk of each patient of a simulated cohort: no model can rank better but by luck.

    Raises:
        ValueError: the folder is not a simulated cohort.
    """
    table = Path(path) / "truth.csv"
    if not table.is_file():
        raise ValueError(f"{path} has no truth.csv: only folders written by prognos.cohort.simulate know the true risk.")
    return pd.read_csv(table, dtype={"patient_id": str}, float_precision="round_trip").set_index("patient_id")["log_risk"]


def _check(folder: Path, n_patients: int, n_sites: int, d_patch: int, patches: tuple[int, int], n_classes: int) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something already: give a new or empty folder for the simulated cohort.")
    if n_patients < 4 or n_sites < 1:
        raise ValueError(f"{n_patients} patients of {n_sites} sites are no cohort: choose at least 4 patients and 1 site.")
    if d_patch < N_DIRECTIONS:
        raise ValueError(f"features of width {d_patch} cannot hold what is planted: choose at least {N_DIRECTIONS}.")
    if not 5 <= patches[0] <= patches[1]:
        raise ValueError(f"{patches[0]} to {patches[1]} patches a slide: choose at least 5, the fewest first.")
    if n_classes == 1 or n_classes < 0 or n_classes > n_patients:
        raise ValueError(f"{n_classes} subtypes of {n_patients} patients: choose 0 for none or at least 2.")


def _subtype(causes: Causes, shared: float, n_classes: int) -> np.ndarray:
    cause = math.sqrt(shared) * causes.cause["shared"] + math.sqrt(1 - shared) * causes.cause["subtype"]
    rank = np.argsort(np.argsort(cause))
    return np.char.add("type-", (rank * n_classes // len(rank) + 1).astype(str))


def _measured(missing: Mapping[str, float], n_patients: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Who has what: missing where a uniform draw is below the rate; who would have nothing keeps what had the largest draw."""
    draw = {name: generator.random(n_patients) for name in CAN_BE_MISSING}
    lost = {name: draw[name] < missing.get(name, 0.0) for name in CAN_BE_MISSING}
    has = {"histology": ~lost["histology"], **{kind: ~(lost[kind] | lost["omics"]) for kind in ("rna", "cnv", "snv")}}
    nothing = ~np.logical_or.reduce(list(has.values()))
    best = np.argmax([draw[name] for name in has], axis=0)
    return {name: present | (nothing & (best == number)) for number, (name, present) in enumerate(has.items())}


def _draw_slides(
    causes: Causes,
    truth: Truth,
    patients: pd.Index,
    has: np.ndarray,
    patches: tuple[int, int],
    world: World,
    generator: np.random.Generator,
) -> list[tuple[str, str, Slide]]:
    """Slide id, patient id and patches of every slide."""
    own_shift = generator.normal(size=(causes.site.max() + 1, world.centre.shape[1]))
    drawn = []
    for patient, row in zip(patients, np.flatnonzero(has), strict=True):
        shown = {name: float(values[row]) for name, values in causes.in_histology.items()}
        shift = truth.batch_effect * (own_shift[causes.site[row]] + 4.0 * shown["site"] * world.site)
        for number in range(1, 3 if generator.random() < TWO_SLIDES_SHARE else 2):
            n_patches = int(generator.integers(patches[0], patches[1] + 1))
            drawn.append(
                (f"{patient}-DX{number}", patient, draw_slide(shown, shift, n_patches, PATCH_SIZE, world=world, generator=generator))
            )
    return drawn


def _write_slides(folder: Path, slides: list[tuple[str, str, Slide]]) -> None:
    """Feature files side by side, since each waits for the disk; then the tables that list them."""
    with ThreadPoolExecutor(8) as writers:
        for written in [writers.submit(write_bytes, folder / "features" / f"{name}.h5", _h5(name, slide)) for name, _, slide in slides]:
            written.result()
    table = pd.DataFrame([(name, patient) for name, patient, _ in slides], columns=["slide_id", "patient_id"])
    write_csv(folder / "slides.csv", table.assign(mpp=MICRONS_PER_PIXEL))
    numbers = [np.arange(len(slide.kind)) for _, _, slide in slides]
    patches = pd.DataFrame(
        {
            "slide_id": np.repeat(table["slide_id"].to_numpy(), [len(rows) for rows in numbers]),
            "row": np.concatenate(numbers) if numbers else [],
            "kind": np.array(KINDS)[np.concatenate([slide.kind for _, _, slide in slides])] if slides else [],
        }
    )
    write_csv(folder / "truth_patches.csv.gz", patches)


def _h5(slide_id: str, slide: Slide) -> bytes:
    """The bytes of a feature file with the names and attributes that TRIDENT gives."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v108", "v110")) as file:
        features = file.create_dataset("features", data=slide.features)
        features.attrs["encoder"] = "simulated"
        features.attrs["name"] = slide_id
        coords = file.create_dataset("coords", data=slide.coords)
        coords.attrs.update(
            {
                "name": slide_id,
                "patch_size": PATCH_SIZE // 2,
                "patch_size_level0": PATCH_SIZE,
                "level0_magnification": 40,
                "target_magnification": 20,
                "overlap": 0,
            }
        )
    return buffer.getvalue()


def _write_gene_sets(folder: Path, n_classes: int) -> None:
    genes = Genes.made_up()
    for name, sets in (("pathways", genes.pathways), ("groups", genes.groups)):
        lines = ("\t".join([gene_set, "made up", *members]) for gene_set, members in sets.items())
        write_text(folder / f"{name}.gmt", "\n".join(lines) + "\n")
    labels = ", ".join(f'"type-{number}"' for number in range(1, n_classes + 1))
    subtype = f'subtype = "subtype"\nsubtype_classes = [{labels}]\n' if n_classes else ""
    text = f'[cohort]\nendpoint = "os"\n{subtype}\n[omics.gene_sets]\nhallmark = "pathways.gmt"\nfunctional = "groups.gmt"\n'
    write_text(folder / "cohort.toml", text)
