"""What the page says of collected evidence: whether attributions add up, whether fits agree, whether prototypes stay apart."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from prognos.evidence.tables import INCOMPLETE
from prognos.metrics.occupancy import COLLAPSED, effective_number
from prognos.report.agreement import Agreement, kendall, overlap, pairs_of
from prognos.report.run_folder import RunFolder
from prognos.report.tables import Cell, Table

TOP_PATHWAYS, TOP_GENES = 10, 50
TOKENS = {"histology": "patches", "omics": "pathways"}


def of_cohort(run: RunFolder, name: str, cohort: str) -> pd.DataFrame:
    """The rows of a table of evidence of one cohort."""
    table = run.evidence[name]
    return table[table.cohort == cohort]


def first_fits(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each label's first fit: that of the lowest seed and, of this, the lowest fold."""
    kept = []
    for _, rows in table.groupby("label", sort=False):
        of_seed = rows[rows.seed == rows.seed.min()]
        kept.append(of_seed[of_seed.fold == of_seed.fold.min()])
    return pd.concat(kept) if kept else table.iloc[:0]


def fit_in_words(rows: pd.DataFrame) -> str:
    """The label, seed and fold that all these rows are of."""
    return f"{rows.label.iloc[0]}, seed {rows.seed.iloc[0]:.0f}, fold {rows.fold.iloc[0]:.0f}"


def shares_of(table: pd.DataFrame, name: list[str], value: str) -> pd.DataFrame:
    """A row a name (such as a pathway), a column a fit: each value as a share of the fit's sum, 0 where a fit has none."""
    wide = table.pivot_table(index=name, columns=["seed", "fold"], values=value, aggfunc="sum", fill_value=0.0)
    total = wide.sum()
    return wide.loc[:, total > 0] / total[total > 0]


def pathway_strengths(run: RunFolder, cohort: str) -> dict[str, pd.DataFrame]:
    """By label: a row a pathway and a column a fit, its mean absolute attribution over patients as a share of all pathways'."""
    table = of_cohort(run, "pathway_attributions", cohort)
    table = table.assign(strength=table.attribution.abs())
    return {str(label): shares_of(rows, ["pathway"], "strength") for label, rows in table.groupby("label", sort=False)}


def gene_strengths(run: RunFolder, cohort: str) -> dict[str, pd.DataFrame]:
    """By label: a row a gene and data type and a column a fit, its strength as a share of the genes that are kept of the fit."""
    table = of_cohort(run, "gene_attributions", cohort)
    return {str(label): shares_of(rows, ["gene", "kind"], "strength") for label, rows in table.groupby("label", sort=False)}


def attribution_table(run: RunFolder, cohort: str) -> Table | None:
    """A row a model: whether attributions add up to the risk, and whether other seeds and folds rank the same pathways and genes first."""
    fits = of_cohort(run, "fits", cohort).dropna(subset=["unexplained"])
    if fits.empty:
        return None
    pathways, genes = pathway_strengths(run, cohort), gene_strengths(run, cohort)
    body = []
    for label, rows in fits.groupby("label", sort=False):
        lack = float(rows.unexplained.median())
        cells = [Cell(str(label)), Cell(str(len(rows)), float(len(rows))), Cell(f"{lack:.1%}", lack, lack > INCOMPLETE)]
        ranked, found = pathways.get(str(label), pd.DataFrame()), genes.get(str(label), pd.DataFrame())
        cells += [_cell(kendall(ranked, pairs_of(ranked, same))) for same in ("fold", "seed")]
        cells.append(_cell(overlap(ranked, pairs_of(ranked, "fold"), TOP_PATHWAYS), chance=TOP_PATHWAYS / max(TOP_PATHWAYS, len(ranked))))
        features = float(rows.features.max())
        cells.append(_cell(overlap(found, pairs_of(found, "fold"), TOP_GENES), chance=min(1.0, TOP_GENES / features)))
        body.append(tuple(cells))
    caption = (
        f"Attributions of {cohort}. Not explained: share of the risk differences that they do not sum to (median over fits). Kendall's tau "
        "of the pathways' strengths in two fits, 1 the same order and 0 chance, and the share of the strongest that two fits have in "
        "common, each with a 95% interval (jackknife over fits)"
    )
    columns = (
        *("Model", "Fits", "Not explained", "Tau, other seed", "Tau, other fold"),
        *(f"Top {TOP_PATHWAYS} pathways, other seed", f"Top {TOP_GENES} genes, other seed"),
    )
    return Table(caption, columns, tuple(body))


