"""From a finished run to a bundle: the models of all folds and seeds as they are, or one a seed fitted anew on all patients."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save

import prognos
from prognos.bundle.archive import BundleError, write
from prognos.bundle.bundle import Bundle
from prognos.bundle.card import card
from prognos.bundle.manifest import CARD, FORMAT, RISK_LEVELS, SPREADS
from prognos.bundle.places import fitted_folders
from prognos.bundle.refit import refit_of
from prognos.bundle.summary import TrainingSummary
from prognos.cohort import Cohort
from prognos.config import Recipe, read_recipe
from prognos.study import provenance
from prognos.study.plan import BASE, CANARY
from prognos.study.run import read_cohorts
from prognos.study.study import Study, read_table
from prognos.training import Fitted

COMPARED = ("model", "variant", "missing", "metric", "mean", "sd", "low", "high", "difference", "difference_low", "difference_high")
BESIDE = ("clinical", "null")
"""Models whose numbers stand in a model card beside the bundle's own."""


@dataclass(frozen=True, eq=False)
class Source:
    """One model of a run and the cohort that it was fitted on.

    Args:
        study: the run.
        model: entry of the table of models.
        variant: `base`, or the name of an ablation.
        folders: of its fitted models.
        cohort: all patients who have a fold, as they were when the run was made.
        folds: patient -> fold.
    """

    study: Study
    model: str
    variant: str
    folders: Sequence[Path]
    cohort: Cohort
    folds: pd.Series


def make_bundle(run: Path | str, model: str, out: Path | str, *, refit: bool = False, cohort: Path | str | None = None) -> Bundle:
    """Writes one model of a run as a bundle, and opens it.

    Args:
        run: a finished run; `RUN/models/COHORT/MODEL` chooses a cohort of several.
        model: `MODEL` or `MODEL@VARIANT`.
        out: a zip when it ends in .zip, else a new folder.
        refit: fit the model anew on the patients of all folds, once for each seed, with the settings of the folds. There is then no
            patient of the cohort left to test it on: what the study says of the models of its folds is the best that is known of it.
        cohort: the cohort folder, where it no longer lies where the run found it.

    Raises:
        ValueError: the run is not finished, has no such model, or keeps vectors of single patients; the cohort has changed since.
    """
    source = _source(Path(run), model, None if cohort is None else Path(cohort))
    out = Path(out)
    first = Fitted.load(source.folders[0])
    _check_private(first)
    with tempfile.TemporaryDirectory(dir=_existing(out.absolute().parent), prefix=".prognos-") as workshop:
        folders = refit_of(source.folders, source.cohort, Path(workshop)) if refit else source.folders
        members: list[dict[str, Any]] = []
        contents: dict[str, bytes | Path] = {}
        for folder in folders:
            fitted = Fitted.load(folder)
            place = f"models/{folder.parent.name}/{folder.name}"
            contents |= {f"{place}/{name}": folder / name for name in ("weights.safetensors", "log.csv")}
            contents[f"{place}/fitted.json"] = _without_paths(folder / "fitted.json")
            risks = fitted.predict(source.cohort).risk if refit else _held_out(folder)
            members.append(
                {
                    "place": place,
                    "seed": fitted.seed,
                    "fold": None if refit else int(folder.name.removeprefix("fold-")),
                    "threshold": fitted.threshold,
                    "risks": np.percentile(risks, RISK_LEVELS).tolist(),
                }
            )
        summary = TrainingSummary.learn(source.cohort, source.folds, first.inputs)
        plain, arrays = summary.state()
        described = _described(source, first, members, plain, refit=refit)
        contents |= {SPREADS: save(arrays), CARD: card(described, first).encode()}
        return Bundle.open(write(out, described, contents))


def _source(place: Path, model: str, moved: Path | None) -> Source:
    """The model of a run, its fitted folders and its cohort, checked to be what it was."""
    run = next((folder for folder in (place, *place.absolute().parents[:3]) if (folder / "study.json").is_file()), place)
    study = Study.open(run)
    folders = [folder for folder in fitted_folders(place, model) if isinstance(folder, Path)]
    name, label = folders[0].parts[-4], folders[0].parts[-3]
    kind, _, variant = label.partition("@")
    if variant == CANARY:
        raise BundleError(f"{label} was fitted on permuted labels, to show what noise scores: bundle another model of {run}.")
    recipe = _recipe_of(study.folder, name, moved)
    cohort = next(iter(read_cohorts(recipe).values()))
    _check_unchanged(study.folder, name, recipe)
    splits = read_table(study.folder / "splits.csv")
    own = splits[splits["cohort"] == name] if "cohort" in splits else splits
    folds = own.set_index(own["patient_id"].astype(str))["fold"].dropna().astype(int)
    return Source(study, kind, variant or BASE, folders, cohort.subset([p for p in cohort.patients if p in folds.index]), folds)


