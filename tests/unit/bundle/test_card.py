from prognos.bundle import make_bundle


def test_the_card_says_what_the_model_is_not_for_and_what_it_was_fitted_on(late_fusion):
    for text in (
        "**Not a medical device.",
        "| patients | 48 |",
        "| patch features | 10 wide, encoder ",
        "Not: diagnosis, treatment, triage",
    ):
        assert text in late_fusion.card


def test_the_numbers_stand_beside_those_of_the_clinical_model_with_their_intervals(late_fusion):
    row = next(row for row in late_fusion.manifest.held_out.rows if (row["model"], row["metric"]) == ("late-fusion", "concordance"))
    assert "| | null | clinical | late-fusion |" in late_fusion.card
    assert f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}) |" in late_fusion.card


def test_the_card_says_what_stands_in_for_a_missing_modality(late_fusion):
    assert "What stands in for a missing modality: " in late_fusion.card
    assert "The study did not measure what the model does without one of its modalities." in late_fusion.card


def test_a_card_of_a_model_of_one_modality_says_nothing_of_stand_ins(run, tmp_path):
    card = make_bundle(run, "clinical", tmp_path / "clinical.zip").card
    assert "stands in for a missing modality" not in card
    assert "It reads clinical and gives a risk" in card


def test_the_card_has_no_sentence_about_calibration_that_the_study_cannot_back(late_fusion):
    said = {row["metric"]: row["mean"] for row in late_fusion.manifest.held_out.rows if row["model"] == "late-fusion"}
    known = any(name.startswith("calibration") and mean is not None for name, mean in said.items())
    assert ("do not read them as probabilities" in late_fusion.card) != known
    assert ("The curves were not recalibrated." in late_fusion.card) == known
