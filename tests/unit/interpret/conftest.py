"""A patient with two slides whose maps are known, and small slides that are written as images."""

import numpy as np
import pytest
from PIL import Image

from prognos.interpret.maps import MapKind, PatientMaps, SlideMaps, percentiles_of
from prognos.interpret.placing import PatchPlaces

SIDE = 10


def places(coords, *, side=SIDE, extent=(60, 40), mpp=0.5):
    return PatchPlaces(np.array(coords, dtype=np.int64).reshape(-1, 2), side, extent, mpp)


def patient(kinds, *slides, spots=None):
    """Maps of a patient: for each slide, a list of numbers for each map."""
    whole = {kind.name: percentiles_of(np.concatenate([numbers[i] for numbers in slides])) for i, kind in enumerate(kinds)}
    ends = np.cumsum([0, *(len(numbers[0]) for numbers in slides)])
    found = []
    for place, numbers in enumerate(slides):
        raw = {kind.name: np.array(row, dtype=np.float32) for kind, row in zip(kinds, numbers, strict=True)}
        family = [raw[kind.name] for kind in kinds if kind.family]
        where = spots or places([[SIDE * i, SIDE * place] for i in range(len(numbers[0]))])
        part = slice(ends[place], ends[place + 1])
        percentiles = {name: values[part] for name, values in whole.items()}
        found.append(SlideMaps(f"slide-{place + 1}", where, raw, percentiles, np.argmax(family, axis=0) if family else None))
    return PatientMaps("P1", tuple(kinds), tuple(found))


ATTENTION = MapKind("attention", "weight of the patch")
PROTOTYPES = tuple(MapKind(f"prototype {k}", "weight of the patch", "prototype") for k in (1, 2))


@pytest.fixture
def two_slides():
    """Attention of three patches on the first slide and two on the second."""
    return patient([ATTENTION], [[0.1, 0.4, 0.2]], [[0.3, 0.0]])


@pytest.fixture
def with_prototypes():
    """Attention and two prototypes over four patches; the second prototype takes the last patch only."""
    return patient([ATTENTION, *PROTOTYPES], [[0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.9]])


@pytest.fixture
def slide_file(tmp_path):
    """A slide of 60 x 40 pixels whose red is the column and whose green is the row."""
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(60), np.arange(40)[:, None]
    folder = tmp_path / "slides"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "slide-1.png")
    return folder / "slide-1.png"
