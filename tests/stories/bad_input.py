"""Everything that users get wrong, in one list; test_bad_input.py does each and reads what is said.

A row: how a small cohort, a fitted model or a recipe is spoilt; the command typed then; what must be told; the test that takes the
case apart in detail.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from prognos import files
from prognos.cohort.simulate import Truth, simulate

READ, CHECK, FEATURES = (f"tests/unit/cohort/test_{name}.py" for name in ("read", "check", "features"))
FOLDS, IMPORT, GMT = "tests/unit/cohort/test_folds.py", "tests/unit/cohort/test_importers.py", "tests/unit/omics/test_gene_sets.py"
ENOUGH = "tests/unit/study/test_enough.py"
CONFIG, PLAN, RUN = "tests/unit/test_config.py", "tests/unit/study/test_plan.py", "tests/unit/study/test_run.py"
FIT, FITTED, EVALUATE = "tests/unit/training/test_fit.py", "tests/unit/training/test_fitted.py", "tests/unit/study/test_evaluate.py"
FILES, INPUTS = "tests/unit/test_files.py", "tests/unit/tokens/test_inputs.py"


@dataclass(frozen=True)
class Place:
    """Where a case happens: nothing in it is shared with another case."""

    folder: Path

    @property
    def cohort(self) -> Path:
        return self.folder / "sim"

    @property
    def fitted(self) -> Path:
        return self.folder / "fitted"

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces text in a file of the cohort, at the first place where the pattern is found."""
        path = self.cohort / name
        text, n = re.subn(old, new, path.read_text(), count=1, flags=re.M)
        assert n, f"{old!r} is not in {name}"
        path.write_text(text)

    def slide(self, name: str = "SIM-0003-DX1") -> Path:
        return self.cohort / "features" / f"{name}.h5"


@dataclass(frozen=True)
class Case:
    """One thing that a user gets wrong.

    Args:
        spoil: does it.
        command: what is typed then; {cohort}, {fitted}, {out}, {here} stand for folders.
        said: pattern of what must be told.
        detail: the test that takes it apart.
    """

    spoil: Callable[[Place], object]
    command: str
    said: str
    detail: str


def edited(name: str, old: str, new: str) -> Callable[[Place], object]:
    return lambda place: place.edit(name, old, new)


