"""A study that is killed, interrupted or spread differently gives the same bytes."""

import signal
import time

import pytest

SAME = ("predictions.csv", "survival.csv.gz", "metrics.csv", "comparison.csv")


def arguments(cohort, quick, out, workers=1):
    sets = ["training.checkpoint_seconds=0", "training.epochs=12", f"study.workers={workers}", "study.n_folds=2", "study.replicates=0"]
    models = ["--model", "snn", "--model", "abmil", "--model", "late-fusion"]
    return ["run", "--cohort", cohort, *models, *quick, *(part for text in sets for part in ("--set", text)), "--out", out]


@pytest.fixture(scope="module")
def whole(prognos, small_cohort, quick, tmp_path_factory):
    """The tables of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    result = prognos(*arguments(small_cohort, quick, out))
    assert result.returncode == 0, result.stderr
    return {name: (out / name).read_bytes() for name in SAME}


def wait_for_checkpoint(out, process, model, stage="*"):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if list(out.glob(f"models/sim/{model}/*/*/checkpoint-{stage}.safetensors")):
            return
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of {model}: {process.communicate()[1]}")


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_training_and_resumed_gives_the_same_bytes(start, prognos, small_cohort, quick, tmp_path, whole):
    out = tmp_path / "run"
    process = start(*arguments(small_cohort, quick, out))
    wait_for_checkpoint(out, process, "abmil")
    process.send_signal(signal.SIGSTOP)
    second = prognos(*arguments(small_cohort, quick, out), "--resume")
    assert second.returncode == 2
    assert f"another process ({process.pid}) is writing in {out}" in second.stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "predictions.csv").exists()
    result = prognos(*arguments(small_cohort, quick, out), "--resume")
    assert result.returncode == 0, result.stderr
    assert {name: (out / name).read_bytes() for name in SAME} == whole


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(start, prognos, small_cohort, quick, tmp_path, whole):
    out = tmp_path / "run"
    process = start(*arguments(small_cohort, quick, out, workers=2))
    wait_for_checkpoint(out, process, "snn")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume --out {out}" in error
    assert "Traceback" not in error
    result = prognos(*arguments(small_cohort, quick, out, workers=2), "--resume")
    assert result.returncode == 0, result.stderr
    assert {name: (out / name).read_bytes() for name in SAME} == whole


MUST = {"d_model": 8, "heads": 2, "rank": 3, "denoiser_layers": 1, "denoiser_hidden": 16, "generator_steps": 200, "sampling_steps": 5}


def must_arguments(cohort, quick, out):
    sets = [
        "training.checkpoint_seconds=0",
        "training.epochs=3",
        "study.n_folds=2",
        "study.replicates=0",
        'study.missing=["none", "omics"]',
    ]
    sets += [f"model.must.{key}={value}" for key, value in MUST.items()]
    return ["run", "--cohort", cohort, "--model", "null", "--model", "must", *quick, *(x for y in sets for x in ("--set", y)), "--out", out]


@pytest.mark.slow
def test_must_killed_in_its_diffusion_and_resumed_gives_the_same_bytes(start, prognos, small_cohort, quick, tmp_path):
    result = prognos(*must_arguments(small_cohort, quick, tmp_path / "whole"))
    assert result.returncode == 0, result.stderr
    out = tmp_path / "run"
    process = start(*must_arguments(small_cohort, quick, out))
    wait_for_checkpoint(out, process, "must", 2)  # after warm-up and main stage
    process.kill()
    process.communicate()
    assert not (out / "predictions.csv").exists()
    result = prognos(*must_arguments(small_cohort, quick, out), "--resume")
    assert result.returncode == 0, result.stderr
    names = (*SAME, "similarities.csv")
    assert {name: (out / name).read_bytes() for name in names} == {name: (tmp_path / "whole" / name).read_bytes() for name in names}
