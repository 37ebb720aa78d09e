"""From a recipe to explicit jobs: model x variant x cohort x seed x fold, all checked before the first one starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from prognos.cohort import Cohort
from prognos.config import ConfigError, Recipe, Variant, bind, merged, unknown
from prognos.metrics import METRICS
from prognos.models import MODELS
from prognos.models.contract import Needs
from prognos.study.scoring import named
from prognos.tokens.inputs import InputsConfig
from prognos.tokens.missing import Pattern, parse_pattern
from prognos.training.recipe import TrainingConfig

BASE, CANARY = "base", "canary"
_BESIDE_CONFIG = ("training", "inputs", "gene_sets")


@dataclass(frozen=True, eq=False)
class Job:
    """One model fitted on the training part of one fold and asked about its test part.

    Args:
        cohort: name of the cohort.
        model: name in the table of models.
        variant: `base`, the name of an ablation, or `canary`.
        seed: of everything random in it.
        fold: the fold in which it is tested.
        config: overrides of the model's config, over those of its preset.
        training: overrides of the training recipe.
        inputs: overrides of how patients become bags.
        selection: `last`, `inner` or `oracle`.
        missing: patterns under which the test patients are predicted.
        parts: model -> folder (in the run) of the fitted models that it is made of.
        reported: False for a part that the recipe did not ask for.
    """

    cohort: str
    model: str
    variant: str
    seed: int
    fold: int
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    inputs: Mapping[str, Any]
    selection: str
    missing: tuple[Pattern, ...]
    parts: Mapping[str, Path]
    reported: bool = True

    @property
    def folder(self) -> Path:
        """Where it lies in the run."""
        name = self.model if self.variant == BASE else f"{self.model}@{self.variant}"
        return Path("models") / self.cohort / name / f"seed-{self.seed}" / f"fold-{self.fold}"

    def __str__(self) -> str:
        name = self.model if self.variant == BASE else f"{self.model}@{self.variant}"
        return f"{name} on {self.cohort}, seed {self.seed}, fold {self.fold}"


@dataclass(frozen=True)
class NotApplicable:
    """A model that a cohort, or a missing pattern, cannot feed: a row in every table, not an error."""

    model: str
    variant: str
    cohort: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every job of a study in the order of its tables, what cannot be done, and what the reader should know."""

    jobs: tuple[Job, ...]
    not_applicable: tuple[NotApplicable, ...]
    notes: tuple[str, ...]

    @property
    def waves(self) -> tuple[tuple[Job, ...], ...]:
        """The jobs in groups, each of which needs the results of those before only."""
        first = tuple(job for job in self.jobs if not job.parts)
        return tuple(wave for wave in (first, tuple(job for job in self.jobs if job.parts)) if wave)


@dataclass(frozen=True)
class Settings:
    """What one model gets in one variant."""

    config: Mapping[str, Any]
    training: Mapping[str, Any]
    inputs: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def make_plan(recipe: Recipe, cohorts: Mapping[str, Cohort], folds: Mapping[str, pd.Series]) -> Plan:
    """The plan of a recipe.

    Args:
        recipe: the study.
        cohorts: name -> cohort, as the recipe's paths were read.
        folds: name -> fold of each patient.

    Raises:
        ConfigError: for a model, key, modality or gene set that does not exist, anywhere in the recipe.
    """
    check_names(recipe)
    every_modality = tuple(dict.fromkeys(["clinical", "histology", "omics", *(m for c in cohorts.values() for m in c.modalities)]))
    patterns = tuple(parse_pattern(text, every_modality) for text in recipe.study.missing)
    settings = {(model, variant): settings_of(recipe, model, variant) for model, variant in _pairs(recipe)}
    jobs: dict[Path, Job] = {}
    not_applicable: list[NotApplicable] = []
    for name, cohort in cohorts.items():
        for (model, variant), own in settings.items():
            reason = cannot_feed(model, own, cohort)
            if reason:
                not_applicable.append(NotApplicable(model, variant, name, reason))
                continue
            _check_gene_sets(model, own, cohort)
            fed, starved = _split_patterns(needs_in(model, own.config).modalities, patterns)
            not_applicable.extend(NotApplicable(model, variant, name, text) for text in starved)
            for seed in recipe.study.seeds:
                for fold in sorted(int(fold) for fold in folds[name].dropna().unique()):
                    for job in _with_parts(recipe, name, model, variant, seed, fold):
                        kept = replace(job, missing=fed, reported=True) if (job.model, job.variant) == (model, variant) else job
                        if kept.folder not in jobs or kept.reported:
                            jobs[kept.folder] = kept
    notes = dict.fromkeys([*(note for own in settings.values() for note in own.notes), *_without_subtypes(jobs.values(), cohorts)])
    order = {pair: number for number, pair in enumerate(settings)}
    ordered = sorted(jobs.values(), key=lambda job: _position(job, tuple(cohorts), order, recipe.study.seeds))
    return Plan(tuple(ordered), tuple(not_applicable), tuple(notes))