def _cell(found: Agreement | None, chance: float | None = None) -> Cell:
    if found is None:
        return Cell("–")
    beside = "" if chance is None else f"; chance {chance:.2f}"
    interval = "" if np.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    return Cell(f"{found.mean:.2f}{interval}{beside}", found.mean)


def prototype_fits(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row a fit, bank and modality: label, seed, fold, bank, modality, prototypes, effective, largest."""
    keys = ["label", "seed", "fold", "bank", "modality"]
    rows = []
    for key, part in of_cohort(run, "prototypes", cohort).groupby(keys, sort=False):
        rows.append((*key, len(part), effective_number(part.share.to_numpy()), float(part.share.max() / part.share.sum())))
    return pd.DataFrame(rows, columns=[*keys, "prototypes", "effective", "largest"])


def prototype_table(run: RunFolder, cohort: str) -> Table | None:
    """A row a model and modality: how many prototypes there are and are used."""
    found = prototype_fits(run, cohort)
    if found.empty:
        return None
    body = []
    for (label, modality), rows in found.groupby(["label", "modality"], sort=False):
        effective, largest = rows.effective, rows.largest
        text = f"{effective.mean():.1f} ({effective.min():.1f} to {effective.max():.1f})"
        alarm = bool((largest >= COLLAPSED).any())
        body.append(
            (
                Cell(str(label)),
                Cell(TOKENS.get(str(modality), str(modality))),
                Cell(str(len(rows)), float(len(rows))),
                Cell(str(rows.prototypes.iloc[0]), float(rows.prototypes.iloc[0])),
                Cell(text, float(effective.mean()), alarm),
                Cell(f"{largest.mean():.0%} (up to {largest.max():.0%})", float(largest.mean()), alarm),
            )
        )
    caption = (
        f"Prototypes in use on {cohort}. Effective number: exp of the entropy of the shares of tokens that they take first, from 1, where "
        "one takes all, to their number, where all take as much; mean over fits, lowest and highest"
    )
    return Table(caption, ("Model", "Tokens", "Fits", "Prototypes", "Effective number", "Largest share"), tuple(body))


def evidence_alarms(run: RunFolder, cohort: str) -> list[str]:
    """What has to be known before the figures are believed: collapsed prototypes, attributions that do not add up."""
    said = []
    found = prototype_fits(run, cohort)
    for (label, modality), rows in found.groupby(["label", "modality"], sort=False):
        fallen = int((rows.largest >= COLLAPSED).sum())
        if fallen:
            tokens = TOKENS.get(str(modality), str(modality))
            said.append(
                f"In {fallen} of {len(rows)} fits of {label} one prototype takes {COLLAPSED:.0%} of the {tokens} or more first: they "
                "tell hardly a token from another, nor does what is drawn of them"
            )
    fits = of_cohort(run, "fits", cohort).dropna(subset=["unexplained"])
    for label, rows in fits[fits.unexplained > INCOMPLETE].groupby("label", sort=False):
        total = int((fits.label == label).sum())
        said.append(
            f"In {len(rows)} of {total} fits of {label} the attributions leave more than {INCOMPLETE:.0%} of the risk differences "
            f"unexplained (up to {rows.unexplained.max():.0%}): its risk has steps or parts that no gradient sees, so its ranking is rough"
        )
    return said


def evidence_notes(run: RunFolder, cohort: str) -> Mapping[str, object]:
    """What the section says of one cohort."""
    tables = [table for table in (attribution_table(run, cohort), prototype_table(run, cohort)) if table is not None]
    fits = of_cohort(run, "fits", cohort)
    return {"alarms": evidence_alarms(run, cohort), "tables": tables, "patients": 0 if fits.empty else int(fits.patients.max())}
