"""The command line: what it says, how fast, and how it ends."""

import re
import resource
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from prognos.cli import app, studies
from prognos.cli.terminal import duration

VERBS = ("demo", "check", "import", "slides", "run", "predict", "explain", "evaluate", "report", "models")


def test_help_loads_nothing_heavy():
    code = "import prognos.cli, sys; print([name for name in ('torch', 'pandas', 'numpy', 'pydantic', 'rich') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_importing_prognos_loads_nothing_heavy():
    code = "import prognos, sys; print([name for name in ('torch', 'pandas', 'numpy') if name in sys.modules], len(dir(prognos)) > 10)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[] True"


def test_help_answers_in_under_a_third_of_a_second(prognos):
    def seconds():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    spent = []
    for _ in range(3):
        before = seconds()
        assert prognos("--help").returncode == 0
        spent.append(seconds() - before)
    assert min(spent) < 0.3


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_can_be_quiet(verb):
    text = CliRunner().invoke(app, [verb, "--help"]).output
    assert f"Example: prognos {verb}" in " ".join(text.split())
    assert "--quiet" in text


def test_every_public_name_is_there():
    import prognos

    assert all(getattr(prognos, name) is not None for name in prognos.__all__)
    with pytest.raises(AttributeError, match="prognos has no 'Cohorte'; it has Bundle, Cohort, "):
        _ = prognos.Cohorte


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "/nowhere"], "there is no such folder"),
        (["check", "/nowhere", "--gene-sets", "hallmark.gmt"], "--gene-sets 'hallmark.gmt': write NAME=FILE"),
        (["run"], "nothing to run: give a recipe"),
        (["run", "none.toml"], "there is no recipe at none.toml"),
        (["run", "--cohort", "/nowhere", "--resume"], "--resume needs --out"),
        (["run", "--cohort", "/nowhere", "--set", "study.seedz=1"], "there is no key 'seedz'; did you mean 'seeds'?"),
        (["report", "/nowhere"], "/nowhere is not a folder"),
        (["evaluate", "/nowhere.csv", "--out", "/tmp/none"], "there is no file /nowhere.csv"),
        (["predict", "/nowhere", "--cohort", "/nowhere", "--out", "/tmp/none"], "/nowhere holds no fitted model"),
        (["import", "mcta", "/nowhere", "--out", "/tmp/none"], "there is no format 'mcta'"),
    ],
)
def test_what_the_user_gave_wrong_is_said_and_ends_with_2(arguments, said):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_verb_ends_with_2():
    assert CliRunner().invoke(app, ["rnu"]).exit_code == 2


def test_a_fault_of_ours_is_a_traceback_and_ends_with_1(monkeypatch):
    monkeypatch.setattr(studies, "pairs", lambda *_: 1 / 0)
    result = CliRunner().invoke(app, ["run", "--cohort", "/nowhere", "--gene-sets", "a=b"])
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_an_interrupt_ends_with_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "pairs", interrupted)
    assert CliRunner().invoke(app, ["run", "--cohort", "/nowhere", "--gene-sets", "a=b"]).exit_code == 130


def test_check_prints_the_cohort_and_ends_with_0(small_cohort):
    result = CliRunner().invoke(app, ["check", str(small_cohort)])
    assert result.exit_code == 0
    assert "patients in the table: 60" in result.stdout
    assert CliRunner().invoke(app, ["check", str(small_cohort), "--quiet"]).stdout == ""


@pytest.fixture
def tiny_sizes(monkeypatch):
    """Models are built for few patches, pathways and genes."""
    from prognos.cli import models

    for name, size in {"N_PATCHES": 16, "D_PATCH": 24, "N_PATHWAYS": 3, "N_GENES": 30}.items():
        monkeypatch.setattr(models, name, size)


def test_the_table_of_models_names_every_model_with_its_parameters(tiny_sizes, monkeypatch):
    from torch import nn

    from prognos.cli import models
    from prognos.models import MODELS

    monkeypatch.setattr(models, "built", lambda entry: nn.Linear(9, 120 + len(entry.name)))  # each is built in the contract tests
    text = CliRunner().invoke(app, ["models"]).stdout
    for name in MODELS:
        (row,) = re.findall(rf"^ {{1,2}}{name} .*$", text, re.MULTILINE)  # further lines of a row are indented
        assert row.split()[-1] == f"{10 * (120 + len(name)):,}"
    assert "for patches of width 24, 3 pathways of 10 features, 30 genes" in text


def test_a_model_is_built_for_the_standard_sizes_with_its_parts(tiny_sizes):
    from prognos.cli import models
    from prognos.models import MODELS

    counts = {name: sum(p.numel() for p in models.built(MODELS[name]).parameters()) for name in ("snn", "abmil", "late-fusion")}
    assert counts["snn"] == 30 * 256 + 256 + 256 * 256 + 256 + 256  # two layers of 256, w
    assert counts["late-fusion"] == counts["snn"] + counts["abmil"] + 1


@pytest.mark.slow
def test_costs_are_measured_on_request(tiny_sizes, monkeypatch):
    from prognos.models import MODELS

    of_classes = {entry.path: entry for entry in reversed(MODELS.values())}  # the first entry of each
    monkeypatch.setattr("prognos.models.MODELS", {entry.name: entry for entry in of_classes.values()})
    result = CliRunner().invoke(app, ["models", "--measure"])
    assert result.exit_code == 0, result.output
    assert "train ms" in result.stdout
    assert "memory MB" in result.stdout
    assert "patients of 16 patches" in result.stdout


def test_a_default_folder_is_named_after_the_study_and_the_day(small_cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        app, ["run", "--cohort", str(small_cohort), "--model", "null", "--set", "study.workers=1", "--set", "study.replicates=0"]
    )
    assert result.exit_code == 0, result.output
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("sim-20")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "time left not known yet"), (42.0, "about 42 s left"), (600.0, "about 10 min left"), (9000.0, "about 2.5 h left")],
)
def test_time_left_is_said_in_words(seconds, text):
    assert duration(seconds) == text
