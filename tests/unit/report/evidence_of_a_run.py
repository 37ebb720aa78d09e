"""Evidence and variants for the made-up run: two seeds, two folds, three pathways, four prototypes."""

from dataclasses import replace

import pandas as pd

from prognos.evidence.tables import TABLES
from prognos.report.fits import FitFacts
from prognos.report.run_folder import RunFolder
from prognos.report.run_tables import labelled

COHORT = "made-up"
FITS = [(seed, fold) for seed in (1, 2) for fold in (0, 1)]
PATHWAYS = ("SET_HYPOXIA", "SET_MYC", "SET_APOPTOSIS")
GENES = ("EGFR", "MYC")
OCCUPIED = {"histology": (0.5, 0.5, 0.0, 0.0), "omics": (0.25, 0.25, 0.25, 0.25)}
WEIGHTS = {"SET_HYPOXIA": (0.9, 0.4, 0.1, 0.0), "SET_MYC": (0.1, 0.2, 0.3, 0.4), "SET_APOPTOSIS": (0.5, 0.1, 0.2, 0.3)}


def _key(seed: int, fold: int) -> dict:
    return {"model": "tta", "variant": "base", "cohort": COHORT, "seed": seed, "fold": fold}


def evidence_rows() -> dict[str, list[dict]]:
    """Attributions: HYPOXIA twice as strong as MYC in every fit, and the other way round with seed 2; APOPTOSIS none."""
    rows: dict[str, list[dict]] = {name: [] for name in TABLES}
    for seed, fold in FITS:
        key = _key(seed, fold)
        shares = {"patients": 2, "patients_with_omics": 2, "features": 200}
        rows["fits"].append({**key, **shares, "unexplained": 0.01, "same_modality_before": 0.6, "same_modality_after": 0.9})
        strength = (2.0, 1.0, 0.0) if seed == 1 else (1.0, 2.0, 0.0)
        for pathway, value in zip(PATHWAYS, strength, strict=True):
            for patient, sign in (("P000", 1), ("P001", -1)):
                rows["pathway_attributions"].append({**key, "patient_id": patient, "pathway": pathway, "attribution": sign * value})
            rows["pathway_attention"].append({**key, "pathway": pathway, "attention": value / 6})
            for prototype, weight in enumerate(WEIGHTS[pathway], start=1):
                rows["pathway_prototypes"].append({**key, "pathway": pathway, "prototype": prototype, "weight": weight})
        for gene, value in zip(GENES, strength, strict=False):
            rows["gene_attributions"].append({**key, "kind": "rna", "gene": gene, "strength": value, "mean": -value})
        for modality, taken in OCCUPIED.items():
            for prototype, share in enumerate(taken, start=1):
                place = {"bank": "shared", "modality": modality, "prototype": prototype, "x": 1.0 * prototype, "y": seed + fold}
                rows["prototypes"].append({**key, **place, "share": share})
            for step in ("before", "after"):
                rows["tokens"].append({**key, "step": step, "modality": modality, "prototype": 1, "x": 0.5, "y": 0.25})
    return rows


def with_evidence(run: RunFolder) -> RunFolder:
    """The run with evidence of tta."""
    tables = {name: labelled(pd.DataFrame(rows, columns=list(TABLES[name]))) for name, rows in evidence_rows().items()}
    return replace(run, evidence=tables)


RECIPE = """
[study]
models = ["clinical", "tta"]

[[study.variants]]
name = "weight-2"
models = ["tta"]
set = { "model.tta.contrast_weight" = 2.0 }

[[study.variants]]
name = "weight-0.02"
models = ["tta"]
set = { "model.tta.contrast_weight" = 0.02 }

[[study.variants]]
name = "cross"
models = ["tta"]
set = { "model.tta.co_attention" = "cross" }

[[study.variants]]
name = "neither"
set = { "model.tta.apart" = false, "model.tta.together" = false }
"""
CONCORDANCE = {"weight-2": 0.64, "weight-0.02": 0.66, "cross": 0.63, "neither": 0.60}


def with_variants(run: RunFolder) -> RunFolder:
    """The run with four variants of tta, whose base has a contrast weight of 0.5 and full co-attention."""
    base = run.comparison[(run.comparison.label == "tta") & (run.comparison.metric == "concordance")]
    parts = [
        base.assign(variant=name, label=f"tta@{name}", mean=value, low=value - 0.05, high=value + 0.05)
        for name, value in CONCORDANCE.items()
    ]
    fits = {(COHORT, "tta"): FitFacts(config={"contrast_weight": 0.5, "co_attention": "full"}, training={"batch_size": 32})}
    return replace(run, comparison=pd.concat([run.comparison, *parts], ignore_index=True), recipe=RECIPE, fits=fits)
