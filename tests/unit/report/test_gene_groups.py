"""The page on groups of genes that a model learnt."""

from dataclasses import replace

import pytest

from prognos.report.gene_groups import agreement, agreement_in_words, gene_group_tables
from prognos.report.run_folder import RunFolder


def test_a_row_a_group_with_its_strongest_genes_and_the_gene_set_nearest_to_it(finished: RunFolder):
    (table,) = gene_group_tables(finished, "made-up")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["1", "4", "G3 (rna), G2 (rna), G1 (rna), G0 (rna)", "HYPOXIA", "4 of 5", "0.012"],
        ["2", "4", "G7 (rna), G6 (rna), G5 (rna), G4 (rna)", "MYC", "2 of 6", "1.000"],
        ["3", "4", "G11 (rna), G10 (rna), G9 (rna), G8 (rna)", "no gene set was given", "–", "–"],
    ]
    assert "tta learnt on made-up, seed 1, fold 0" in table.caption


def test_groups_with_other_numbers_and_the_same_genes_agree(finished: RunFolder):
    assert agreement(finished.gene_groups) == pytest.approx(1.0)
    assert "adjusted Rand index of 1.00 (1: the same groups, 0: chance): fits agree" in agreement_in_words(finished.gene_groups)


def test_fits_that_put_other_genes_together_are_said_to_agree_in_nothing(finished: RunFolder):
    groups = finished.gene_groups.copy()
    groups.loc[groups.seed == 2, "group"] = [0, 1, 2] * 4  # of the four genes that were together none is with another three
    assert "fits find other groups: read nothing into one" in agreement_in_words(groups)


def test_fits_of_one_seed_begin_with_the_same_groups_and_say_nothing_of_another(finished: RunFolder):
    groups = finished.gene_groups
    of_one_seed = groups.assign(fold=groups.seed - 1, seed=1)
    assert agreement(of_one_seed) is None
    assert "With one seed nobody knows whether another would find the same groups" in agreement_in_words(of_one_seed)


def test_a_caption_has_one_full_stop(finished_page: str):
    assert "Groups of genes that tta learnt" in finished_page
    assert ".." not in finished_page[finished_page.index("Groups of genes that tta learnt") :][:600]


def test_a_run_without_groups_has_no_table(finished: RunFolder):
    assert gene_group_tables(replace(finished, gene_groups=finished.gene_groups.iloc[:0]), "made-up") == []
