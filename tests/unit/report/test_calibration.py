"""The page on calibration, decisions and competing risks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.report.tables_of_use import TOO_FEW

from prognos.metrics import cumulative_incidence
from prognos.report.build import page
from prognos.report.calibration import calibration_notes, competing_tables
from prognos.report.figures import cumulative_incidence as incidence_figure
from prognos.report.figures import decision_curve, distribution_calibration
from prognos.report.risk_groups import risk_groups
from prognos.report.run_folder import RunFolder, read_run_folder

COHORT = "made-up"


@pytest.fixture
def run(run_folder: Path) -> RunFolder:
    return read_run_folder(run_folder)


def test_each_model_has_its_predicted_and_seen_probability_its_index_and_the_test_of_its_curves(run):
    (table,) = calibration_notes(run, COHORT).tables
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    in_time = ["31% / 40%", "0.020 (0.00 to 0.05)"]
    assert cells["abmil"] == ["complete", *in_time, *in_time, "not judged", "not judged", "p = 0.55"]  # p is 0.5 and 0.6 for the seeds
    assert cells["tta"][-1] == "p = 0.001"


def test_only_what_is_far_off_stands_out(run):
    (table,) = calibration_notes(run, COHORT).tables
    marked = {row[0].text: [place for place, cell in enumerate(row) if cell.stands_out] for row in table.rows}
    assert marked == {"clinical": [], "abmil": [], "tta": [3, 5, 8]}


def test_why_something_is_not_judged_is_said_once(run):
    assert calibration_notes(run, COHORT).remarks == (f"Not judged (clinical, abmil, tta): {TOO_FEW}",)


def test_a_run_without_the_tables_says_so_and_has_no_section_on_decisions(run_folder: Path):
    for name in ("calibration.csv", "distribution_calibration.csv", "net_benefit.csv", "competing.csv"):
        (run_folder / name).unlink()
    text = page(read_run_folder(run_folder))
    assert "calibration.csv is absent" in text
    assert 'id="decisions"' not in text
    assert 'id="competing-risks"' not in text


def test_the_spread_of_each_model_is_the_mean_of_its_seeds_beside_the_even_share(run):
    rows = run.distribution_calibration
    first = (rows.label == "abmil") & (rows.low == 0)
    run = replace(run, distribution_calibration=rows.assign(share=rows.share.mask(first, 0.1 * rows.seed)))  # seeds 1 and 2
    table = distribution_calibration.data(run, COHORT).query("panel == 'abmil'")
    assert len(table) == 10
    assert table.iloc[0][["share", "lowest", "highest", "even", "p"]].tolist() == pytest.approx([0.15, 0.1, 0.2, 0.1, 0.55])


def test_a_model_whose_curves_could_not_be_tested_has_no_picture_of_their_spread(run):
    rows = run.distribution_calibration
    run = replace(run, distribution_calibration=rows.assign(share=rows.share.mask(rows.label == "tta")))
    assert set(distribution_calibration.data(run, COHORT).panel) == {"clinical", "abmil"}


def test_decision_curves_show_each_model_beside_the_clinical_one_everybody_and_nobody(run):
    table = decision_curve.data(run, COHORT)
    assert list(dict.fromkeys(table.panel)) == ["abmil", "tta"]
    strategies = dict.fromkeys(table.strategy[table.panel == "tta"])
    assert list(strategies) == ["tta", "clinical", "treat everybody", "treat nobody"]
    everybody = table[(table.panel == "tta") & (table.strategy == "treat everybody") & (table.horizon == 365.0)]
    assert everybody.net_benefit.tolist() == pytest.approx([0.2, 0.0, -0.2])


def test_the_clinical_model_alone_has_a_decision_curve_of_its_own(run):
    alone = replace(run, net_benefit=run.net_benefit[run.net_benefit.label == "clinical"])
    assert set(decision_curve.data(alone, COHORT).strategy) == {"clinical", "treat everybody", "treat nobody"}


def test_incidence_by_risk_group_counts_competing_events(run):
    patients = risk_groups(run, COHORT, "tta", "none").patients.merge(run.competing, on="patient_id")
    high = patients[patients.high]
    expected = cumulative_incidence(high.time.to_numpy(float), high.event.to_numpy(bool), high.competing.to_numpy(float) == 1)
    table = incidence_figure.data(run, COHORT)
    drawn = table[(table.panel == "tta") & (table.group == "high")]
    assert drawn.incidence.to_numpy() == pytest.approx(expected.incidence)
    assert (drawn.one_minus_kaplan_meier >= drawn.incidence - 1e-12).all()
    assert drawn.one_minus_kaplan_meier.iloc[-1] > drawn.incidence.iloc[-1] + 0.01


def test_the_table_of_competing_risks_has_both_estimates(run):
    (table,) = competing_tables(run, COHORT)
    row = next(row for row in table.rows if (row[0].text, row[1].text) == ("tta", "high"))
    patients = risk_groups(run, COHORT, "tta", "none").patients.merge(run.competing, on="patient_id")
    high = patients[patients.high]
    assert [cell.text for cell in row[2:5]] == [str(len(high)), str(int(high.event.sum())), str(int(high.competing.sum()))]
    found = cumulative_incidence(high.time.to_numpy(float), high.event.to_numpy(bool), high.competing.to_numpy(float) == 1)
    assert row[6].text.startswith(f"{found.at(np.array([1095.0]))[0]:.0%} / ")


def test_the_page_says_what_one_minus_kaplan_meier_overstates(run):
    text = page(run)
    assert "1 − Kaplan-Meier overstates that" in text
    assert "The models are cause-specific" in text


def test_groups_that_are_not_followed_so_long_have_no_number(run):
    short = run.predictions.assign(time=run.predictions.time.clip(upper=1000.0))
    (table,) = competing_tables(replace(run, predictions=short), COHORT)
    assert [cell.text for cell in table.rows[0][6:]] == ["not followed so long"] * 2
