"""What the page says of groups of genes that a model learnt: their strongest genes, known gene sets, and whether fits agree."""

from itertools import combinations, islice

import pandas as pd

from prognos.report.run_folder import RunFolder
from prognos.report.tables import Cell, Table

GENES_SHOWN = 8
PAIRS_COMPARED = 50
LEVEL = 0.05


def gene_group_tables(run: RunFolder, cohort: str) -> list[Table]:
    """A table for each model and variant that learns groups: those of its first fit, a row a group."""
    groups = run.gene_groups[run.gene_groups.cohort == cohort]
    return [_table(run, cohort, label, part) for label, part in groups.groupby("label", sort=False)]


def _table(run: RunFolder, cohort: str, label: str, groups: pd.DataFrame) -> Table:
    seed, fold = groups.seed.iloc[0], groups.fold.iloc[0]
    of_fit = groups[(groups.seed == seed) & (groups.fold == fold)]
    sets = run.gene_group_sets
    sets = sets[(sets.cohort == cohort) & (sets.label == label) & (sets.seed == seed) & (sets.fold == fold)]
    body = []
    for group, part in of_fit.groupby("group"):
        strongest = part.nlargest(GENES_SHOWN, "share")
        genes = ", ".join(f"{row.gene} ({row.kind})" for row in strongest.itertuples())
        nearest = sets[sets.group == group].head(1)
        body.append((Cell(f"{group + 1:.0f}", float(group)), Cell(str(len(part)), float(len(part))), Cell(genes), *_nearest(nearest)))
    caption = (
        f"Groups of genes that {label} learnt on {cohort}, seed {seed:.0f}, fold {fold:.0f}. p: more features in common with a gene set "
        f"than by chance (hypergeometric, after Holm over all groups and gene sets). {agreement_in_words(groups)}"
    )
    return Table(caption, ("Group", "Features", "Strongest", "Nearest gene set", "In common", "p"), tuple(body))


def _nearest(row: pd.DataFrame) -> tuple[Cell, Cell, Cell]:
    if row.empty:
        return Cell("no gene set was given"), Cell("–"), Cell("–")
    one = row.iloc[0]
    p = "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
    common = Cell(f"{one.in_both:.0f} of {one.of_set:.0f}", float(one.in_both))
    return Cell(str(one.gene_set)), common, Cell(p, float(one.p_holm), bool(one.p_holm < LEVEL))


def agreement(groups: pd.DataFrame) -> float | None:
    """Mean adjusted Rand index of the groups of two fits of one model with different seeds; None with one seed.

    1: the same features are together in both; 0: no more of them than by chance. Fits of one seed begin with the same random groups, so
    that their agreement would say how little was learnt.
    """
    from sklearn.metrics import adjusted_rand_score

    fits = {key: part.set_index(["kind", "gene"]).group for key, part in groups.groupby(["seed", "fold"], sort=False)}
    pairs = ((left, right) for left, right in combinations(fits, 2) if left[0] != right[0])
    values = []
    for left, right in islice(pairs, PAIRS_COMPARED):
        both = pd.concat([fits[left], fits[right]], axis=1, join="inner")
        values.append(float(adjusted_rand_score(both.iloc[:, 0], both.iloc[:, 1])))
    return sum(values) / len(values) if values else None


def agreement_in_words(groups: pd.DataFrame) -> str:
    """Whether two fits that began differently put the same genes together; without the full stop of a caption."""
    found = agreement(groups)
    if found is None:
        return "With one seed nobody knows whether another would find the same groups: fits of one seed begin with the same random ones"
    meaning = "fits find other groups: read nothing into one" if found < 0.1 else "fits agree in part" if found < 0.9 else "fits agree"
    return f"Fits of different seeds have an adjusted Rand index of {found:.2f} (1: the same groups, 0: chance): {meaning}"
