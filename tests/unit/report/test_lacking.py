from dataclasses import replace

import pytest

from prognos.report.fits import FitFacts
from prognos.report.lacking import lacking_sentences
from prognos.report.run_folder import RunFolder

ALL = ("null", "clinical", "snn", "abmil", "late-fusion", "tta")


def study_of(run: RunFolder, models: tuple[str, ...], **facts) -> RunFolder:
    """The run with a single prediction of each of these models."""
    first = run.predictions.iloc[: len(models)].assign(model=list(models), label=list(models))
    return replace(run, predictions=first, study=run.study.model_copy(update={"canary": True, **facts}))


def test_a_study_with_every_comparison_lacks_nothing(finished: RunFolder):
    assert lacking_sentences(study_of(finished, ALL)) == []


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("null", "no model that knows nothing (null): what one survival curve for everyone would score is not shown."),
        ("clinical", "no clinical baseline (clinical): whether anything goes beyond age, sex, stage and grade cannot be told."),
        ("late-fusion", "no late fusion (late-fusion): whether fusing early gains anything over averaging two models cannot be told."),
        ("snn", "no model of omics alone: what fusion adds to one modality cannot be told."),
    ],
)
def test_what_a_study_lacks_is_named_with_what_it_costs(finished: RunFolder, absent: str, said: str):
    models = tuple(name for name in ALL if name != absent)
    assert lacking_sentences(study_of(finished, models)) == [f"This study has {said}"]


def test_unimodal_models_and_late_fusion_are_not_missed_where_nothing_is_fused(finished: RunFolder):
    assert lacking_sentences(study_of(finished, ("null", "clinical", "abmil"))) == []


def test_a_study_without_a_canary_did_not_test_the_pipeline(finished: RunFolder):
    (said,) = lacking_sentences(study_of(finished, ALL, canary=False))
    assert said.startswith("This study has no noise canary (--canary)")
    assert lacking_sentences(study_of(finished, ALL, canary=False, evaluated=True)) == []


def test_what_the_fits_read_counts_more_than_the_table_of_models(finished: RunFolder):
    run = study_of(finished, ("null", "clinical", "must"))
    narrow = replace(run, fits={("made-up", "must"): FitFacts(inputs={"modalities": ["histology", "blood"]})})
    assert [sentence.split(":")[0] for sentence in lacking_sentences(run)] == [
        "This study has no late fusion (late-fusion)",
        "This study has no model of omics and histology alone",
    ]
    assert lacking_sentences(narrow) == []
