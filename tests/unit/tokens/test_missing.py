import pytest

from prognos import runtime
from prognos.config import ConfigError
from prognos.tokens.missing import missing_of, parse_pattern

MODALITIES = ("clinical", "histology", "omics")


def lost(text, measured, seed=1):
    return missing_of(parse_pattern(text, MODALITIES), measured, seed)


def test_what_is_shuffled_is_taken_from_nobody():
    pattern = parse_pattern("omics=shuffled;histology=0.2", MODALITIES)
    assert (pattern.shuffled, pattern.rates, pattern.absent) == ({"omics"}, {"histology": 0.2}, frozenset())
    assert lost("omics=shuffled", {"p": ["histology", "omics"]}) == {"p": frozenset()}


def test_none_takes_nothing():
    assert lost("none", {"p": ["histology", "omics"]}) == {"p": frozenset()}


def test_a_named_modality_is_taken_from_everyone():
    assert lost("omics", {"p": ["histology", "omics"], "q": ["omics"]}) == {"p": {"omics"}, "q": {"omics"}}


def test_a_rate_takes_the_modality_from_those_whose_draw_is_below_it():
    measured = {f"p{number}": ["histology", "omics"] for number in range(50)}
    found = lost("omics=0.3", measured, seed=4)
    expected = {patient for patient in measured if runtime.uniform("missing", 4, patient, "omics") < 0.3}
    assert {patient for patient, gone in found.items() if gone} == expected
    assert 0 < len(expected) < 50


def test_who_would_lose_everything_keeps_the_modality_with_the_largest_draw():
    measured = {f"p{number}": ["histology", "omics"] for number in range(20)}
    for patient, gone in lost("omics=1;histology=1", measured).items():
        draws = {modality: runtime.uniform("missing", 1, patient, modality) for modality in ("omics", "histology")}
        assert gone == {min(draws, key=draws.get)}


def test_who_has_one_modality_keeps_it():
    assert lost("omics=1;histology=1", {"p": ["omics"]})["p"] == {"histology"}


def test_a_patient_who_lacks_a_modality_at_a_rate_lacks_it_at_every_higher_rate():
    measured = {f"p{number}": ["histology", "omics"] for number in range(50)}
    low, high = lost("omics=0.2", measured), lost("omics=0.6", measured)
    assert all(low[patient] <= high[patient] for patient in measured)


def test_the_draw_does_not_depend_on_who_else_is_there():
    many = {f"p{number}": ["histology", "omics"] for number in range(30)}
    assert lost("omics=0.5", {"p7": ["histology", "omics"]})["p7"] == lost("omics=0.5", many)["p7"]


def test_another_seed_draws_others():
    measured = {f"p{number}": ["histology", "omics"] for number in range(50)}
    assert lost("omics=0.5", measured, seed=1) != lost("omics=0.5", measured, seed=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("omix", r"study\.missing = 'omix': there is no modality 'omix'; did you mean 'omics'\?"),
        ("omics=2", r"the rate of omics is '2'; write a number from 0 to 1"),
        ("omics=half", r"the rate of omics is 'half'; write a number from 0 to 1, or shuffled"),
        ("omics=shuffled;omics", "names omics twice"),
        ("clinical=shuffled", r"study\.missing = 'clinical=shuffled': the clinical modality cannot be shuffled"),
        ("omics;omics=0.5", "names omics twice"),
        ("none;omics", "there is no modality 'none'"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_pattern(text, MODALITIES)
