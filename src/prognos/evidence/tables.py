"""The tables of a run's folder `evidence`: their files and columns. A report reads them without anything that computes."""

from collections.abc import Mapping

FOLDER = "evidence"
OF_FIT = ("model", "variant", "cohort", "seed", "fold")
"""What each row is of: one fitted model, asked about patients of its test fold."""

INCOMPLETE = 0.05
"""Share of the risk differences that attributions may lack before a page says so."""

TABLES: Mapping[str, tuple[str, ...]] = {
    "fits": (*OF_FIT, "patients", "patients_with_omics", "features", "unexplained", "same_modality_before", "same_modality_after"),
    "pathway_attributions": (*OF_FIT, "patient_id", "pathway", "attribution"),
    "gene_attributions": (*OF_FIT, "kind", "gene", "strength", "mean"),
    "pathway_attention": (*OF_FIT, "pathway", "attention"),
    "prototypes": (*OF_FIT, "bank", "modality", "prototype", "x", "y", "share"),
    "pathway_prototypes": (*OF_FIT, "pathway", "prototype", "weight"),
    "tokens": (*OF_FIT, "step", "modality", "prototype", "x", "y"),
}
"""Name of a table, which lies in NAME.csv.gz -> its columns.

fits: a row a fit. `unexplained`: the share of the risk differences that attributions do not sum to. `same_modality_before` and `_after`: of
the 10 nearest tokens (by cosine) of a token, the share of its own modality, before and after the step that moves tokens.
pathway_attributions, gene_attributions: by how much the risk is raised, in its unit; `strength` is the mean of the absolute value over
patients, `mean` that of the value; genes are the strongest of each fit. pathway_attention: mean over patients.
prototypes: place (x, y) in a t-SNE of the bank, and share of a modality's tokens that each takes first, mean over patients.
pathway_prototypes: weight of the pathway's token in each prototype, mean over patients. tokens: places in a t-SNE of some tokens, the same
ones in both steps.
"""

TEXT = ("pathway", "bank", "modality", "step", "kind", "gene", "patient_id", "model", "variant", "cohort")


def file_of(table: str) -> str:
    """The place of a table in a run folder."""
    return f"{FOLDER}/{table}.csv.gz"
