"""Features stand in a flat vector and in pathway tokens, selected by membership."""

import json

import numpy as np
import pandas as pd
import pytest

from prognos.omics import OmicsSchema

TABLES = {
    "rna": pd.DataFrame([[1.0, 2.0, 3.0]], index=["P1"], columns=["G1", "G2", "G3"]),
    "cnv": pd.DataFrame([[0.0, 1.0]], index=["P1"], columns=["G2", "G4"]),
    "snv": pd.DataFrame([[0.0]], index=["P1"], columns=["G1"]),
}
SETS = {"growth": ("G2", "G1", "G9"), "nowhere": ("G8", "G9"), "repair": ("G4",)}


def test_without_gene_sets_every_gene_of_every_data_type_is_a_feature():
    schema = OmicsSchema.build(TABLES, ["rna", "cnv", "snv"])
    assert schema.features == (("rna", "G1"), ("rna", "G2"), ("rna", "G3"), ("cnv", "G2"), ("cnv", "G4"), ("snv", "G1"))
    assert schema.pathways == ()
    assert schema.index.shape == (0, 0)


def test_each_data_type_of_a_gene_is_a_feature_of_its_pathway():
    schema = OmicsSchema.build(TABLES, ["rna", "cnv", "snv"], SETS)
    assert schema.features == (("rna", "G1"), ("rna", "G2"), ("cnv", "G2"), ("cnv", "G4"), ("snv", "G1"))
    assert schema.pathways == ("growth", "repair")
    growth, repair = schema.index
    assert [schema.features[place] for place in growth] == [("rna", "G2"), ("rna", "G1"), ("cnv", "G2"), ("snv", "G1")]
    assert [schema.features[place] for place in repair[:1]] == [("cnv", "G4")]
    assert (repair[1:] == -1).all()
    assert schema.widths == (4, 1)


def test_a_set_without_a_measured_gene_is_left_out_and_named():
    assert OmicsSchema.build(TABLES, ["rna"], SETS).unmeasured == ("nowhere", "repair")


def test_coverage_counts_the_genes_found_in_each_data_type():
    coverage = OmicsSchema.build(TABLES, ["rna", "cnv", "snv"], SETS).coverage()
    assert coverage.loc["growth"].to_dict() == {"genes": 3, "found": 2, "share": 2 / 3, "rna": 2, "cnv": 1, "snv": 1}
    assert coverage.loc["nowhere"].to_dict() == {"genes": 2, "found": 0, "share": 0, "rna": 0, "cnv": 0, "snv": 0}
    assert list(coverage.index) == list(SETS)


def test_a_schema_comes_back_from_json():
    for sets in (None, SETS):
        schema = OmicsSchema.build(TABLES, ["rna", "snv"], sets)
        again = OmicsSchema.from_state(json.loads(json.dumps(schema.state(), sort_keys=True)))
        assert again == schema
        assert np.array_equal(again.index, schema.index)


def test_places_are_where_a_data_type_stands():
    schema = OmicsSchema.build(TABLES, ["rna", "cnv", "snv"])
    assert (schema.places("cnv"), schema.genes("cnv")) == (slice(3, 5), ("G2", "G4"))


def test_a_data_type_that_the_cohort_lacks_is_refused():
    with pytest.raises(ValueError, match=r"the cohort has no 'cnv' table; it has rna\. Add cnv\.csv, or leave it out"):
        OmicsSchema.build({"rna": TABLES["rna"]}, ["rna", "cnv"])


def test_a_data_type_without_a_scaling_rule_is_refused():
    with pytest.raises(ValueError, match=r"no scaling rule for the omics data type 'protein'; known: rna, cnv, snv"):
        OmicsSchema.build({"protein": TABLES["rna"]}, ["protein"])


def test_no_data_type_is_refused():
    with pytest.raises(ValueError, match=r"no omics data type was named; the tables are rna, cnv, snv"):
        OmicsSchema.build(TABLES, [])


def test_gene_sets_in_other_names_than_the_tables_are_refused():
    with pytest.raises(ValueError, match=r"none of the 2 genes of 1 gene sets \(ENSG1, ENSG2, \.\.\.\) is a column of rna"):
        OmicsSchema.build(TABLES, ["rna"], {"growth": ("ENSG1", "ENSG2")})


def test_two_columns_of_one_gene_are_refused():
    table = pd.DataFrame([[1.0, 2.0]], index=["P1"], columns=["G1", "G1"])
    with pytest.raises(ValueError, match=r"1 genes have more than one column in rna \(G1\): keep one column a gene"):
        OmicsSchema.build({"rna": table}, ["rna"])
