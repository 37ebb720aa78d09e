from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.evidence_of_a_run import COHORT, with_evidence

from prognos.report.agreement import kendall, overlap, pairs_of
from prognos.report.build import page
from prognos.report.evidence import attribution_table, evidence_alarms, prototype_table
from prognos.report.figures import (
    gene_ranking,
    pathway_attention,
    pathway_prototypes,
    pathway_ranking,
    prototype_map,
    prototype_pathways,
    token_map,
)
from prognos.report.figures.ranking import plain_names
from prognos.report.run_folder import RunFolder, read_run_folder


@pytest.fixture
def told(finished: RunFolder) -> RunFolder:
    return with_evidence(finished)


def test_the_ranking_is_of_mean_absolute_shares_with_the_lowest_and_the_highest_fit(told: RunFolder):
    rows = pathway_ranking.data(told, COHORT).set_index("name")
    # two thirds with one seed and one third with the other: 1/2 on average
    assert rows.loc["SET_MYC", ["mean", "low", "high", "fits"]].tolist() == pytest.approx([0.5, 1 / 3, 2 / 3, 4])
    assert rows.loc["SET_APOPTOSIS", "mean"] == 0.0
    assert set(gene_ranking.data(told, COHORT).name) == {"EGFR rna", "MYC rna"}


def test_attention_is_shown_beside_the_share_that_says_nothing(told: RunFolder):
    rows = pathway_attention.data(told, COHORT)
    assert rows.quantity.iloc[0] == "attention (equal: 33.3%)"
    assert rows["mean"].sum() == pytest.approx(1.0)


def test_prototypes_have_a_place_and_the_shares_of_both_modalities_of_the_first_fit_alone(told: RunFolder):
    rows = prototype_map.data(told, COHORT)
    assert rows.panel.unique().tolist() == ["tta, seed 1, fold 0"]
    assert rows.histology.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert rows.omics.tolist() == [0.25] * 4
    assert rows.x.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_prototypes_without_a_place_are_not_drawn(told: RunFolder):
    lost = {**told.evidence, "prototypes": told.evidence["prototypes"].assign(x=np.nan, y=np.nan)}
    assert prototype_map.data(replace(told, evidence=lost), COHORT).empty


def test_tokens_are_drawn_before_and_after_with_the_share_of_neighbours_of_their_own_modality(told: RunFolder):
    rows = token_map.data(told, COHORT)
    assert rows.groupby("panel", sort=False).same.first().to_dict() == {
        "tta, seed 1, fold 0: before": 0.6,
        "tta, seed 1, fold 0: after": 0.9,
    }


def test_each_pathway_ranks_its_prototypes_by_weight(told: RunFolder):
    rows = pathway_prototypes.data(told, COHORT)
    assert rows[rows.pathway == "SET_APOPTOSIS"]["rank"].tolist() == [1, 4, 3, 2]


def test_a_prototype_serves_the_pathways_that_have_it_in_their_top(told: RunFolder, monkeypatch):
    monkeypatch.setattr(pathway_prototypes, "TOP", 1)
    rows = prototype_pathways.data(told, COHORT)
    assert rows.pathways.tolist() == [2, 0, 0, 1]  # HYPOXIA and APOPTOSIS lean on the first, MYC on the last
    assert rows.equal.iloc[0] == 3 / 4


def test_the_table_of_prototypes_counts_those_in_use(told: RunFolder):
    (patches, pathways) = prototype_table(told, COHORT).rows
    assert [cell.text for cell in patches] == ["tta", "patches", "4", "4", "2.0 (2.0 to 2.0)", "50% (up to 50%)"]
    assert pathways[4].text == "4.0 (4.0 to 4.0)"


