"""Where fitted models lie: a fold folder, those of one model of a run, or a bundle."""

from pathlib import Path

from prognos.bundle.archive import is_bundle
from prognos.bundle.bundle import Bundle
from prognos.config import unknown
from prognos.training import Fitted, Folder


def load(place: str | Folder) -> Fitted | Bundle:
    """The fitted model of a folder that `Fitted.save` or a study wrote, or the bundle that `prognos bundle` wrote; both can `predict`.

    Raises:
        ValueError: it is neither, or is damaged, or was written by a newer version.
    """
    place = Path(place) if isinstance(place, str) else place
    return bundle_at(place) or Fitted.load(place)


def bundle_at(place: str | Folder) -> Bundle | None:
    """The bundle at a place; None where something else lies, or nothing.

    Raises:
        ValueError: it is a bundle, and damaged or written by a newer version.
    """
    place = Path(place) if isinstance(place, str) else place
    return Bundle.open(place) if isinstance(place, Path) and is_bundle(place) else None


def fitted_folders(place: Path | str, model: str | None = None) -> list[Folder]:
    """The fitted models at a place: a fold folder, those of one model of a run, or those of a bundle, whose files are checked.

    Args:
        place: a folder with fitted.json, the folder of one model in a run, a run, or a bundle.
        model: which model of the run, `MODEL` or `MODEL@VARIANT`.

    Raises:
        ValueError: there is none, or it is not clear which.
    """
    place = Path(place)
    if (bundle := bundle_at(place)) is not None:
        if model not in (None, bundle.manifest.label):
            raise ValueError(f"{place} is a bundle of {bundle.manifest.label} alone, not of {model}: leave --model out.")
        return bundle.folders
    if place.is_file():
        raise ValueError(f"{place} is not a bundle (a bundle ends in .zip): give what 'prognos bundle' wrote, a fold folder or a run.")
    if (place / "fitted.json").is_file():
        return [place]
    own = sorted(place.glob("seed-*/fold-*/fitted.json"))
    return [path.parent for path in own] if own else list(_of_run(place, model))


def _of_run(run: Path, model: str | None) -> list[Path]:
    found = sorted(run.glob("models/*/*/seed-*/fold-*/fitted.json"))
    if not found:
        raise ValueError(
            f"{run} holds no fitted model: give a fold folder (with fitted.json), a bundle, or a finished run with --model NAME."
        )
    names = list(dict.fromkeys(path.parts[-4] for path in found))
    if model is None:
        raise ValueError(f"{run} is a run of {len(names)} models: choose one with --model ({', '.join(names)}).")
    if model not in names:
        raise ValueError(f"{run}: {unknown('model', model, names)}")
    folders = [path.parent for path in found if path.parts[-4] == model]
    cohorts = list(dict.fromkeys(folder.parts[-4] for folder in folders))
    if len(cohorts) > 1:
        raise ValueError(f"{run} has {model} of {len(cohorts)} cohorts ({', '.join(cohorts)}): give {run}/models/COHORT/{model} instead.")
    return folders
