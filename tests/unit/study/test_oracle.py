import pandas as pd
import pytest

from prognos.config import ConfigError
from prognos.study.oracle import oracle_row

OF_JOB = {"model": "snn", "variant": "base", "cohort": "small", "seed": 1, "fold": 0}
WITH_WARNING = {"oracle_warning": True}


def read(path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


def test_the_row_of_a_fit_holds_the_last_epoch_and_the_first_of_the_best():
    log = pd.DataFrame({"epoch": range(4), "validation_concordance": [0.5, 0.7, 0.7, 0.6]})
    row = oracle_row(log, OF_JOB).iloc[0]
    assert (row["epochs"], row["last"], row["best_epoch"], row["best"]) == (4, 0.6, 2, 0.7)


def test_epochs_of_stages_that_nobody_watches_do_not_count():
    log = pd.DataFrame({"epoch": [0, 1, 0], "validation_concordance": [0.8, 0.6, None]})
    row = oracle_row(log, OF_JOB).iloc[0]
    assert (row["epochs"], row["last"], row["best"]) == (2, 0.6, 0.8)


@pytest.mark.parametrize("log", [{"epoch": []}, {"epoch": [0], "validation_concordance": [float("nan")]}], ids=["no epochs", "no pairs"])
def test_a_fit_without_a_scored_epoch_has_no_row(log):
    assert oracle_row(pd.DataFrame(log), OF_JOB) is None


def test_the_warning_is_a_stamped_table_with_a_row_a_fit(study_of):
    study = study_of(models=("snn",), study={**WITH_WARNING, "seeds": [1, 2]})
    table = read(study.folder / "oracle.csv")
    assert table[["seed", "fold", "epochs", "last", "best_epoch", "best"]].to_numpy().tolist() == [
        [seed, fold, 4, 0.6, 2, 0.7] for seed in (1, 2) for fold in (0, 1)
    ]
    assert set(table.selection) == {"oracle"}


def test_no_other_file_of_the_run_knows_of_the_warning(study_of):
    plain = study_of(models=("snn",), out="plain").folder
    warned = study_of(models=("snn",), out="warned", study=WITH_WARNING).folder
    names = ["predictions.csv", "survival.csv.gz", "metrics.csv", "comparison.csv", "models/small/snn/seed-1/fold-0/log.csv"]
    assert [name for name in names if (plain / name).read_bytes() != (warned / name).read_bytes()] == []
    assert not (plain / "oracle.csv").exists()
    assert read(warned / "comparison.csv").selection.unique().tolist() == ["last"]


def test_without_the_warning_no_fit_gets_a_patient_of_the_test_part(study_of, stub_fit):
    study_of(models=("snn",))
    assert [call.options.validation for call in stub_fit.calls] == [None, None]


def test_the_canary_is_not_watched(study_of, stub_fit):
    study_of(models=("snn",), study={**WITH_WARNING, "canary": True})
    watched = [call.options.validation is not None for call in stub_fit.calls]
    assert sorted(watched) == [False, False, True, True]


def test_a_preset_that_chooses_its_epoch_on_the_reported_fold_has_no_warning_beside_it(study_of):
    study = study_of(models=("snn", "tta-released"), study=WITH_WARNING)
    assert set(read(study.folder / "oracle.csv").model) == {"snn"}


@pytest.mark.parametrize("selection", ["inner", "oracle"])
def test_the_warning_is_refused_where_the_last_epoch_is_not_what_counts(study_of, selection):
    with pytest.raises(ConfigError, match=f"study.selection is '{selection}': set it to 'last', or leave the warning out"):
        study_of(models=("snn",), study={**WITH_WARNING, "selection": selection})
