"""Everything that users get wrong is said with what, where and what to do, and ends with exit code 2 (the list: bad_input.py)."""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tests.stories.bad_input import CASES, CHECK, CHECK_IT, EVALUATED, N_PATIENTS, PREDICT, PREDICTIONS, STUDY, Case, Place, edited, folds
from typer.testing import CliRunner

from prognos import files
from prognos.cli import app
from prognos.cohort import Cohort
from prognos.cohort.simulate import Truth, simulate
from prognos.training import FitOptions, Fitted, fit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """Twelve simulated patients, and an ABMIL of eight numbers fitted on them."""
    folder = tmp_path_factory.mktemp("originals")
    cohort = Cohort.read(
        simulate(folder / "sim", Truth(censoring=0.4), n_patients=N_PATIENTS, n_sites=3, d_patch=10, patches=(5, 7), seed=2)
    )
    fit(cohort, "abmil", config={"d_model": 8, "d_attention": 8}, training={"epochs": 1, "device": "cpu"}).save(folder / "fitted")
    return folder


@pytest.fixture
def place(originals, tmp_path) -> Place:
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


def typed(command: str, place: Place):
    words = command.format(cohort=place.cohort, fitted=place.fitted, out=place.folder / "out", here=place.folder).split()
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_and_ends_with_2(place, name):
    case = CASES[name]
    case.spoil(place)
    result = typed(case.command, place)
    assert result.exit_code == 2, result.output
    assert re.search(case.said, result.stderr, re.S), result.stderr
    assert "Traceback" not in result.output


def test_the_list_has_forty_distinct_defects_and_each_is_taken_apart_elsewhere():
    assert len(CASES) >= 40
    assert len({(case.said, case.command) for case in CASES.values()}) == len(CASES)
    assert [case.detail for case in CASES.values() if not (ROOT / case.detail).is_file()] == []


def test_the_same_commands_succeed_where_nothing_is_wrong(place):
    (place.folder / "p.csv").write_text(PREDICTIONS)
    for command in (CHECK_IT, PREDICT, EVALUATED.replace("{out}", "{out}2"), STUDY.replace("{out}", "{out}3")):
        result = typed(command, place)
        assert result.exit_code == 0, result.output


def test_check_reports_all_defects_at_once_and_not_the_first(place):
    together = [
        CASES[name] for name in ("time not a number", "gene not a number", "not a GMT file", "truncated features", "fold not a number")
    ]
    further = [
        Case(edited("clinical.csv", r"^(SIM-0006,.*),[01]$", r"\1,2"), CHECK_IT, r"os_event: .*'2' of SIM-0006", CHECK),
        Case(edited("cnv.csv", "^SIM-0004,", "SIM-0005,"), CHECK_IT, r"cnv\.csv: 1 patients have more than one row", CHECK),
    ]
    for number, case in enumerate([*together, *further], start=1):
        case.spoil(place)
        result = typed(CHECK_IT, place)
        assert result.exit_code == 2
        assert ("one defect" if number == 1 else f"{number} defects") in result.stderr
    assert [case.said for case in [*together, *further] if not re.search(case.said, result.stderr, re.S)] == []


def test_an_implausible_unit_of_time_is_questioned(place):
    """A question, not an error: a cohort may really be short of days."""
    clinical = pd.read_csv(place.cohort / "clinical.csv", dtype={"patient_id": str})
    clinical.assign(os_time=(clinical["os_time"] / 365.25).round(2) + 0.01).to_csv(place.cohort / "clinical.csv", index=False)
    result = typed(CHECK_IT, place)
    assert result.exit_code == 0
    assert "are these years? prognos counts days" in result.stdout


def test_a_fold_without_events_or_with_one_patient_is_said_and_the_study_goes_on(place):
    folds(lambda number: 2 if number == N_PATIENTS else number % 2)(place)
    result = typed(STUDY, place)
    assert result.exit_code == 0, result.output
    facts = json.loads((place.folder / "out" / "study.json").read_text())
    assert "fold 2 has one patient" in json.dumps(facts)


# Disks: faults injected at the one place that writes files


def refuse(monkeypatch, function: str, number: int, name: str = "") -> None:
    """Every write of a file whose name holds `name` fails as the system would fail it."""
    original = getattr(files.os, function)

    def fail(*arguments, **options):
        if not name or any(name in str(argument) for argument in arguments):
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    monkeypatch.setattr(files.os, function, fail)


DISKS = {
    "full disk": ("fsync", errno.ENOSPC, "the disk is full; free some space or write to another disk"),
    "read-only folder": ("replace", errno.EACCES, "you may not write there; choose another folder"),
    "read-only disk": ("replace", errno.EROFS, "this disk is mounted read-only; choose another folder"),
    "quota used up": ("fsync", errno.EDQUOT, "your quota on this disk is used up"),
}


@pytest.mark.parametrize(
    ("command", "disk"),
    [*((PREDICT, disk) for disk in DISKS), (STUDY, "full disk"), (STUDY, "read-only folder"), (EVALUATED, "full disk")],
    ids=lambda value: value.split()[0] if value in (PREDICT, STUDY, EVALUATED) else value,
)
def test_what_cannot_be_written_is_said_and_ends_with_2(place, monkeypatch, disk, command):
    (place.folder / "p.csv").write_text(PREDICTIONS)
    function, number, said = DISKS[disk]
    refuse(monkeypatch, function, number)
    result = typed(command, place)
    assert result.exit_code == 2, result.output
    assert re.search(r"cannot write \S+ in \S+: ", result.stderr)
    assert said in result.stderr
    assert not list(place.folder.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("name", "written_before"),
    [("weights.safetensors", set()), ("fitted.json", {"weights.safetensors", "log.csv"})],
)
def test_a_disk_that_fills_up_while_a_model_is_saved_leaves_no_half_model(place, monkeypatch, name, written_before):
    fitted = Fitted.load(place.fitted)
    refuse(monkeypatch, "replace", errno.ENOSPC, name)
    with pytest.raises(files.OutputError, match=rf"cannot write {name} in .*; the disk is full"):
        fitted.save(place.folder / "again")
    assert {path.name for path in (place.folder / "again").glob("*")} == written_before
    with pytest.raises(ValueError, match=r"it has no fitted\.json"):
        Fitted.load(place.folder / "again")


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_leaves_the_one_before(place, monkeypatch):
    cohort = Cohort.read(place.cohort)
    settings = {"config": {"d_model": 8}, "training": {"epochs": 3, "checkpoint_seconds": 0.0, "device": "cpu"}}
    whole = fit(cohort, "snn", **settings)

    def full(step):
        if step.epoch == 2:
            refuse(monkeypatch, "fsync", errno.ENOSPC)

    with pytest.raises(files.OutputError, match=r"cannot write checkpoint-0\.safetensors in .*; the disk is full"):
        fit(cohort, "snn", **settings, options=FitOptions(folder=place.folder / "fit", progress=full))
    monkeypatch.undo()
    again = fit(cohort, "snn", **settings, options=FitOptions(folder=place.folder / "fit"))
    assert again.predict(cohort).risk.tolist() == whole.predict(cohort).risk.tolist()


def test_patients_trained_on_and_validated_on_are_refused(place):
    cohort = Cohort.read(place.cohort)
    both = dataclasses.replace(FitOptions(), validation=cohort.subset(cohort.patients[:2]))
    with pytest.raises(ValueError, match=r"2 patients are in the training and the validation part \(SIM-0001, SIM-0002\)"):
        fit(cohort, "null", options=both)