def _without_subtypes(jobs: Iterable[Job], cohorts: Mapping[str, Cohort]) -> list[str]:
    """Which models that learn subtypes too have none to learn."""
    pairs = dict.fromkeys((job.model, job.cohort) for job in jobs if job.reported and needs_in(job.model, job.config).subtype)
    return [
        f"{model} learns survival alone on {cohort}: no subtypes are named (cohort.subtype = a column of clinical.csv)"
        for model, cohort in pairs
        if not cohorts[cohort].subtype_classes
    ]


def check_names(recipe: Recipe) -> None:
    """Refuse every model and variant key that does not exist.

    Raises:
        ConfigError: naming the nearest that does.
    """
    study = recipe.study
    named = [("study.models", study.models), ("the recipe's [model] section", tuple(recipe.model))]
    named += [(f"the variant {variant.name}", variant.models or ()) for variant in study.variants]
    named += [("study.reference", (study.reference,) if study.reference else ())]
    for where, names in named:
        for name in names:
            if name not in MODELS:
                raise ConfigError(f"{where}: {unknown('model', name, MODELS)}")
    if study.reference and study.reference not in study.models:
        raise ConfigError(f"study.reference: {study.reference!r} is not one of the study's models ({', '.join(study.models)}); add it.")
    if study.oracle_warning and study.selection != "last":
        raise ConfigError(
            "study.oracle_warning compares the last epoch with the best one on the reported fold, and study.selection is "
            f"{study.selection!r}: set it to 'last', or leave the warning out."
        )
    for name in study.metrics or ():
        if name not in METRICS:
            raise ConfigError(f"study.metrics: {unknown('metric', name, METRICS)}")
    for variant in study.variants:
        for name in variant.models or ():
            if name not in study.models:
                raise ConfigError(f"the variant {variant.name}: {name!r} is not one of the study's models; add it to study.models.")
        for key in variant.set:
            _check_variant_key(variant, key)


def settings_of(recipe: Recipe, model: str, variant: str) -> Settings:
    """What a model gets in a variant: defaults, then the recipe's common part, its preset, its own section, the variant.

    Raises:
        ConfigError: for a key that the model, the training or the inputs do not have.
    """
    entry = MODELS[model]
    own = dict(recipe.model.get(model, {}))
    changes = _changes(recipe, variant)
    own = merged(own, changes.get("model", {}).get(model, {}))
    config = {key: value for key, value in own.items() if key not in _BESIDE_CONFIG}
    where = f"[model.{model}]" + (f" of the variant {variant}" if variant not in (BASE, CANARY) else "")
    bound = bind(entry.load().Config, {**entry.config, **config}, where)
    common = _common_inputs(recipe)
    training = {**_over_preset(recipe.training, entry.training), **own.get("training", {}), **changes.get("training", {})}
    inputs = {**_over_preset(common, entry.inputs), **own.get("inputs", {}), **_input_changes(changes)}
    if "gene_sets" in own:
        inputs["gene_set"] = own["gene_sets"]
    bind(TrainingConfig, {**entry.training, **training}, f"[training] of {model}")
    bind(InputsConfig, {**entry.inputs, **inputs}, f"[tokens] and [omics] of {model}")
    notes = (*_kept(model, "training", recipe.training, entry.training, own), *_kept(model, "inputs", common, entry.inputs, own))
    warning = "{} repeats a fault of its published code ({}): read its numbers with that in mind."
    stamps = (warning.format(named((model, variant)), setting) for setting in bound.as_released)
    return Settings(config, training, inputs, (*notes, *stamps))


def needs_in(model: str, config: Mapping[str, Any]) -> Needs:
    """What a model reads with these overrides of its preset."""
    kind = MODELS[model].load()
    needs: Needs = kind.needs_of(kind.Config(**{**MODELS[model].config, **config}))
    return needs


def cannot_feed(model: str, settings: Settings, cohort: Cohort) -> str | None:
    """Why a cohort cannot feed a model; None when it can."""
    needs = needs_in(model, settings.config)
    for modality in needs.modalities:
        if modality not in cohort.modalities:
            return f"it reads {modality}, and no patient of {cohort.name} has it"
    kinds = {**MODELS[model].inputs, **settings.inputs}.get("omics_kinds")
    if "omics" in needs.modalities and kinds and not any(kind in cohort.omics_kinds for kind in kinds):
        return f"it reads {' and '.join(kinds)}, and {cohort.name} has {', '.join(cohort.omics_kinds)} only"
    return None


def reference_of(recipe: Recipe) -> str:
    """The model that differences are taken to."""
    models = recipe.study.models
    return recipe.study.reference or ("clinical" if "clinical" in models else models[0])


def _pairs(recipe: Recipe) -> Iterable[tuple[str, str]]:
    for model in recipe.study.models:
        yield model, BASE
        for variant in recipe.study.variants:
            if model in _models_of(variant, recipe):
                yield model, variant.name
        if recipe.study.canary:
            yield model, CANARY


def _models_of(variant: Variant, recipe: Recipe) -> tuple[str, ...]:
    """The models that a variant names, else those that it changes."""
    if variant.models is not None:
        return variant.models
    own = [key.split(".")[1] for key in variant.set if key.startswith("model.")]
    return tuple(own) if own and len(own) == len(variant.set) else recipe.study.models


