"""What a fitted model shows of each patch of a patient, slide by slide, from stored features and coordinates.

Patches of a bag stand in the order of the patient's slides in slides.csv and, within a slide, of its feature file; so each number
finds its place on a slide without looking at a pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int, Int64

from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.interpret.placing import PatchPlaces, patch_places
from prognos.metrics.occupancy import COLLAPSED
from prognos.models.contract import Model, PatchMap
from prognos.types import Bag, Prediction


@dataclass(frozen=True)
class MapKind:
    """What one map shows; see `prognos.models.contract.PatchMap`."""

    name: str
    meaning: str
    family: str = ""


@dataclass(frozen=True)
class SlideMaps:
    """The maps of one slide.

    Args:
        slide_id: its name.
        places: where its patches are.
        raw: by name of the map, the model's numbers.
        percentiles: by name of the map, the percentile of each number among all patches of the patient, above 0 and below 100;
            equal numbers have equal percentiles.
        assigned: place in the family of the map that is largest at each patch; None without a family.
    """

    slide_id: str
    places: PatchPlaces
    raw: Mapping[str, Float32[np.ndarray, " patches"]]
    percentiles: Mapping[str, Float32[np.ndarray, " patches"]]
    assigned: Int64[np.ndarray, " patches"] | None = None

    def __len__(self) -> int:
        return len(self.places.coords)


@dataclass(frozen=True)
class PatientMaps:
    """The maps of one patient.

    Args:
        patient: id.
        kinds: what the maps show, in the order of the model.
        slides: those whose coordinates are known.
        notes: stated rules that were applied, and what is missing.
    """

    patient: str
    kinds: tuple[MapKind, ...]
    slides: tuple[SlideMaps, ...]
    notes: tuple[str, ...] = ()

    @property
    def alone(self) -> tuple[MapKind, ...]:
        """Maps of no family."""
        return tuple(kind for kind in self.kinds if not kind.family)

    @property
    def family(self) -> tuple[MapKind, ...]:
        """Maps that divide each patch between them; empty for most models."""
        return tuple(kind for kind in self.kinds if kind.family)

    @property
    def telling(self) -> tuple[MapKind, ...]:
        """Maps of no family that are not the same at every patch."""
        return tuple(kind for kind in self.alone if len({end for slide in self.slides for end in ends_of(slide.raw[kind.name])}) > 1)

    @property
    def family_name(self) -> str:
        """What these are called; empty text without any."""
        return self.family[0].family if self.family else ""

    def of_slide(self, slide_id: str) -> "PatientMaps":
        """The same with one slide alone; percentiles stay those among all patches of the patient.

        Raises:
            ValueError: the patient has no slide of this name, or its coordinates are unknown.
        """
        kept = tuple(slide for slide in self.slides if slide.slide_id == slide_id)
        if not kept:
            known = [slide.slide_id for slide in self.slides]
            raise ValueError(f"patient {self.patient} has no slide {slide_id!r} with coordinates: choose one of {naming(known)}.")
        return replace(self, slides=kept)


def check_explainable(model: Model, name: str, cohort: Cohort, patient: str) -> None:
    """Says what keeps a patient from being explained before anything is computed.

    Raises:
        ValueError: the patient is unknown, the model reads no histology, or the patient has no slides.
    """
    if patient not in cohort.patients:
        raise ValueError(f"patient {patient} is not in {cohort.name}: look at its clinical.csv.")
    if "histology" not in model.needs.modalities:
        reads = ", ".join(model.needs.modalities) or "nothing of a patient"
        raise ValueError(f"{name} reads no slides (it reads {reads}), so there is no map to draw: explain a model that reads histology.")
    if patient not in set(cohort.slides["patient_id"]):
        raise ValueError(f"patient {patient} has no slide features in {cohort.name}: run 'prognos slides' and list them in slides.csv.")


def maps_of(model: Model, name: str, cohort: Cohort, bag: Bag, prediction: Prediction) -> PatientMaps:
    """The maps of the first patient of a bag.

    Args:
        model: what predicted.
        name: what the model is called in messages.
        cohort: which slides are whose, and where their feature files are.
        bag: with every patch of the patient.
        prediction: of the bag.

    Raises:
        ValueError: the model shows no map, or no slide of the patient has coordinates.
    """
    patient = bag.patients[0]
    found = model.patch_maps(bag, prediction, 0)
    if not found:
        raise ValueError(f"{name} shows no number for single patches, so there is no map to draw: explain another model.")
    rows = cohort.slides[cohort.slides["patient_id"] == patient].reset_index(drop=True)
    n_patches = rows["n_patches"].to_numpy(dtype=np.int64)
    assert all(len(one.values) == n_patches.sum() for one in found), "a map has one number for each patch of the patient"
    parts = [slice(end - count, end) for end, count in zip(np.cumsum(n_patches).tolist(), n_patches.tolist(), strict=True)]
    raw = {one.name: one.values.detach().float().cpu().numpy() for one in found}
    percentiles = {kind: percentiles_of(values) for kind, values in raw.items()}
    assigned = _assigned(found, raw)
    mpps = rows["mpp"].to_numpy(dtype=np.float64) if "mpp" in rows else np.full(len(rows), np.nan)
    slides, notes, bare = [], [], []
    for slide_id, path, mpp, part in zip(rows["slide_id"], rows["path"], mpps.tolist(), parts, strict=True):
        places = patch_places(path, mpp=mpp if mpp == mpp else None)
        if places is None:
            bare.append(slide_id)
            continue
        notes += [f"Slide {slide_id}: {note}" for note in places.notes]
        here = {kind: values[part] for kind, values in raw.items()}, {kind: values[part] for kind, values in percentiles.items()}
        slides.append(SlideMaps(slide_id, places, *here, None if assigned is None else assigned[part]))
    if not slides:
        raise ValueError(
            f"the feature files of patient {patient} hold no coordinates ({naming(bare)}): where a patch lies is not known. "
            "Extract the features again with a tool that writes coordinates, such as 'prognos slides'."
        )
    if bare:
        notes.append(f"{len(bare)} of {len(rows)} slides have no coordinates and are left out ({naming(bare)}).")
    notes += [f"{kind} is the same for every patch ({values[0]:.3g})." for kind, values in raw.items() if len(set(ends_of(values))) == 1]
    notes += _collapse([one for one in found if one.family], assigned)
    kinds = tuple(MapKind(one.name, one.meaning, one.family) for one in found)
    return PatientMaps(patient, kinds, tuple(slides), tuple(notes))


def _collapse(family: Sequence[PatchMap], assigned: Int[np.ndarray, " patches"] | None) -> list[str]:
    """Says so where one map of a family takes nearly every patch first: the family then tells no patch from another."""
    if assigned is None or len(family) < 2:
        return []
    counts = np.bincount(assigned, minlength=len(family))
    share = counts.max() / counts.sum()
    if share < COLLAPSED:
        return []
    first = family[int(counts.argmax())]
    others = f"the {len(family)} {first.family}s tell hardly a patch from another, nor do their maps"
    return [f"{first.name} takes {share:.0%} of the patches first: {others}."]


def ends_of(values: Float[np.ndarray, " patches"]) -> tuple[float, float]:
    """The smallest and the largest number."""
    return float(values.min()), float(values.max())


def percentiles_of(values: Float[np.ndarray, " patches"]) -> Float32[np.ndarray, " patches"]:
    """100 (rank - 1/2) / n, with the mean rank for equal numbers: 50 where all are equal."""
    from scipy.stats import rankdata  # slow to import

    return (100 * (rankdata(values) - 0.5) / max(1, len(values))).astype(np.float32)


def _assigned(found: Sequence[PatchMap], raw: Mapping[str, np.ndarray]) -> Int[np.ndarray, " patches"] | None:
    """The place of the largest map of the family at each patch."""
    family = [raw[one.name] for one in found if one.family]
    return np.argmax(np.stack(family), axis=0) if family else None
