import torch
from tests.contract.tiny_cohort import tiny_cohort, tiny_fit, train_and_test

from prognos.training import FitOptions

CONFIG = {"warm_up_epochs": 1}


def encoders(fitted) -> dict[str, torch.Tensor]:
    return {name: value for name, value in fitted.model.state_dict().items() if not name.startswith("generators")}


def test_a_variant_of_the_generator_takes_the_stages_before_it_and_is_what_it_would_be_without(tmp_path):
    train, test = train_and_test(tiny_cohort())
    options = FitOptions(stages=tmp_path / "stages")
    first = tiny_fit(train, "must", config={**CONFIG, "generator": "mean"}, options=options)
    (left,) = (tmp_path / "stages").iterdir()
    written = left.stat().st_mtime_ns
    second = tiny_fit(train, "must", config={**CONFIG, "generator": "regressor"}, options=options)
    alone = tiny_fit(train, "must", config={**CONFIG, "generator": "regressor"})
    assert [left] == list((tmp_path / "stages").iterdir())
    assert left.stat().st_mtime_ns == written
    for name, value in encoders(first).items():
        assert torch.equal(encoders(second)[name], value)
    assert all(torch.equal(value, alone.model.state_dict()[name]) for name, value in second.model.state_dict().items())
    assert second.log.equals(alone.log)
    assert second.predict(test, without="omics").risk.tobytes() == alone.predict(test, without="omics").risk.tobytes()


def test_a_fit_that_differs_in_what_the_stages_read_takes_nothing(tmp_path):
    train, _ = train_and_test(tiny_cohort())
    options = FitOptions(stages=tmp_path / "stages")
    for settings in ({"config": {**CONFIG, "generator": "mean"}}, {"config": {**CONFIG, "generator": "mean", "rank": 2}}):
        tiny_fit(train, "must", options=options, **settings)
    tiny_fit(train, "must", options=options, config={**CONFIG, "generator": "mean"}, seed=2)
    assert len(list((tmp_path / "stages").iterdir())) == 3


def test_a_model_of_one_stage_leaves_nothing(tmp_path):
    train, _ = train_and_test(tiny_cohort())
    tiny_fit(train, "snn", options=FitOptions(stages=tmp_path / "stages"))
    assert not (tmp_path / "stages").exists()
