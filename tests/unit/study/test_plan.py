from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from prognos.config import ConfigError, make_recipe, read_recipe
from prognos.study.plan import check_names, make_plan, reference_of, settings_of


def recipe_of(models, *, training=None, model=None, tokens=None, omics=None, **study):
    sections = {"training": training or {}, "model": model or {}, "tokens": tokens or {}, "omics": omics or {}}
    return make_recipe({"cohort": {"path": "/data/small"}, "study": {"models": models, **study}, **sections})


@pytest.fixture
def plan_of(cohort):
    def plan(recipe, own=cohort):
        return make_plan(recipe, {own.name: own}, {own.name: own.folds})

    return plan


def names(plan):
    return [str(job) for job in plan.jobs]


def test_a_plan_is_every_model_seed_and_fold_in_order(plan_of):
    plan = plan_of(recipe_of(["null", "snn"], seeds=[2, 1]))
    assert names(plan) == [f"{model} on small, seed {seed}, fold {fold}" for model in ("null", "snn") for seed in (2, 1) for fold in (0, 1)]


def test_a_job_lies_where_the_interface_says(plan_of):
    plan = plan_of(recipe_of(["tta"], variants=[{"name": "no-apart", "set": {"model.tta.apart": False}}]))
    folders = [job.folder.as_posix() for job in plan.jobs]
    assert folders[0] == "models/small/tta/seed-1/fold-0"
    assert folders[2] == "models/small/tta@no-apart/seed-1/fold-0"


def test_a_variant_changes_what_it_sets_only(plan_of):
    plan = plan_of(recipe_of(["tta"], model={"tta": {"heads": 3}}, variants=[{"name": "no-apart", "set": {"model.tta.apart": False}}]))
    base, variant = plan.jobs[0], plan.jobs[2]
    assert dict(base.config) == {"heads": 3}
    assert dict(variant.config) == {"heads": 3, "apart": False}


def test_a_variant_of_one_model_leaves_the_others_alone(plan_of):
    plan = plan_of(recipe_of(["snn", "tta"], variants=[{"name": "x", "set": {"model.tta.apart": False}}]))
    assert [job.model for job in plan.jobs if job.variant == "x"] == ["tta", "tta"]


def test_a_variant_of_training_concerns_every_model_unless_it_names_some(plan_of):
    everyone = plan_of(recipe_of(["snn", "abmil"], variants=[{"name": "x", "set": {"training.epochs": 50, "tokens.n_patches": 2048}}]))
    assert {job.model for job in everyone.jobs if job.variant == "x"} == {"snn", "abmil"}
    job = next(job for job in everyone.jobs if job.variant == "x")
    assert (job.training["epochs"], job.inputs["n_patches"]) == (50, 2048)
    some = plan_of(recipe_of(["snn", "abmil"], variants=[{"name": "x", "models": ["abmil"], "set": {"training.epochs": 50}}]))
    assert {job.model for job in some.jobs if job.variant == "x"} == {"abmil"}


def test_a_model_that_a_cohort_cannot_feed_is_not_applicable_and_the_rest_goes_on(plan_of, build):
    plan = plan_of(recipe_of(["clinical", "abmil", "late-fusion", "tta"]), build(slides=False))
    assert {job.model for job in plan.jobs} == {"clinical"}
    assert [row.model for row in plan.not_applicable] == ["abmil", "late-fusion", "tta"]
    assert plan.not_applicable[0].reason == "it reads histology, and no patient of small has it"


def test_a_preset_of_one_omics_kind_is_not_applicable_without_it(plan_of, build):
    plan = plan_of(recipe_of(["null", "tta-paper"]), build(kinds=("cnv",)))
    assert [row.reason for row in plan.not_applicable] == ["it reads rna, and small has cnv only"]


def test_a_model_whose_only_modality_is_missing_is_not_applicable_under_that_pattern(plan_of):
    plan = plan_of(recipe_of(["snn", "tta"], missing=["none", "omics", "omics=0.5"]))
    by_model = {job.model: [pattern.text for pattern in job.missing] for job in plan.jobs}
    assert by_model == {"snn": ["none", "omics=0.5"], "tta": ["none", "omics", "omics=0.5"]}
    assert [(row.model, row.reason) for row in plan.not_applicable] == [("snn", "with omics missing: it reads omics only")]


