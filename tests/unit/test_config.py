import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from prognos.config import ConfigError, bind, flat, make_recipe, merged, parse_override, read_recipe, recipe_values, to_toml, unknown

RECIPE = """
[cohort]
path = "blca"
endpoint = "dss"
[omics]
gene_sets = { hallmark = "sets/hallmark.gmt" }
[training]
epochs = 30
[model.tta]
contrast_weight = 0.5
[study]
models = ["clinical", "tta"]
seeds = [1, 2]
[[study.variants]]
name = "no-apart"
models = ["tta"]
set = { "model.tta.apart" = false }
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_paths_of_a_recipe_are_relative_to_the_recipe(recipe_file):
    recipe = read_recipe(recipe_file)
    assert recipe.cohort.path == (recipe_file.parent / "blca",)
    assert recipe.omics.gene_sets == {"hallmark": recipe_file.parent / "sets" / "hallmark.gmt"}


def test_paths_of_an_override_are_relative_to_the_working_directory(recipe_file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe = read_recipe(recipe_file, ["cohort.path=brca", "omics.gene_sets.functional=f.gmt"])
    assert recipe.cohort.path == (elsewhere / "brca",)
    assert set(recipe.omics.gene_sets) == {"hallmark", "functional"}
    assert recipe.omics.gene_sets["functional"] == elsewhere / "f.gmt"


def test_a_recipe_is_named_after_its_file(recipe_file):
    assert read_recipe(recipe_file).study.name == "small"


def test_an_override_counts_more_than_the_file(recipe_file):
    recipe = read_recipe(recipe_file, ["training.epochs=2", "study.seeds=[7]", "study.selection=inner"])
    assert recipe.training == {"epochs": 2}
    assert recipe.study.seeds == (7,)
    assert recipe.study.selection == "inner"


def test_several_cohorts_may_be_listed():
    recipe = make_recipe({"cohort": {"path": ["/data/a", "/data/b"]}})
    assert [path.name for path in recipe.cohort.path] == ["a", "b"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("studdy.seeds=[1]", "there is no section 'studdy'; did you mean 'study'?"),
        ("study.seedz=[1]", "there is no key 'seedz'; did you mean 'seeds'? Known: name, models, seeds"),
        ("cohort.endpiont=dss", "there is no key 'endpiont'; did you mean 'endpoint'?"),
        ("study.selection=lst", "study.selection: there is no choice 'lst'; did you mean 'last'? Known: last, inner, oracle."),
        ("study.n_folds=1", "study.n_folds = 1: input should be greater than or equal to 2"),
        ("study.seeds=[1,1]", "names 1 more than once"),
        ("study.models=[]", "at least 1 item"),
        ("tokens.n_patches=many", "tokens.n_patches = 'many': input should be a valid integer"),
        ("cohort.path=[]", "names no cohort folder"),
        ('cohort.path=["/x/a", "/y/a"]', "two cohort folders have the same name (a, a)"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_place_and_the_nearest(recipe_file, override, said):
    with pytest.raises(ConfigError) as error:
        read_recipe(recipe_file, [override])
    assert said in str(error.value)
    assert str(recipe_file) in str(error.value)


def test_a_misspelt_key_of_a_variant_is_told_with_the_keys_of_a_variant(recipe_file):
    recipe_file.write_text(RECIPE.replace('models = ["tta"]\nset', 'modles = ["tta"]\nset'))
    with pytest.raises(ConfigError, match=r"no key 'modles'; did you mean 'models'\? Known: name, models, set\. \(in study\.variants\.0\)"):
        read_recipe(recipe_file)


def test_all_faults_of_a_recipe_are_told_at_once(recipe_file):
    with pytest.raises(ConfigError) as error:
        read_recipe(recipe_file, ["study.seedz=[1]", "study.n_folds=1"])
    assert len(str(error.value).splitlines()) == 2


def test_a_recipe_without_a_cohort_says_so(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"cohort is missing; set it"):
        read_recipe(path)


@pytest.mark.parametrize("name", ["base", "canary"])
def test_a_variant_cannot_take_a_reserved_name(name):
    with pytest.raises(ConfigError, match="is taken"):
        make_recipe({"cohort": {"path": "a"}, "study": {"variants": [{"name": name}]}})


def test_a_variant_name_that_is_no_folder_name_is_refused():
    with pytest.raises(ConfigError, match="becomes a folder"):
        make_recipe({"cohort": {"path": "a"}, "study": {"variants": [{"name": "a/b"}]}})


def test_two_variants_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two variants have the same name: x"):
        make_recipe({"cohort": {"path": "a"}, "study": {"variants": [{"name": "x"}, {"name": "x"}]}})


def test_a_recipe_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigError, match="there is no recipe at"):
        read_recipe(tmp_path / "none.toml")


def test_a_file_that_is_not_toml_says_where(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[study\n")
    with pytest.raises(ConfigError, match=r"bad\.toml is not a TOML file: .*line 1"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=1", 1),
        ("a.b=0.5", 0.5),
        ("a.b=true", True),
        ("a.b=word", "word"),
        ("a.b=two words", "two words"),
        ('a.b="quoted"', "quoted"),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=tcga-blca", "tcga-blca"),
        ("a.b={c = 1}", {"c": 1}),
    ],
)
def test_an_override_is_toml_or_a_bare_word(text, value):
    assert parse_override(text) == {"a": {"b": value}}


@pytest.mark.parametrize("text", ["epochs=3", "training.epochs", "=3", "training.=3"])
def test_an_override_without_section_and_value_is_refused(text):
    with pytest.raises(ConfigError, match=r"write section\.key=value"):
        parse_override(text)


def test_a_broken_toml_value_is_refused_rather_than_taken_as_text():
    with pytest.raises(ConfigError, match="neither TOML nor a bare word"):
        parse_override("study.seeds=[1,")


def test_a_recipe_reads_back_from_its_own_toml(recipe_file, tmp_path):
    recipe = read_recipe(recipe_file)
    again = tmp_path / "again.toml"
    again.write_text(to_toml(recipe_values(recipe)))
    assert read_recipe(again) == recipe


def test_toml_keeps_every_kind_of_value():
    values = {
        "a": {"flag": True, "number": 1, "real": 1e-05, "text": 'a "b" \\ é', "many": [1, 2], "empty": {}},
        "b": {"c": {"key with dot.s": 2}, "list": [{"x": 1, "set": {"model.tta.apart": False}}]},
    }
    assert tomllib.loads(to_toml(values)) == values


def test_merging_keeps_what_only_one_side_has():
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}) == {"a": {"b": 1, "c": 3}, "d": 4}


def test_flat_names_values_by_dotted_keys():
    assert flat({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_bind_names_the_place_that_the_caller_gives():
    class Small(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        epochs: int = 3

    assert bind(Small, {"epochs": 4}, "[training]").epochs == 4
    with pytest.raises(ConfigError, match=r"^\[training\]: there is no key 'epohcs'; did you mean 'epochs'\? Known: epochs\.$"):
        bind(Small, {"epohcs": 4}, "[training]")


def test_a_name_near_to_nothing_gets_the_list_only():
    assert unknown("model", "zzz", ["tta", "snn"]) == "there is no model 'zzz'. Known: tta, snn."