def test_prototypes_that_fell_together_and_attributions_that_do_not_add_up_raise_an_alarm(told: RunFolder):
    assert evidence_alarms(told, COHORT) == []
    prototypes, fits = told.evidence["prototypes"].copy(), told.evidence["fits"].copy()
    fallen = (prototypes.modality == "histology") & (prototypes.seed == 2) & (prototypes.fold == 1)
    prototypes.loc[fallen, "share"] = [0.96, 0.04, 0.0, 0.0]
    fits.loc[0, "unexplained"] = 0.21
    said = evidence_alarms(replace(told, evidence={**told.evidence, "prototypes": prototypes, "fits": fits}), COHORT)
    assert [text.split(":")[0] for text in said] == [
        "In 1 of 4 fits of tta one prototype takes 95% of the patches or more first",
        "In 1 of 4 fits of tta the attributions leave more than 5% of the risk differences unexplained (up to 21%)",
    ]


def test_other_seeds_that_rank_otherwise_and_other_folds_that_rank_alike_are_told_apart(told: RunFolder):
    (row,) = attribution_table(told, COHORT).rows
    assert [cell.text for cell in row[:3]] == ["tta", "4", "1.0%"]
    # of three pathways seeds exchange the first two: 2 of 3 pairs in the same order, 1 otherwise: tau = 1/3
    assert row[3].value == pytest.approx(1 / 3)
    assert row[4].value == pytest.approx(1.0)


FITS = pd.MultiIndex.from_tuples([(1, 0), (1, 1), (2, 0), (2, 1)])
STRENGTHS = pd.DataFrame([[4, 4, 3, 1], [3, 3, 4, 2], [2, 2, 2, 3], [1, 1, 1, 4]], columns=FITS, dtype=float)


def test_pairs_are_of_one_fold_or_of_one_seed():
    assert pairs_of(STRENGTHS, "fold") == [((1, 0), (2, 0)), ((1, 1), (2, 1))]
    assert pairs_of(STRENGTHS, "seed") == [((1, 0), (1, 1)), ((2, 0), (2, 1))]
    assert pairs_of(pd.DataFrame(), "seed") == []


def test_common_leaders_are_counted_as_a_share():
    found = overlap(STRENGTHS, pairs_of(STRENGTHS, "fold"), 2)
    assert (found.mean, found.pairs) == (0.5, 2)  # both leaders in fold 0, none in fold 1
    assert overlap(STRENGTHS, pairs_of(STRENGTHS, "fold"), 4) is None


def test_the_interval_is_that_of_the_jackknife_over_fits():
    first, second, third = (1.0, 0.0), (1.0, 1.0), (2.0, 0.0)
    pairs = [(first, second), (first, third), (second, third)]
    found = kendall(STRENGTHS, pairs)
    taus = {(0, 1): 1.0, (0, 2): 2 / 3, (1, 2): 2 / 3}  # the third fit exchanges one of six pairs
    left_out = [taus[1, 2], taus[0, 2], taus[0, 1]]
    mean = sum(taus.values()) / 3
    error = np.sqrt(2 / 3 * sum((one - mean) ** 2 for one in left_out))
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 1.959964 * error)
    assert found.high == pytest.approx(1.0)  # cut at 1


def test_two_fits_have_an_agreement_without_an_interval_and_one_has_none():
    assert np.isnan(kendall(STRENGTHS, pairs_of(STRENGTHS.iloc[:, [0, 1]], "seed")).low)
    assert kendall(STRENGTHS, []) is None


def test_names_of_pathways_lose_the_prefix_that_all_have_and_are_cut_when_long():
    assert plain_names(["SET_A_B", "SET_C"]) == ["A B", "C"]
    assert plain_names(["A_1", "B_1"]) == ["A 1", "B 1"]
    assert plain_names(["x" * 40]) == ["x" * 25 + "…"]


def test_the_page_has_the_section_where_evidence_was_collected_only(told: RunFolder, finished_page: str):
    html = page(told)
    assert '<section id="evidence">' in html
    assert "Attributions of made-up" in html
    assert '<section id="evidence">' not in finished_page


def test_a_table_of_evidence_that_lacks_a_column_is_a_gap_and_not_the_end(run_folder):
    (run_folder / "evidence").mkdir()
    pd.DataFrame({"model": ["tta"], "variant": ["base"]}).to_csv(run_folder / "evidence" / "prototypes.csv.gz", index=False)
    run = read_run_folder(run_folder)
    assert run.evidence["prototypes"].empty
    assert any(gap.startswith("prototypes.csv.gz has no column cohort") for gap in run.gaps)
