"""Cumulative incidence by hand, and against 1 - Kaplan-Meier."""

import numpy as np
import pytest

from prognos.metrics import cumulative_incidence, kaplan_meier

TIME = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
EVENT = np.array([True, True, False, False, True])
COMPETING = np.array([False, False, True, False, False])


def test_it_is_aalen_and_johansens_sum_by_hand():
    found = cumulative_incidence(TIME, EVENT, COMPETING)
    after_1 = 1 / 5
    after_2 = after_1 + 4 / 5 * 1 / 4
    assert found.incidence.tolist() == pytest.approx([0.0, after_1, after_2, after_2, after_2 + 4 / 5 * 2 / 4 * 1 / 1])
    assert found.competing.tolist() == pytest.approx([0.0, 0.0, 1 / 5, 1 / 5, 1 / 5])
    assert found.at(np.array([0.5, 2.0, 3.9, 99.0])).tolist() == pytest.approx([0.0, after_2, after_2, 0.8])
    assert found.at_risk.tolist() == [5, 5, 4, 2, 1]


def test_without_competing_events_it_is_one_minus_kaplan_meier():
    found = cumulative_incidence(TIME, EVENT, np.zeros(5, dtype=bool))
    assert found.incidence == pytest.approx(1 - kaplan_meier(TIME, EVENT).survival)


def test_one_minus_kaplan_meier_is_never_below_it():
    generator = np.random.default_rng(2)
    time, kind = generator.integers(1, 30, size=200).astype(float), generator.integers(0, 3, size=200)
    found = cumulative_incidence(time, kind == 1, kind == 2)
    assert (1 - kaplan_meier(time, kind == 1).at(found.time) >= found.incidence - 1e-12).all()
    assert found.incidence[-1] + found.competing[-1] <= 1 + 1e-12


def test_a_patient_with_both_events_is_refused():
    with pytest.raises(ValueError, match="1 of 5 patients have the event and a competing one"):
        cumulative_incidence(TIME, EVENT, np.array([True, False, False, False, False]))


def test_marks_for_other_patients_are_refused():
    with pytest.raises(ValueError, match="4 marks of competing events but 5 patients"):
        cumulative_incidence(TIME, EVENT, COMPETING[:4])
