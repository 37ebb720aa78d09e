"""Omics are scaled by what the training patients taught, and nobody else."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prognos.omics import OmicsScaler, OmicsSchema
from prognos.omics.scaling import centre_and_scale


def table(columns: dict[str, list[float]], patients: list[str] | None = None) -> pd.DataFrame:
    n_patients = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=patients or [f"P{i}" for i in range(n_patients)], dtype=float)


def learnt(tables, patients=None, gene_set=None) -> OmicsScaler:
    schema = OmicsSchema.build(tables, list(tables), gene_set)
    return OmicsScaler.learn(tables, schema, patients or list(next(iter(tables.values())).index))


def test_rna_is_centred_on_the_median_and_divided_by_the_interquartile_range():
    tables = {"rna": table({"G": [0.0, 1, 2, 3, 4]})}  # median 2, quartiles 1 and 3
    assert learnt(tables).transform(tables, ["P0", "P4"]).tolist() == [[-1.0], [1.0]]


def test_rna_is_divided_by_the_standard_deviation_where_the_interquartile_range_is_0():
    tables = {"rna": table({"G": [0.0, 0, 0, 0, 10]})}  # mean 2, variance (4 * 4 + 64) / 5 = 16
    assert learnt(tables).transform(tables, ["P0", "P4"]).tolist() == [[0.0], [2.5]]


def test_rna_is_clipped_at_5():
    tables = {"rna": table({"G": [0.0, 1, 2, 3, 4]})}
    later = {"rna": table({"G": [36893.0, -1e300]})}
    assert learnt(tables).transform(later, ["P0", "P1"]).tolist() == [[5.0], [-5.0]]


def test_a_scale_too_small_to_divide_by_is_clipped_too():
    tables = {"rna": table({"G": [0.0, 0, 5e-324, 5e-324]})}
    assert learnt(tables).transform({"rna": table({"G": [1e300]})}, ["P0"]).tolist() == [[5.0]]


def test_a_gene_that_is_constant_in_training_is_0_for_everyone_and_counted():
    tables = {"rna": table({"G1": [0.1] * 7, "G2": [0.0, 1, 2, 3, 4, 5, 6]})}
    scaler = learnt(tables)
    assert scaler.constant == (("rna", "G1"),)
    assert scaler.transform({"rna": table({"G1": [9.0], "G2": [3.0]})}, ["P0"]).tolist() == [[0.0, 0.0]]


def test_a_gene_that_no_training_patient_has_is_constant():
    tables = {"rna": table({"G1": [np.nan, np.nan], "G2": [0.0, 1.0]})}
    assert learnt(tables).constant == (("rna", "G1"),)


def test_copy_number_is_halved_and_mutation_is_left():
    tables = {"cnv": table({"G": [-2.0, 0, 2]}), "snv": table({"G": [0.0, 1, 0]})}
    assert learnt(tables).transform(tables, ["P0", "P1", "P2"]).tolist() == [[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


def test_a_mutation_that_nobody_had_in_training_still_counts_later():
    tables = {"snv": table({"G": [0.0, 0, 0]})}
    assert learnt(tables).transform({"snv": table({"G": [1.0]})}, ["P0"]).tolist() == [[1.0]]


def test_what_was_not_measured_is_0_and_counted():
    tables = {
        "rna": table({"G1": [0.0, 2, np.nan, 4], "G2": [1.0, 2, 3, 4]}, ["P0", "P1", "P2", "P3"]),
        "cnv": table({"G1": [-2.0, 2]}, ["P0", "P2"]),
    }
    patients = ["P0", "P2", "P3", "P9"]
    scaler = learnt(tables, ["P0", "P1", "P2", "P3"])
    values = scaler.transform(tables, patients)
    assert values[1, 0] == 0  # P2 lacks this value
    assert (values[2, 2], values[3].tolist()) == (0, [0, 0, 0])  # P3 lacks cnv, P9 everything
    gaps = scaler.gaps(tables, patients)
    assert gaps.patients_without == {"rna": ("P9",), "cnv": ("P3", "P9")}
    assert gaps.patients_without_any == ("P9",)
    assert gaps.missing_values == {"rna": 1, "cnv": 0}
    assert gaps.notes == (
        "1 patients have no rna: set to 0",
        "1 single rna values are missing: set to 0",
        "2 patients have no cnv: set to 0",
    )


def test_genes_absent_from_a_later_table_are_0_and_named():
    tables = {"rna": table({"G1": [0.0, 1, 2], "G2": [0.0, 1, 2], "G3": [0.0, 1, 2]}), "snv": table({"G1": [0.0, 1, 0]})}
    scaler = learnt(tables)
    later = {"rna": table({"G3": [2.0], "other": [7.0], "G1": [0.0]})}
    assert scaler.transform(later, ["P0"]).tolist() == [[-1.0, 0.0, 1.0, 0.0]]
    gaps = scaler.gaps(later, ["P0"])
    assert gaps.absent_genes == {"rna": ("G2",), "snv": ("G1",)}
    assert gaps.missing_values == {"rna": 0, "snv": 0}
    assert "1 genes are absent from the rna table (G2): set to 0" in gaps.notes


def test_an_infinite_value_is_refused_with_patient_and_gene():
    tables = {"rna": table({"G1": [0.0, np.inf], "G2": [0.0, 1.0]})}
    with pytest.raises(ValueError, match=r"1 values of 1 patients \(P1\) are infinite \(columns G1\): correct them, or leave"):
        learnt(tables)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(float, (6, 3), elements=st.floats(-1e6, 1e6)), arrays.arrays(float, (4, 3), elements=st.floats(-1e6, 1e6)))
def test_other_patients_change_nothing(train, test):
    patients = [f"P{i}" for i in range(10)]
    before = {"rna": pd.DataFrame(np.vstack([train, test]), index=patients, columns=["A", "B", "C"])}
    after = {"rna": pd.DataFrame(np.vstack([train, test[::-1] * -3 + 1]), index=patients, columns=["A", "B", "C"])}
    schema = OmicsSchema.build(before, ["rna"])
    assert OmicsScaler.learn(before, schema, patients[:6]).state() == OmicsScaler.learn(after, schema, patients[:6]).state()


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(float, (7, 4), elements=st.floats(-1e9, 1e9) | st.just(np.nan)))
def test_centre_and_scale_are_numpys_over_the_measured_values(values):
    centre, scale = centre_and_scale(values)
    for column in range(4):
        measured = values[:, column][~np.isnan(values[:, column])]
        if not len(measured):
            assert (centre[column], scale[column]) == (0, 0)
            continue
        low, median, high = np.percentile(measured, [25, 50, 75])
        spread = high - low or (measured.std() if measured.min() < measured.max() else 0)
        assert centre[column] == pytest.approx(median, abs=1e-6)
        assert scale[column] == pytest.approx(spread, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(float, (5, 2), elements=st.floats(-1e300, 1e300)))
def test_a_scaler_comes_back_from_json_bit_by_bit(values):
    tables = {"rna": pd.DataFrame(values, index=list("abcde"), columns=["A", "B"]), "cnv": table({"A": [1.0]}, ["a"])}
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = learnt(tables, list("abcde"))
    again = OmicsScaler.from_state(json.loads(json.dumps(scaler.state(), sort_keys=True)))
    assert again.schema == scaler.schema
    assert np.array_equal(again.centre, scaler.centre)
    assert np.array_equal(again.scale, scaler.scale)


def test_the_order_of_patients_is_that_asked_for():
    tables = {"rna": table({"G": [0.0, 1, 2, 3, 4]})}
    assert learnt(tables).transform(tables, ["P4", "P0", "P4"]).tolist() == [[1.0], [-1.0], [1.0]]


def test_a_thousand_patients_are_scaled_in_well_under_a_second():
    generator = np.random.default_rng(0)
    patients = [f"P{i}" for i in range(1000)]
    tables = {
        kind: pd.DataFrame(generator.normal(size=(1000, genes)), index=patients, columns=[f"G{i}" for i in range(genes)])
        for kind, genes in {"rna": 1558, "cnv": 1056, "snv": 1066}.items()
    }
    start = time.process_time()
    scaler = learnt(tables)
    scaler.transform(tables, patients)
    scaler.gaps(tables, patients)
    assert time.process_time() - start < 1
