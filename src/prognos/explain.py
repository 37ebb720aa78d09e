"""Where a fitted model looked: maps of a patient's slides as tables, pictures, files for viewers, and one page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from prognos import files
from prognos.cohort import Cohort
from prognos.interpret.colours import ClassColours
from prognos.interpret.cut_outs import OF_PROTOTYPE, contact_sheet, top_patches
from prognos.interpret.drawings import Drawing, draw_slide, slug
from prognos.interpret.maps import PatientMaps, SlideMaps, check_explainable, maps_of
from prognos.interpret.page import PageTexts, page
from prognos.interpret.pictures import save_png
from prognos.slides.reading import SUFFIXES, Slide, SlideError, slide_id_of
from prognos.training import Fitted, Folder

TOP = 16
"""Patches of each map that are cut out."""

THUMBNAIL = 3072
"""Longest side, in pixels, of the picture of a slide that maps are drawn over."""

WHAT = {
    "patches.csv": "slide, corner, side and every number of each patch",
    "patches.geojson": "the same for QuPath",
    ".tiff": "maps that viewers open beside the slide",
    ".png": "maps and top patches as pictures",
}


@dataclass(frozen=True)
class OpenSlides:
    """The slide files at hand.

    Args:
        by_id: open slides by the slide id of the cohort.
        notes: which slides have no usable file, and why.
    """

    by_id: Mapping[str, Slide]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What is to be written beside the maps.

    Args:
        slides: folder of slide files; no pixels are shown without it.
        slide_id: this slide of the patient only.
        top: patches of each map that are cut out.
        facts: what was predicted, a name and a text each.
        notes: further sentences for the page.
    """

    slides: Path | None = None
    slide_id: str | None = None
    top: int = TOP
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)


def explain(fitted: Fitted, cohort: Cohort, patient: str, out: Path, request: Request | None = None) -> list[Path]:
    """Writes what a model saw in a patient's slides; returns the paths, `index.html` last.

    Args:
        fitted: the model.
        cohort: has the patient and the feature files, with the coordinates of the patches.
        patient: id.
        out: folder; made when it is not there.
        request: what else is asked for.

    Raises:
        ValueError: the patient has no slides with coordinates, the model has no maps, the slide is unknown, or a slide file is not
            the one that the features were made of.
    """
    request = request or Request()
    if request.top < 1:
        raise ValueError(f"top is {request.top}: at least 1 patch of each map is cut out.")
    maps = patient_maps(fitted, cohort, patient)
    if request.slide_id is not None:
        maps = maps.of_slide(request.slide_id)
    colours = ClassColours.of([s.assigned for s in maps.slides if s.assigned is not None], len(maps.family)) if maps.family else None
    with _opened(request.slides, maps) as slides:
        drawings = [_drawing(maps, slide, fitted.name, slides.by_id.get(slide.slide_id)) for slide in maps.slides]
        written = [files.write_csv(out / "patches.csv", table(maps))]
        for drawing in drawings:
            written += draw_slide(drawing, colours, out / slug(drawing.slide.slide_id))
        if slides.by_id:
            written += _sheets(maps, fitted.name, slides.by_id, request.top, out)
        notes = [*request.notes, *_missing(request, slides), *maps.notes, *_scale_notes(drawings)]
        texts = PageTexts(fitted.name, request.facts, notes, _listed(written, out))
        html = page(drawings, texts, colours, slides.by_id, request.top)
    return [*written, files.write_text(out / "index.html", html)]


def patient_maps(fitted: Fitted, cohort: Cohort, patient: str) -> PatientMaps:
    """The maps of a patient, of every patch whatever the prediction drew.

    Raises:
        ValueError: see `prognos.interpret.maps`.
    """
    check_explainable(fitted.model, fitted.name, cohort, patient)
    most = fitted.training.evaluation_patches
    whole = replace(fitted, training=fitted.training.model_copy(update={"evaluation_patches": None}))
    bag, prediction = next(iter(whole.predictions(cohort, [patient])))
    maps = maps_of(fitted.model, fitted.name, cohort, bag, prediction)
    n_patches = int(bag["histology"].mask.sum())
    if most is None or n_patches <= most:
        return maps
    note = f"The prediction rests on {most} patches that were drawn; the maps show all {n_patches}."
    return replace(maps, notes=(*maps.notes, note))


def table(maps: PatientMaps) -> pd.DataFrame:
    """One row a patch: slide_id, x, y, side in level-0 pixels, and one column a map."""
    return pd.concat([_rows(maps, slide) for slide in maps.slides], ignore_index=True)


