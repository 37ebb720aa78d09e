import pytest
import typer
from tests.contract.tiny_cohort import tiny_cohort
from tests.unit.study.test_evidence import write_run
from typer.testing import CliRunner

from prognos.cli.explain import explain
from prognos.cli.terminal import guarded


def called(*arguments) -> tuple[int, str]:
    """The exit code of `prognos explain`, and all that it said."""
    app = typer.Typer()
    app.command()(guarded(explain))
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder():
    """The folder of the tiny cohort."""
    cohort = tiny_cohort()
    return cohort.slides["path"].map(str).iloc[0].split("/features/")[0]


def test_without_a_patient_the_evidence_of_the_run_is_collected(tmp_path, folder):
    run = write_run(tmp_path / "run", tiny_cohort(), ("snn",))
    code, said = called(run, "--cohort", folder, "--quiet")
    assert code == 0, said
    assert (run / "evidence" / "fits.csv.gz").is_file()
    assert "fits.csv.gz" in said


def test_options_of_one_patient_are_refused_without_a_patient(tmp_path, folder):
    code, said = called(tmp_path, "--cohort", folder, "--out", tmp_path / "out")
    assert code == 2
    assert "--out, --slides and --slide are for one patient" in said


def test_a_patient_without_a_place_for_the_page_is_refused(tmp_path, folder):
    code, said = called(tmp_path, "--cohort", folder, "--patient", "P1")
    assert code == 2
    assert "where shall the page of patient P1 go? Give a folder with --out." in said