def test_parts_that_nobody_asked_for_are_fitted_but_not_reported(plan_of):
    plan = plan_of(recipe_of(["late-fusion"]))
    assert {job.model: (job.reported, bool(job.missing)) for job in plan.jobs} == {
        "late-fusion": (True, True),
        "snn": (False, False),
        "abmil": (False, False),
    }
    fusion = next(job for job in plan.jobs if job.model == "late-fusion")
    assert {name: path.as_posix() for name, path in fusion.parts.items()} == {
        "snn": "models/small/snn/seed-1/fold-0",
        "abmil": "models/small/abmil/seed-1/fold-0",
    }


def test_parts_that_are_models_of_the_study_are_fitted_once(plan_of):
    plan = plan_of(recipe_of(["snn", "abmil", "late-fusion"]))
    assert len(plan.jobs) == 3 * 2
    assert all(job.reported for job in plan.jobs)


def test_parts_come_in_an_earlier_wave(plan_of):
    first, second = plan_of(recipe_of(["late-fusion", "snn"])).waves
    assert {job.model for job in first} == {"snn", "abmil"}
    assert {job.model for job in second} == {"late-fusion"}


def test_a_variant_that_changes_a_part_is_fused_from_the_changed_part(plan_of):
    variants = [{"name": "x", "models": ["late-fusion"], "set": {"training.epochs": 2}}]
    plan = plan_of(recipe_of(["snn", "late-fusion"], variants=variants))
    fusion = next(job for job in plan.jobs if job.model == "late-fusion" and job.variant == "x")
    assert fusion.parts["snn"].as_posix() == "models/small/snn@x/seed-1/fold-0"


def test_the_canary_is_a_variant_of_every_model_with_canary_parts(plan_of):
    plan = plan_of(recipe_of(["snn", "late-fusion"], canary=True))
    fusion = next(job for job in plan.jobs if job.model == "late-fusion" and job.variant == "canary")
    assert fusion.parts["abmil"].as_posix() == "models/small/abmil@canary/seed-1/fold-0"
    assert {job.model for job in plan.jobs if job.variant == "canary" and job.reported} == {"snn", "late-fusion"}


def test_a_preset_keeps_its_own_training_over_the_common_one_and_says_so(plan_of):
    plan = plan_of(recipe_of(["snn", "tta-paper"], training={"warmup": 0.2, "epochs": 3}))
    by_model = {job.model: dict(job.training) for job in plan.jobs}
    assert by_model == {"snn": {"warmup": 0.2, "epochs": 3}, "tta-paper": {"epochs": 3}}
    assert plan.notes == (
        "the preset of tta-paper keeps warmup = 0.0 over the common 0.2; [model.tta-paper.training] warmup = ... changes it.",
    )


def test_a_model_that_repeats_a_fault_of_its_published_code_is_stamped(plan_of):
    variants = [{"name": "old", "models": ["otsurv"], "set": {"model.otsurv.ramp": "legacy"}}]
    plan = plan_of(recipe_of(["otsurv", "transmil-paper"], variants=variants))
    assert plan.notes == (
        "otsurv@old repeats a fault of its published code (ramp = legacy): read its numbers with that in mind.",
        "transmil-paper repeats a fault of its published code (zeros_in_front = True): read its numbers with that in mind.",
    )


def test_a_model_of_subtypes_without_any_says_that_it_learns_survival_alone(plan_of, cohort):
    said = "mcti learns survival alone on small: no subtypes are named (cohort.subtype = a column of clinical.csv)"
    assert said in plan_of(recipe_of(["snn", "mcti"])).notes
    labelled = replace(cohort, subtype=pd.Series("a", index=cohort.patients), subtype_classes=("a", "b"))
    assert said not in plan_of(recipe_of(["snn", "mcti"]), own=labelled).notes


def test_a_models_own_section_is_the_last_word_on_its_training():
    settings = settings_of(
        recipe_of(["tta-paper"], training={"warmup": 0.2}, model={"tta-paper": {"training": {"warmup": 0.5}}}), "tta-paper", "base"
    )
    assert settings.training["warmup"] == 0.5
    assert settings.notes == ()


def test_a_preset_that_selects_by_itself_does(plan_of):
    plan = plan_of(recipe_of(["null", "snn", "tta-released"], selection="inner"))
    assert {job.model: job.selection for job in plan.jobs} == {"null": "last", "snn": "inner", "tta-released": "oracle"}