def _with_parts(recipe: Recipe, cohort: str, model: str, variant: str, seed: int, fold: int) -> list[Job]:
    entry = MODELS[model]
    parts: dict[str, Path] = {}
    jobs: list[Job] = []
    for part in entry.load().needs.parts:
        same = variant == CANARY or settings_of(recipe, part, variant) != settings_of(recipe, part, BASE)
        inner = _with_parts(recipe, cohort, part, variant if same else BASE, seed, fold)
        parts[part] = inner[-1].folder
        jobs.extend(inner)
    own = settings_of(recipe, model, variant)
    selection = (entry.selection or recipe.study.selection) if entry.load().trained else "last"
    jobs.append(
        Job(cohort, model, variant, seed, fold, own.config, own.training, own.inputs, selection, (), parts, reported=False),
    )
    return jobs


def _split_patterns(reads: tuple[str, ...], patterns: tuple[Pattern, ...]) -> tuple[tuple[Pattern, ...], list[str]]:
    """The patterns that leave a model something to read, and why the others do not."""
    modalities = set(reads)
    fed = tuple(pattern for pattern in patterns if not modalities or modalities - pattern.absent)
    starved = [
        f"with {pattern.text} missing: it reads {' and '.join(sorted(modalities))} only" for pattern in patterns if pattern not in fed
    ]
    return fed, starved


def _check_gene_sets(model: str, settings: Settings, cohort: Cohort) -> None:
    needs = needs_in(model, settings.config)
    if needs.omics != "pathways" or "omics" not in needs.modalities:
        return
    name = {**MODELS[model].inputs, **settings.inputs}.get("gene_set") or needs.gene_set
    if name not in cohort.gene_sets:
        known = f"; {cohort.name} has {', '.join(cohort.gene_sets)}" if cohort.gene_sets else ""
        raise ConfigError(
            f"{model} reads the gene sets {name!r}, and none are given for {cohort.name}{known}. Gene sets are not shipped: download "
            f"a GMT file (Hallmark: the collection H of MSigDB, gene symbols) and pass --gene-sets {name}=FILE, or set "
            f"[omics] gene_sets = {{ {name} = FILE }} in the recipe."
        )


def _check_variant_key(variant: Variant, key: str) -> None:
    section, _, rest = key.partition(".")
    if section in ("cohort", "study"):
        raise ConfigError(f"the variant {variant.name} sets {key}: a variant keeps the patients and the study; make another recipe.")
    if section not in ("model", "training", "tokens", "omics") or not rest:
        raise ConfigError(f"the variant {variant.name} sets {key}: {unknown('section', section, ['model', 'training', 'tokens', 'omics'])}")
    if section == "model" and rest.split(".")[0] not in MODELS:
        raise ConfigError(f"the variant {variant.name} sets {key}: {unknown('model', rest.split('.')[0], MODELS)}")
    if section == "omics" and rest != "kinds":
        raise ConfigError(f"the variant {variant.name} sets {key}: of [omics], a variant can set kinds only.")


def _changes(recipe: Recipe, variant: str) -> dict[str, Any]:
    """The nested mapping of what a variant sets."""
    nested: dict[str, Any] = {}
    for item in recipe.study.variants:
        if item.name == variant:
            for key, value in item.set.items():
                for part in reversed(key.split(".")):
                    value = {part: value}
                nested = merged(nested, value)
    return nested


def _common_inputs(recipe: Recipe) -> dict[str, Any]:
    store = recipe.tokens.store
    tokens = {"n_patches": recipe.tokens.n_patches, "fill": recipe.tokens.fill, "store": None if store is None else str(store)}
    values = {**tokens, "omics_kinds": recipe.omics.kinds}
    given = {"omics_kinds": recipe.omics}
    fields = {"omics_kinds": "kinds"}
    named = {key: fields.get(key, key) in given.get(key, recipe.tokens).model_fields_set for key in values}
    return {key: value for key, value in values.items() if value is not None and named[key]}


def _input_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    names = {"kinds": "omics_kinds"}
    return {names.get(key, key): value for section in ("tokens", "omics") for key, value in changes.get(section, {}).items()}


def _over_preset(common: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in common.items() if key not in preset}


def _kept(model: str, section: str, common: Mapping[str, Any], preset: Mapping[str, Any], own: Mapping[str, Any]) -> Iterable[str]:
    for key, value in preset.items():
        if key in common and common[key] != value and key not in own.get(section, {}):
            yield (
                f"the preset of {model} keeps {key} = {value} over the common {common[key]}; "
                f"[model.{model}.{section}] {key} = ... changes it."
            )


def _position(job: Job, cohorts: tuple[str, ...], order: Mapping[tuple[str, str], int], seeds: tuple[int, ...]) -> tuple[Any, ...]:
    pair = (job.model, job.variant)
    return cohorts.index(job.cohort), order.get(pair, len(order)), job.model, job.variant, seeds.index(job.seed), job.fold


__all__ = ["BASE", "CANARY", "Job", "NotApplicable", "Plan", "Settings", "cannot_feed", "make_plan", "reference_of", "settings_of"]