def fold_to_explain(folders: Sequence[Folder], patient: str) -> tuple[Folder, str]:
    """The fitted model to explain among several, and why: one whose test fold had the patient, else the first.

    Args:
        folders: fold folders; those that a study wrote hold the predictions of their test fold.
        patient: id.
    """
    if len(folders) == 1:
        return folders[0], ""
    for folder in folders:
        path = folder / "predictions.csv"
        if isinstance(path, Path) and path.is_file() and patient in set(pd.read_csv(path, usecols=["patient_id"], dtype=str)["patient_id"]):
            return folder, f"Of {len(folders)} fitted models this is {_name(folder)}, which was tested on this patient and not trained."
    return folders[0], f"Of {len(folders)} fitted models this is {_name(folders[0])}, the first; the others may have looked elsewhere."


def _name(folder: Folder) -> str:
    return "/".join(Path(str(folder)).parts[-2:])


def _rows(maps: PatientMaps, slide: SlideMaps) -> pd.DataFrame:
    x, y = slide.places.coords.T
    return pd.DataFrame(
        {"slide_id": slide.slide_id, "x": x, "y": y, "side": slide.places.side} | {k.name: slide.raw[k.name] for k in maps.kinds}
    )


@contextmanager
def _opened(folder: Path | None, maps: PatientMaps) -> Iterator[OpenSlides]:
    """The files of the patient's slides, as far as they are in a folder and can be read."""
    found: dict[str, Slide] = {}
    notes = []
    with ExitStack() as stack:
        paths = {} if folder is None else _slide_files(folder)
        for slide in maps.slides:
            path = paths.get(slide.slide_id) or paths.get(slide_id_of(slide.slide_id))
            if path is None:
                notes += [] if folder is None else [f"Slide {slide.slide_id}: {folder} holds no file of it; it is drawn on a plain ground."]
                continue
            try:
                opened = stack.enter_context(Slide.open(path, mpp=slide.places.mpp, mpp_source="slides.csv"))
            except SlideError as error:
                notes.append(f"Slide {slide.slide_id} is drawn on a plain ground: {error}")
                continue
            _check_same(slide, opened)
            found[slide.slide_id] = opened
        yield OpenSlides(found, tuple(notes))


def _slide_files(folder: Path) -> dict[str, Path]:
    """Slide files of a folder by the name of the slide.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"--slides {folder}: there is no such folder; give the one with the slide files, or leave --slides out.")
    return {slide_id_of(path): path for path in sorted(folder.iterdir()) if path.name.lower().endswith(SUFFIXES)}


def _check_same(slide: SlideMaps, opened: Slide) -> None:
    """Refuses a file on which the patches do not lie."""
    far = slide.places.coords.max(axis=0)
    if (far >= opened.size).any():
        width, height = opened.size
        raise ValueError(
            f"slide {slide.slide_id}: patches begin at up to ({far[0]}, {far[1]}), but {opened.path.name} has {width} x {height} "
            "level-0 pixels: this is not the file that the features were made of; give that one, or leave --slides out."
        )


def _drawing(maps: PatientMaps, slide: SlideMaps, model: str, opened: Slide | None) -> Drawing:
    if opened is None:
        return Drawing(maps, slide, model, None, slide.places.extent, slide.places.mpp)
    mpp = slide.places.mpp or (None if opened.resolution is None else opened.resolution.mpp)
    return Drawing(maps, slide, model, opened.thumbnail(THUMBNAIL), opened.size, mpp)


def _sheets(maps: PatientMaps, model: str, opened: Mapping[str, Slide], top: int, out: Path) -> list[Path]:
    """The top patches of each map alone, and the gallery of a family."""
    written = []
    for kind in maps.telling:
        title = f"patches with the most {kind.name}: {model}, patient {maps.patient}"
        sheet = contact_sheet(maps, [("", top_patches(maps, kind.name, top))], opened, title)
        written.append(save_png(out / f"top-{slug(kind.name)}.png", sheet))
    if maps.family:
        rows = [(kind.name, top_patches(maps, kind.name, min(top, OF_PROTOTYPE))) for kind in maps.family]
        title = f"patches of each {maps.family_name}: {model}, patient {maps.patient}"
        written.append(save_png(out / f"gallery-{slug(maps.family_name)}.png", contact_sheet(maps, rows, opened, title)))
    return written


def _missing(request: Request, slides: OpenSlides) -> list[str]:
    """What the page lacks without slide files."""
    if request.slides is None:
        return ["No slide files were given (--slides): maps are drawn on a plain ground, and top patches have no pictures."]
    return list(slides.notes)


def _scale_notes(drawings: Sequence[Drawing]) -> list[str]:
    unknown = [drawing.slide.slide_id for drawing in drawings if drawing.mpp is None]
    if not unknown:
        return []
    return [
        f"The resolution of {len(unknown)} slides is not known ({', '.join(unknown[:3])}): no scale bar; slides.csv may have a column mpp."
    ]


def _listed(written: Sequence[Path], out: Path) -> list[tuple[str, str]]:
    """The files beside the page, those of one kind together."""
    found: dict[str, list[str]] = {}
    for path in written:
        key = path.name if path.name in WHAT else path.suffix
        found.setdefault(key, []).append(path.relative_to(out).as_posix())
    return [(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", WHAT[key]) for key, names in found.items()]
