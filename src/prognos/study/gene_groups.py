"""Groups of genes that a model learnt: which genes are in which, and what they have in common with known gene sets."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from prognos.cohort import Cohort

KEYS = ("model", "variant", "cohort", "seed", "fold")
GENE_GROUPS = "gene_groups.csv.gz"
GROUP_COLUMNS = (*KEYS, "kind", "gene", "group", "share")
"""A row a feature: the group that has most of it."""
GENE_GROUP_SETS = "gene_group_sets.csv"
SET_COLUMNS = (*KEYS, "group", "collection", "gene_set", "of_group", "of_set", "in_both", "p", "p_holm")
"""Of each group the gene sets that overlap with it most."""
SETS_KEPT = 3


def group_tables(fitted: Any, cohort: Cohort, keys: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables of one fitted model by their file names; none for a model that learns no groups.

    Args:
        fitted: what was fitted.
        cohort: whose gene sets are compared with.
        keys: what the rows are of: model, variant, cohort, seed, fold.
    """
    groups = fitted.gene_groups()
    if groups.empty:
        return {}
    overlaps = overlaps_of(groups, cohort.gene_sets)
    return {
        GENE_GROUPS: groups.assign(share=groups.share.round(4), **keys)[list(GROUP_COLUMNS)],
        GENE_GROUP_SETS: overlaps.assign(**keys)[list(SET_COLUMNS)],
    }


def overlaps_of(groups: pd.DataFrame, collections: Mapping[str, Mapping[str, tuple[str, ...]]]) -> pd.DataFrame:
    """Of each group the gene sets that share most features with it.

    p is that of a hypergeometric test for more shared features than by chance; p_holm is after Holm over all groups and sets.

    Args:
        groups: kind, gene and group of each feature.
        collections: name of a collection -> gene set -> genes.
    """
    from scipy.stats import hypergeom  # slow to import

    rows = []
    sizes = groups.group.value_counts()
    for collection, sets in collections.items():
        for name, genes in sets.items():
            members = groups.group[groups.gene.isin(genes)]
            shared = members.value_counts()
            for group, size in sizes.items():
                both = int(shared.get(group, 0))
                p = float(hypergeom.sf(both - 1, len(groups), len(members), size))
                rows.append((group, collection, name, size, len(members), both, p))
    table = pd.DataFrame(rows, columns=["group", "collection", "gene_set", "of_group", "of_set", "in_both", "p"])
    table = table.sort_values(["p", "group", "collection", "gene_set"], kind="stable", ignore_index=True)
    table["p_holm"] = (table.p * range(len(table), 0, -1)).cummax().clip(upper=1.0)
    return table.groupby("group", sort=True).head(SETS_KEPT).sort_values(["group", "p"], kind="stable", ignore_index=True)