def test_gene_sets_of_a_model_can_be_overridden():
    settings = settings_of(recipe_of(["tta"], model={"tta": {"gene_sets": "functional"}}), "tta", "base")
    assert settings.inputs["gene_set"] == "functional"


def test_pathways_without_gene_sets_are_refused_with_where_to_get_them(plan_of, build):
    with pytest.raises(
        ConfigError, match=r"tta reads the gene sets 'hallmark', and none are given for small\. .*MSigDB.* --gene-sets hallmark=FILE"
    ):
        plan_of(recipe_of(["tta"]), build(gene_sets=False))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"models": ["tto"]}, r"study\.models: there is no model 'tto'; did you mean 'tta'\?"),
        ({"models": ["tta"], "model": {"ttta": {}}}, r"\[model\] section: there is no model 'ttta'; did you mean 'tta'\?"),
        ({"models": ["tta"], "reference": "clinicl"}, r"study\.reference: there is no model 'clinicl'; did you mean 'clinical'\?"),
        ({"models": ["tta"], "reference": "snn"}, r"study\.reference: 'snn' is not one of the study's models"),
        (
            {"models": ["tta"], "metrics": ["concordanse"]},
            r"study\.metrics: there is no metric 'concordanse'; did you mean 'concordance'\?",
        ),
        ({"models": ["tta"], "model": {"tta": {"headz": 3}}}, r"\[model\.tta\]: there is no key 'headz'; did you mean 'heads'\?"),
        ({"models": ["tta"], "training": {"epohcs": 3}}, r"\[training\] of tta: there is no key 'epohcs'; did you mean 'epochs'\?"),
        ({"models": ["tta"], "variants": [{"name": "x", "models": ["snn"]}]}, "variant x: 'snn' is not one of the study's models"),
        ({"models": ["tta"], "variants": [{"name": "x", "models": ["tto"]}]}, "variant x: there is no model 'tto'"),
        (
            {"models": ["tta"], "variants": [{"name": "x", "set": {"model.tto.apart": False}}]},
            "sets model.tto.apart: there is no model 'tto'",
        ),
        (
            {"models": ["tta"], "variants": [{"name": "x", "set": {"modle.tta.apart": False}}]},
            "there is no section 'modle'; did you mean 'model'",
        ),
        ({"models": ["tta"], "variants": [{"name": "x", "set": {"study.seeds": [1]}}]}, "a variant keeps the patients and the study"),
        ({"models": ["tta"], "variants": [{"name": "x", "set": {"omics.gene_sets": {}}}]}, "a variant can set kinds only"),
        (
            {"models": ["tta"], "variants": [{"name": "x", "set": {"model.tta.aprt": False}}]},
            r"\[model\.tta\] of the variant x: there is no key 'aprt'",
        ),
        ({"models": ["tta"], "missing": ["omix"]}, "there is no modality 'omix'; did you mean 'omics'"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_starts(plan_of, recipe, said):
    with pytest.raises(ConfigError, match=said):
        plan_of(recipe_of(recipe.pop("models"), **recipe))


def test_differences_are_to_clinical_unless_told_otherwise():
    assert reference_of(recipe_of(["null", "clinical", "tta"])) == "clinical"
    assert reference_of(recipe_of(["null", "tta"])) == "null"
    assert reference_of(recipe_of(["null", "tta"], reference="tta")) == "tta"


RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_names_models_and_keys_that_exist(path):
    recipe = read_recipe(path)
    check_names(recipe)
    variants = ["base", *(variant.name for variant in recipe.study.variants)]
    settings = [settings_of(recipe, model, variant) for model in recipe.study.models for variant in variants]
    assert len(settings) >= len(variants)


@pytest.mark.parametrize(("table", "n_rows"), [(2, 4), (3, 3), (4, 4), (6, 15), (7, 7), (9, 6)])
def test_a_recipe_of_a_table_has_its_rows(plan_of, table, n_rows):
    """Rows of the printed table that differ: the full model is one row, however often the table repeats it; and the clinical row."""
    recipe = read_recipe(RECIPES / f"tta-table-{table}.toml")
    everyone = [job for job in plan_of(recipe).jobs if job.fold == 0]
    jobs = [job for job in everyone if job.model == "tta"]
    assert [job.model for job in everyone if job not in jobs] == ["clinical"]
    assert len(jobs) == n_rows
    assert len({(str(job.config), str(job.training), str(job.inputs)) for job in jobs}) == n_rows