def written(name: str, text: str | bytes) -> Callable[[Place], object]:
    return lambda place: (place.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def added(name: str, text: str) -> Callable[[Place], object]:
    return lambda place: (place.folder / name).write_text((place.folder / name).read_text() + text)


def replaced(name: str, old: str, new: str) -> Callable[[Place], object]:
    """Everywhere in the file, in contrast to `edited`."""
    return lambda place: (place.folder / name).write_text((place.folder / name).read_text().replace(old, new))


def removed(name: str) -> Callable[[Place], object]:
    return lambda place: (place.folder / name).unlink()


def all_of(*spoils: Callable[[Place], object]) -> Callable[[Place], object]:
    return lambda place: [spoil(place) for spoil in spoils]


def features(values: np.ndarray) -> Callable[[Place], object]:
    def write(place: Place) -> None:
        with h5py.File(place.slide(), "w") as file:
            file["features"], file["coords"] = values, np.zeros((len(values), 2))

    return write


def truncated(place: Place) -> None:
    place.slide().write_bytes(place.slide().read_bytes()[:600])


def nan_features(place: Place) -> None:
    with h5py.File(place.slide(), "r+") as file:
        file["features"][2, 3] = np.nan


def described(place: Place, **values: object) -> None:
    """Says something else in fitted.json."""
    path = place.fitted / "fitted.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights_of_another_model(place: Place) -> None:
    content = files.write_tensors(place.folder / "other.safetensors", {}).read_bytes()
    (place.fitted / "weights.safetensors").write_bytes(content)
    described(place, weights_sha256=hashlib.sha256(content).hexdigest())


def turned_bit(place: Place) -> None:
    path = place.fitted / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def folds(of_patient: Callable[[int], object]) -> Callable[[Place], object]:
    def write(place: Place) -> None:
        rows = [f"SIM-{number:04d},{of_patient(number)}" for number in range(1, N_PATIENTS + 1)]
        (place.cohort / "splits.csv").write_text("\n".join(["patient_id,fold", *rows]) + "\n")

    return write


def times_below_zero(place: Place) -> None:
    path = place.cohort / "clinical.csv"
    pd.read_csv(path, dtype=str).assign(os_time="-1").to_csv(path, index=False)


def events_in_fold_zero_only(place: Place) -> None:
    clinical = pd.read_csv(place.cohort / "clinical.csv", dtype=str).assign(os_event=lambda t: ["1", "0"] * (len(t) // 2))
    clinical.to_csv(place.cohort / "clinical.csv", index=False)
    folds(lambda number: (number + 1) % 2)(place)


N_PATIENTS = 12
PREDICTIONS = "patient_id,time,event,risk\na,400,1,0.5\nb,500,0,0.1\nc,900,1,-0.3\n"
NOTHING = all_of()
CHECK_IT = "check {cohort}"
PREDICT = "predict {fitted} --cohort {cohort} --out {out}"
STUDY = "run --cohort {cohort} --model null --set study.workers=1 --set study.replicates=0 --out {out}"
RECIPE = "run {here}/study.toml --out {out}"
EVALUATED = "evaluate {here}/p.csv --out {out}"


def recipe(text: str) -> Callable[[Place], object]:
    return written("study.toml", f'[cohort]\npath = "sim"\n{text}\n')


CASES = {
    # clinical.csv
    "no such folder": Case(NOTHING, "check {here}/absent", "there is no such folder; correct the path", READ),
    "no clinical table": Case(removed("sim/clinical.csv"), CHECK_IT, r"there is no clinical\.csv; .*add it", READ),
    "wrong column": Case(edited("clinical.csv", "os_event", "os_status"), CHECK_IT, r"needs a column 'os_event', which is not there", READ),
    "time not a number": Case(
        edited("clinical.csv", r"^(SIM-0002,.*),[\d.]+,([01])$", r"\1,soon,\2"), CHECK_IT, r"os_time: .*'soon'.*SIM-0002", READ
    ),
    "event coded 2": Case(edited("clinical.csv", r"^(SIM-0002,.*),[01]$", r"\1,2"), CHECK_IT, r"os_event: .*'?2'?.*SIM-0002", READ),
    "duplicate patient": Case(edited("clinical.csv", "^SIM-0002,", "SIM-0003,"), CHECK_IT, r"1 patients .*more than on.*SIM-0003", READ),
    "unknown endpoint": Case(NOTHING, "check {cohort} --endpoint ox", r"there is no endpoint 'ox' \(did you mean 'os'\?", READ),
    "endpoint not named": Case(
        all_of(edited("clinical.csv", "age,sex", "dss_time,dss_event"), removed("sim/cohort.toml")),
        CHECK_IT,
        r"there are 2 endpoints \(dss, os\); name one: --endpoint dss",
        READ,
    ),
    "nobody left": Case(times_below_zero, CHECK_IT, r"none of 12 patients is left \(12 time of 0 or below\)", READ),
    "semicolons": Case(
        replaced("sim/clinical.csv", ",", ";"),
        CHECK_IT,
        "columns are separated by semicolons; export the table with commas",
        READ,
    ),
    "empty file": Case(written("sim/clinical.csv", ""), CHECK_IT, r"clinical\.csv: the file is empty", READ),
    # omics and gene sets
    "gene not a number": Case(
        edited("rna.csv", r"^(SIM-0004),[^,]+,", r"\1,low,"), CHECK_IT, r"rna\.csv: one cell is not a number \('low'", READ
    ),
    "duplicate patient in a table": Case(
        edited("rna.csv", "^SIM-0004,", "SIM-0005,"), CHECK_IT, r"rna\.csv: 1 patients have more than one row", READ
    ),
    "table of strangers": Case(
        replaced("sim/rna.csv", "SIM-", "ICM-"),
        CHECK_IT,
        r"rna\.csv: \d+ of \d+ rows are of no patient of clinical\.csv \(ICM-0001, ICM-0002, ICM-0003 and \d+ more\)",
        READ,
    ),
    "empty gene set": Case(
        edited("pathways.gmt", r"^(\S+\tmade up)\t.*$", r"\1"), CHECK_IT, r"gene sets 'hallmark': .*line 1: the gene set .* is empty", GMT
    ),
    "not a GMT file": Case(
        written("sim/pathways.gmt", "gene,set\nA,B\n"),
        CHECK_IT,
        r"gene sets 'hallmark': .*pathways\.gmt, line 1: not GMT.*; give a GMT file",
        GMT,
    ),
    "gene sets of other names": Case(
        written("sim/pathways.gmt", "SET\tx\tENSG01\tENSG02\n"), CHECK_IT, r"gene sets 'hallmark', pathways\.gmt: none of its 2 genes", READ
    ),
    "gene sets not given": Case(
        removed("sim/cohort.toml"),
        "run --cohort {cohort} --model tta --out {out}",
        r"tta reads the gene sets 'hallmark', and none are given for sim.* --gene-sets hallmark=FILE",
        PLAN,
    ),
    "gene sets without a name": Case(
        NOTHING, "check {cohort} --gene-sets sets.gmt", r"--gene-sets 'sets\.gmt': write NAME=FILE", "tests/stories/test_cli.py"
    ),
    # slides and features
    "truncated features": Case(truncated, CHECK_IT, r"SIM-0003-DX1\.h5: cannot be read as \.h5 \(600 bytes", FEATURES),
    "features of two widths": Case(
        features(np.zeros((3, 7), np.float16)), CHECK_IT, r"features have 2 widths: 10 \(.*\); 7 \(1 slides: SIM-0003-DX1\)", READ
    ),
    "features of one axis": Case(
        features(np.zeros(4, np.float16)), CHECK_IT, r"SIM-0003-DX1\.h5: features have shape \(4,\); expected", READ
    ),
    "features that are not finite": Case(nan_features, CHECK_IT, r"SIM-0003-DX1.*not finite|not finite.*SIM-0003-DX1", CHECK),
    "slide without features": Case(
        removed("sim/features/SIM-0003-DX1.h5"), CHECK_IT, r"slides have no feature file \(SIM-0003-DX1\)", READ
    ),
    "slides of unknown patients": Case(
        replaced("sim/slides.csv", ",SIM-001", ",XYZ-001"),
        CHECK_IT,
        r"slides\.csv: \d+ of \d+ slides are of no patient of clinical\.csv \(XYZ-001",
        READ,
    ),
    "slide listed twice": Case(
        edited("slides.csv", "^SIM-0002-DX1,", "SIM-0003-DX1,"), CHECK_IT, r"slides\.csv: 1 slides are listed more than once", READ
    ),
    # cohort.toml and splits.csv
    "unreadable toml": Case(written("sim/cohort.toml", "[cohort\n"), CHECK_IT, r"cohort\.toml: cannot be read as TOML \(.*line 1", READ),
    "misspelt key of the cohort": Case(
        written("sim/cohort.toml", '[cohort]\nendpont = "os"\n'), CHECK_IT, r"there is no key 'endpont' \(did you mean 'endpoint'\?", READ
    ),
    "patient in two folds": Case(
        all_of(folds(lambda number: number % 2), added("sim/splits.csv", "SIM-0001,0\n")),
        CHECK_IT,
        r"splits\.csv: 1 patients are listed more than once \(SIM-0001\), 1 of them in two folds",
        FOLDS,
    ),
    "one fold": Case(folds(lambda number: 3), CHECK_IT, r"splits\.csv: all 12 patients are in fold 3; give at least two folds", FOLDS),
    "fold not a number": Case(
        folds(lambda number: "one" if number == 1 else 0), CHECK_IT, r"splits\.csv, column fold: 1 folds are not whole numbers", READ
    ),
    # recipes
    "no recipe": Case(NOTHING, RECIPE, r"there is no recipe at .*study\.toml\. Check the path", CONFIG),
    "recipe not TOML": Case(written("study.toml", "= 3"), RECIPE, r"study\.toml is not a TOML file: ", CONFIG),
    "misspelt section": Case(recipe("[studdy]\nseeds = [1]"), RECIPE, r"there is no section 'studdy'; did you mean 'study'\?", CONFIG),
    "misspelt key": Case(recipe("[study]\nsedes = [1]"), RECIPE, r"there is no key 'sedes'; did you mean 'seeds'\?.* \(in study\)", CONFIG),
    "misspelt setting of a model": Case(
        recipe('[study]\nmodels = ["snn"]\n[model.snn]\nd_modle = 8'),
        RECIPE,
        r"\[model\.snn\]: there is no key 'd_modle'; did you mean 'd_model'\?",
        PLAN,
    ),
    "misspelt training key": Case(
        recipe('[study]\nmodels = ["snn"]\n[training]\nepoch = 8'),
        RECIPE,
        r"\[training\] of snn: there is no key 'epoch'; did you mean 'epochs'\?",
        PLAN,
    ),
    "unknown model": Case(recipe('[study]\nmodels = ["abmill"]'), RECIPE, r"there is no model 'abmill'; did you mean 'abmil'\?", PLAN),
    "unknown metric": Case(recipe('[study]\nmetrics = ["cindex"]'), RECIPE, r"there is no metric 'cindex'.* Known: concordance", PLAN),
    "unknown missing modality": Case(recipe('[study]\nmissing = ["genes"]'), RECIPE, r"there is no modality 'genes'", PLAN),
    "value out of range": Case(
        recipe("[study]\nn_folds = 1"), RECIPE, r"study\.n_folds = 1: input should be greater than or equal to 2", CONFIG
    ),
    "unreadable override": Case(NOTHING, STUDY + " --set epochs", r"cannot read the override 'epochs': write section\.key=value", CONFIG),
    "nothing that can be fed": Case(
        all_of(lambda place: shutil.rmtree(place.cohort / "features"), removed("sim/slides.csv")),
        "run --cohort {cohort} --model abmil --out {out}",
        r"no model of this study can be fed \(abmil on sim: it reads histology.*choose models for what the cohorts have",
        RUN,
    ),
    "a folder with something else": Case(written("out", ""), STUDY, r"cannot write|not a folder|is not empty|in the way", RUN),
    "resume without a run": Case(
        lambda place: files.write_text(place.folder / "out" / "notes.txt", "mine"), STUDY + " --resume", r"holds no run to resume", RUN
    ),
    "no events in a fold's training part": Case(
        events_in_fold_zero_only,
        STUDY,
        r"sim, fold 0: the other folds have 6 patients with 0 events to train null on: .* Use fewer folds .* Nothing was trained",
        ENOUGH,
    ),
    "one patient in a fold's training part": Case(
        folds(lambda number: 0 if number < N_PATIENTS else 1),
        STUDY,
        r"sim, fold 0: the other folds have 1 patients with \d events to train null on: at least 2 patients and 1 event are needed",
        ENOUGH,
    ),
    # fitted models
    "not a fitted model": Case(
        NOTHING, "predict {here}/absent --cohort {cohort} --out {out}", r"absent holds no fitted model: give a fold folder", FITTED
    ),
    "weights of another model": Case(
        weights_of_another_model, PREDICT, r"these weights are of another model: \d+ tensors are missing", FITTED
    ),
    "weights damaged": Case(turned_bit, PREDICT, r"weights\.safetensors is not the file that fitted\.json was written with; copy", FITTED),
    "weights gone": Case(removed("fitted/weights.safetensors"), PREDICT, r"weights\.safetensors is not the file", FITTED),
    "description damaged": Case(
        written("fitted/fitted.json", "{"), PREDICT, r"fitted\.json is not readable JSON .*; fit the model again", FITTED
    ),
    "model of a newer prognos": Case(
        lambda place: described(place, format=99), PREDICT, r"has format 99, newer than 1, .*; update prognos", FITTED
    ),
    "features of another width at prediction": Case(
        lambda place: shutil.rmtree(place.cohort) or simulate(place.cohort, Truth(), n_patients=4, d_patch=12, patches=(5, 5)),
        PREDICT,
        r"patch features of sim are 12 wide, those of training 10: extract them with the encoder of training",
        INPUTS,
    ),
    "features of another encoder at prediction": Case(
        lambda place: described(place, inputs=json.loads((place.fitted / "fitted.json").read_text())["inputs"] | {"encoder": "uni"}),
        PREDICT,
        r"of the encoder 'simulated', those of training of 'uni'",
        INPUTS,
    ),
    "unknown patient": Case(NOTHING, PREDICT + " --patient nobody", r"1 patients are not in sim \(nobody\)", FITTED),
    "unknown modality": Case(NOTHING, PREDICT + " --without omix", r"there is no modality 'omix'; did you mean 'omics'\?", FITTED),
    # tables of predictions, importers, reports
    "no table of predictions": Case(NOTHING, EVALUATED, r"there is no file .*p\.csv", EVALUATE),
    "predictions without a column": Case(
        written("p.csv", PREDICTIONS.replace("risk", "score")), EVALUATED, r"p\.csv has no column risk", EVALUATE
    ),
    "predictions with an event of 2": Case(
        written("p.csv", PREDICTIONS.replace("400,1", "400,2")), EVALUATED, r"event is .*2.* for 1 of 3 rows \(a\)", EVALUATE
    ),
    "predictions with a risk of text": Case(
        written("p.csv", PREDICTIONS.replace("0.5", "high")),
        EVALUATED,
        r"risk is not a number \('?high'?\) for 1 of 3 rows \(a\)",
        EVALUATE,
    ),
    "a patient predicted twice": Case(
        written("p.csv", PREDICTIONS + "a,400,1,0.2\n"), EVALUATED, r"keep one row, or add the column", EVALUATE
    ),
    "time unit unknown": Case(
        written("p.csv", PREDICTIONS), EVALUATED + " --time-unit weeks", r"time unit 'weeks' is unknown: choose one of days", EVALUATE
    ),
    "unknown format to import": Case(
        NOTHING, "import mcatt {here} --out {out}", r"there is no format 'mcatt' \(did you mean 'mcat'", IMPORT
    ),
    "report of no run": Case(NOTHING, "report {here}/absent", r"absent is not a folder", "tests/unit/report/test_run_folder.py"),
}
