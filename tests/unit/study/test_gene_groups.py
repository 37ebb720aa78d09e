"""Groups of genes that a model learnt, beside known gene sets."""

from math import comb

import pandas as pd
import pytest

from prognos.study.gene_groups import overlaps_of


def test_the_overlap_of_a_group_with_a_gene_set_is_the_hypergeometric_tail_after_holm():
    # six features in two groups of three; the set holds A, B, C, which are the first group
    groups = pd.DataFrame({"kind": "rna", "gene": list("ABCDEF"), "group": [0, 0, 0, 1, 1, 1], "share": 0.9})
    found = overlaps_of(groups, {"mine": {"first": ("A", "B", "C", "Z"), "spread": ("A", "D")}}).set_index(["group", "gene_set"])
    assert found.loc[(0, "first"), ["of_group", "of_set", "in_both"]].tolist() == [3, 3, 3]
    # P(all three of three drawn from six are those three) = 1 / C(6, 3); four pairs of group and set were looked at
    assert found.p[0, "first"] == pytest.approx(1 / comb(6, 3))
    assert found.p_holm[0, "first"] == pytest.approx(4 / comb(6, 3))
    # P(at least one of two) = 1 - C(3, 2) / C(6, 2)
    assert found.p[1, "spread"] == pytest.approx(1 - comb(3, 2) / comb(6, 2))
    assert found.p_holm[1, "first"] == 1


def test_without_gene_sets_there_is_nothing_to_compare_with():
    groups = pd.DataFrame({"kind": "rna", "gene": ["A"], "group": [0], "share": 1.0})
    assert overlaps_of(groups, {}).empty
