"""How many microns a pixel of a slide is, and who says so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

FROM_FILE = "file"
FROM_MANIFEST = "slides.csv"
ASSUMED = "--mpp"

PLAUSIBLE = (0.02, 25.0)
"""Microns a pixel that a slide can have: beyond them stand the 72, 96 or 300 dots per inch that image programs put in by themselves."""

SQUARE = 0.05
"""Width and height of a pixel may differ by this share; their geometric mean is used."""

_OME_SIZE = re.compile(r'PhysicalSize([XY])="([^"]+)"')
_OME_UNIT = re.compile(r'PhysicalSize([XY])Unit="([^"]+)"')
_MICRONS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3}


@dataclass(frozen=True)
class Resolution:
    """Microns a level-0 pixel.

    Args:
        mpp: microns a pixel.
        source: `file`; `slides.csv`, which speaks of one slide and goes before the file; or `--mpp`, which is assumed
            for every slide whose file says nothing.
    """

    mpp: float
    source: str

    def __str__(self) -> str:
        said = {FROM_FILE: "said by the file", ASSUMED: "assumed, by --mpp"}.get(self.source, f"from {self.source}")
        return f"{self.mpp:g} microns a pixel ({said})"


@dataclass(frozen=True)
class Statement:
    """What a file says about its resolution.

    Args:
        mpp: microns a pixel; None where it says nothing that can be believed.
        remark: what it says instead, a part of a sentence; empty where it says nothing at all.
    """

    mpp: float | None = None
    remark: str = ""


def stated_resolution(properties: Mapping[str, str]) -> Statement:
    """What a file says, by OpenSlide's `openslide.mpp-x` and `-y`, then by an OME header.

    A value outside `PLAUSIBLE` is not believed, nor are pixels that are not square. The power of the objective is no resolution:
    cameras differ.
    """
    pair = _mpp_pair(properties)
    if pair is None:
        power = properties.get("openslide.objective-power")
        return Statement(remark=f"it only names its objective, {power}x" if power else "")
    low, high = min(pair), max(pair)
    if not PLAUSIBLE[0] <= low <= high <= PLAUSIBLE[1]:
        return Statement(remark=f"it says {pair[0]:g} microns a pixel, which no scanner writes")
    if high > low * (1 + SQUARE):
        return Statement(remark=f"it says pixels of {pair[0]:g} x {pair[1]:g} microns, which are not square")
    return Statement((pair[0] * pair[1]) ** 0.5 if low < high else low)


def _mpp_pair(properties: Mapping[str, str]) -> tuple[float, float] | None:
    pair = _number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))
    if pair[0] is not None and pair[1] is not None:
        return pair[0], pair[1]
    description = properties.get("openslide.comment", "")
    sizes = {axis: _number(text) for axis, text in _OME_SIZE.findall(description)}
    units = {axis: _MICRONS.get(text) for axis, text in _OME_UNIT.findall(description)}
    found = []
    for axis in "XY":
        size, unit = sizes.get(axis), units.get(axis, 1.0)
        if size is None or unit is None:
            return None
        found.append(size * unit)
    return found[0], found[1]


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 < value < float("inf") else None