def _recipe_of(run: Path, cohort: str, moved: Path | None) -> Recipe:
    """The recipe of a run with one of its cohorts alone, perhaps at another place."""
    recipe = read_recipe(run / "recipe.toml")
    names = list(json.loads((run / "provenance.json").read_text(encoding="utf-8"))["cohorts"])
    path = recipe.cohort.path[names.index(cohort)] if moved is None else moved
    if not path.is_dir():
        raise BundleError(f"the cohort of this run is not at {path}: say with --cohort where it lies now.")
    return recipe.model_copy(update={"cohort": recipe.cohort.model_copy(update={"path": (path,)})})


def _check_unchanged(run: Path, cohort: str, recipe: Recipe) -> None:
    before = json.loads((run / "provenance.json").read_text(encoding="utf-8"))["cohorts"][cohort]
    after = provenance.hashes(recipe.cohort.path[0], tuple(recipe.omics.gene_sets.values()))
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if changed:
        raise BundleError(
            f"{len(changed)} files of {recipe.cohort.path[0]} are not those that the run was made with ({', '.join(changed[:3])}): "
            "put them back, say with --cohort where they lie, or run the study again."
        )


def _check_private(fitted: Fitted) -> None:
    """Refuses models that fill in what a patient lacks from training patients whom they keep."""
    nearest = getattr(fitted.config, "generator", "") == "nearest" or (fitted.filler is not None and fitted.filler.policy == "nearest")
    if nearest or fitted.model.keeps_patients:
        raise BundleError(
            f"{fitted.name} fills in what a patient lacks from its {fitted.provenance['patients']} training patients and so keeps a vector "
            "of each, which must not be handed out: bundle another model, or a variant that does not fill in from the nearest."
        )


def _held_out(folder: Path) -> np.ndarray:
    """The risks of the patients of a fold that the model was not trained on."""
    path = folder / "predictions.csv"
    table = read_table(path) if path.is_file() else pd.DataFrame({"missing": [], "risk": []})
    risks = table.loc[table["missing"] == "none", "risk"].to_numpy(dtype=float)
    if not len(risks):
        raise BundleError(
            f"{folder} has no predictions of its test fold with nothing taken away: run the study with 'none' among study.missing."
        )
    return risks


def _without_paths(path: Path) -> bytes:
    """fitted.json without the place of this machine's packed features."""
    said = json.loads(path.read_text(encoding="utf-8"))
    said["inputs"]["config"]["store"] = None
    return (json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _described(source: Source, first: Fitted, members: list[dict[str, Any]], training: Mapping[str, Any], *, refit: bool) -> dict[str, Any]:
    """The fields of the manifest."""
    study, cohort = source.study, source.cohort
    facts = json.loads((study.folder / "cohort.json").read_text(encoding="utf-8"))[cohort.name]
    record = json.loads((study.folder / "provenance.json").read_text(encoding="utf-8"))
    table = study.comparison()
    beside = table["model"].isin(BESIDE) & (table["variant"] == BASE)
    own = (table["model"] == source.model) & (table["variant"] == source.variant)
    rows = table[(table["cohort"] == cohort.name) & (own | beside)][list(COMPARED)]
    kinds = () if first.inputs.omics is None else first.inputs.omics.schema.kinds
    return {
        "format": FORMAT,
        "prognos": prognos.__version__,
        "model": source.model,
        "variant": source.variant,
        "kind": "refit" if refit else "ensemble",
        "fitted_on": {
            "name": cohort.name,
            "endpoint": cohort.endpoint,
            "patients": len(cohort),
            "events": int(np.sum(cohort.event)),
            "median_follow_up_days": facts["median_follow_up_days"],
            "modalities": {modality: int(cohort.has(modality).sum()) for modality in cohort.modalities},
            "site_preserving": bool(facts["site_preserving"]),
            "n_folds": int(source.folds.nunique()),
            "detectable_difference": facts.get("detectable_difference"),
        },
        "encoder": {"name": first.inputs.encoder, "d_patch": first.inputs.d_patch},
        "genes": {kind: len(first.inputs.omics.schema.genes(kind)) for kind in kinds} if first.inputs.omics is not None else {},
        "members": members,
        "held_out": {
            "rows": [{key: None if value != value else value for key, value in row.items()} for row in rows.to_dict("records")],
            "selection": study.facts().get("selection", ""),
            "reference": study.facts().get("reference") or "",
        },
        "training": training,
        "versions": {name: version for name, version in record["versions"].items() if name != "platform"},
    }


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
