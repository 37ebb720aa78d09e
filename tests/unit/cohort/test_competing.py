"""Who had a competing event, by hand."""

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort
from prognos.cohort.competing import competing_events

CLINICAL = """patient_id,age,os_time,os_event,dss_time,dss_event,rfs_time,rfs_event
a,60,100,1,100,1,40,1
b,61,200,1,200,0,200,0
c,62,300,0,300,0,300,0
d,63,400,1,400,0,150,0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clinical.csv").write_text(CLINICAL)
    pd.DataFrame({"patient_id": list("abcd"), "G": np.arange(4.0)}).to_csv(tmp_path / "rna.csv", index=False)
    return tmp_path


def test_death_of_another_cause_competes_with_death_of_the_disease(folder):
    found = competing_events(Cohort.read(folder, endpoint="dss"))
    assert found.to_dict() == {"a": False, "b": True, "c": False, "d": True}


def test_who_died_long_after_follow_up_for_the_endpoint_had_ended_stays_censored(folder):
    found = competing_events(Cohort.read(folder, endpoint="rfs"))
    assert found.to_dict() == {"a": False, "b": True, "c": False, "d": False}


def test_nothing_competes_with_death_of_any_cause(folder):
    assert competing_events(Cohort.read(folder, endpoint="os")) is None


def test_nothing_is_known_without_overall_survival(folder):
    table = pd.read_csv(folder / "clinical.csv").drop(columns=["os_event"])
    table.to_csv(folder / "clinical.csv", index=False)
    assert competing_events(Cohort.read(folder, endpoint="dss")) is None
