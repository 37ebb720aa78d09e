"""The evidence of one fitted model: of a bounded number of held-out patients, as the tables of `prognos.evidence.tables`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from prognos import runtime
from prognos.cohort import Cohort
from prognos.evidence.attributions import OmicsAttributions, long_form, omics_attributions, pathways_of
from prognos.evidence.embedding import plane_of, same_kind_nearby
from prognos.evidence.tables import OF_FIT, TABLES
from prognos.metrics.occupancy import effective_number
from prognos.training import Fitted
from prognos.training.fold import having_any
from prognos.types import Bag, Prediction

MOST_PATIENTS = 24
"""Held-out patients of a fit that are looked at."""

MOST_GENES = 500
"""Features of a fit that are kept, the strongest."""

MOST_TOKENS = 150
"""Tokens of each modality that a t-SNE arranges."""

DIGITS = 6


@dataclass
class _Seen:
    """What was seen of the patients so far; lists have an entry a patient."""

    first: dict[str, list[np.ndarray]] = field(default_factory=dict)
    pathway_weights: list[np.ndarray] = field(default_factory=list)
    attention: list[np.ndarray] = field(default_factory=list)
    tokens: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)


def shows_evidence(fitted: Fitted) -> bool:
    """Whether there is anything to collect: genes to attribute to, or prototypes."""
    return fitted.inputs.omics is not None or bool(fitted.model.prototype_banks())


def patients_looked_at(cohort: Cohort, tested: Sequence[str], fold: int, *, most: int = MOST_PATIENTS) -> tuple[str, ...]:
    """The tested patients of whom evidence is collected: all, or `most` of them, those with every modality before the others.

    The draw depends on the cohort's name and the fold only, so that fits of several models and seeds are asked of the same patients.
    """
    order = runtime.generator("evidence", cohort.name, fold).permutation(len(tested))
    drawn = [sorted(tested)[place] for place in order]
    measured = np.sum([having_any(cohort.subset(drawn), (name,)) for name in ("histology", "omics")], axis=0)
    chosen = [drawn[place] for place in np.argsort(-measured, kind="stable")[:most]]
    return tuple(sorted(chosen))


def evidence_of(fitted: Fitted, cohort: Cohort, patients: Sequence[str], keys: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables of one fitted model by their names; those of which it shows nothing are left out.

    Args:
        fitted: the model.
        cohort: has the patients, and gene sets for models that read genes without pathways.
        patients: whom it was not trained on.
        keys: what the rows are of: model, variant, cohort, seed, fold.
    """
    seen = _seen(fitted, cohort, patients)
    found: dict[str, pd.DataFrame] = {}
    numbers: dict[str, Any] = {"patients": len(patients), "patients_with_omics": 0, "features": 0, "unexplained": np.nan}
    has_omics = having_any(cohort.subset(tuple(patients)), ("omics",), fitted.inputs.config.omics_kinds)
    if fitted.inputs.omics is not None and has_omics.any():
        attributions = omics_attributions(fitted, cohort, patients)
        numbers |= {
            "patients_with_omics": len(attributions.patients),
            "features": len(attributions.schema.features),
            "unexplained": attributions.unexplained,
        }
        by_pathway = attributions.by_pathway(pathways_of(cohort))
        found |= {"gene_attributions": _genes(attributions)} | ({} if by_pathway.empty else {"pathway_attributions": long_form(by_pathway)})
    if seen.attention:
        found["pathway_attention"] = _of_pathways(fitted, np.mean(seen.attention, axis=0), "attention")
    if seen.pathway_weights:
        found["pathway_prototypes"] = _pathway_prototypes(fitted, np.mean(seen.pathway_weights, axis=0))
    if seen.first:
        found["prototypes"] = _prototypes(fitted, {m: np.mean(rows, axis=0) for m, rows in seen.first.items()})
    places, apart = _token_places(seen)
    found |= {} if places.empty else {"tokens": places}
    found["fits"] = pd.DataFrame([{**numbers, **apart}])
    return {name: _rounded(table.assign(**keys)[list(TABLES[name])]) for name, table in found.items()}


def prototype_use(fitted: Fitted, cohort: Cohort, patients: Sequence[str]) -> dict[str, dict[str, int | float]]:
    """Of each modality: its prototypes, how many of them are in use (`effective`) and the largest share of tokens that one takes first.

    Args:
        fitted: the model.
        cohort: has the patients.
        patients: whom it was not trained on; shares are means over them.
    """
    seen = _Seen()
    for bag, prediction in fitted.predictions(cohort, patients):
        _see_prototypes(seen, fitted, bag, prediction)
    shares = {modality: np.mean(rows, axis=0) for modality, rows in seen.first.items()}
    return {
        m: {"prototypes": len(of), "effective": round(effective_number(of), 3), "largest": round(float(of.max()), 4)}
        for m, of in shares.items()
    }


def _seen(fitted: Fitted, cohort: Cohort, patients: Sequence[str]) -> _Seen:
    seen = _Seen()
    for bag, prediction in fitted.predictions(cohort, patients):
        _see_prototypes(seen, fitted, bag, prediction)
        attention = fitted.model.pathway_attention(bag, prediction)
        if attention is not None:
            seen.attention += list(attention[bag["omics"].present].cpu().numpy())
        for (step, modality), vectors in fitted.model.steps_of_tokens(prediction).items():
            seen.tokens.setdefault((step, modality), []).extend(vectors[bag[modality].present].cpu().numpy())
    return seen


def _see_prototypes(seen: _Seen, fitted: Fitted, bag: Bag, prediction: Prediction) -> None:
    """Which prototype takes each token first, as shares of a patient's tokens; of pathways the weights too."""
    for patient in range(len(bag)):
        for modality, weights in fitted.model.prototype_weights(prediction, patient).items():
            if not bool(bag[modality].present[patient]):
                continue
            first = torch.bincount(weights.argmax(dim=1), minlength=weights.shape[1]) / len(weights)
            seen.first.setdefault(modality, []).append(first.cpu().numpy())
            if modality == "omics" and fitted.inputs.pathways:
                seen.pathway_weights.append(weights.cpu().numpy())


def _genes(attributions: OmicsAttributions) -> pd.DataFrame:
    """The strongest features."""
    values = attributions.by_feature()
    table = pd.DataFrame(list(attributions.schema.features), columns=["kind", "gene"])
    table = table.assign(strength=np.abs(values).mean(axis=0), mean=values.mean(axis=0))
    return table.sort_values(["strength", "kind", "gene"], ascending=[False, True, True], kind="stable").head(MOST_GENES)


def _of_pathways(fitted: Fitted, values: np.ndarray, name: str) -> pd.DataFrame:
    assert fitted.inputs.omics is not None, "pathways come from omics"
    return pd.DataFrame({"pathway": list(fitted.inputs.omics.schema.pathways), name: values})


def _pathway_prototypes(fitted: Fitted, weights: np.ndarray) -> pd.DataFrame:
    n_prototypes = weights.shape[1]
    table = _of_pathways(fitted, weights[:, 0], "weight")
    table = table.loc[table.index.repeat(n_prototypes)].reset_index(drop=True)
    return table.assign(prototype=np.tile(np.arange(1, n_prototypes + 1), len(weights)), weight=weights.ravel())


def _prototypes(fitted: Fitted, shares: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Places of each bank, and the shares of the modalities that use it."""
    parts = []
    for bank, vectors in fitted.model.prototype_banks().items():
        places = plane_of(vectors.double().cpu().numpy())
        for modality, share in shares.items():
            if bank in ("shared", modality):
                own = {"bank": bank, "modality": modality, "prototype": np.arange(1, len(places) + 1)}
                parts.append(pd.DataFrame({**own, "x": places[:, 0], "y": places[:, 1], "share": share}))
    return pd.concat(parts, ignore_index=True)


def _token_places(seen: _Seen) -> tuple[pd.DataFrame, dict[str, float]]:
    """Some tokens in a plane for each step, the same ones in all of them, and how far the modalities lie apart."""
    apart = {"same_modality_before": np.nan, "same_modality_after": np.nan}
    parts = []
    for step in dict.fromkeys(step for step, _ in seen.tokens):
        drawn = list(_drawn({modality: rows for (of, modality), rows in seen.tokens.items() if of == step}))
        if len(drawn) < 2:
            continue
        vectors = np.concatenate([rows for _, rows, _ in drawn]).astype(np.float64)
        names = np.concatenate([np.repeat(modality, len(rows)) for modality, rows, _ in drawn])
        apart[f"same_modality_{step}"] = same_kind_nearby(vectors, names)
        places = plane_of(vectors)
        prototype = np.concatenate([numbers for _, _, numbers in drawn])
        parts.append(pd.DataFrame({"step": step, "modality": names, "prototype": prototype, "x": places[:, 0], "y": places[:, 1]}))
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), apart


def _drawn(tokens: Mapping[str, Sequence[np.ndarray]]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each modality at most `MOST_TOKENS` tokens of all patients, with the number of their prototype."""
    for modality, of_patients in tokens.items():
        if of_patients:
            rows = np.concatenate(of_patients)
            numbers = np.tile(np.arange(1, len(of_patients[0]) + 1), len(of_patients))
            chosen = runtime.generator("tokens", modality).permutation(len(rows))[:MOST_TOKENS]
            yield modality, rows[chosen], numbers[chosen]


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Six significant digits: files that compress, and nothing beyond what the computation holds."""
    numbers = [name for name in table.select_dtypes("floating") if name not in OF_FIT]
    return table.assign(**{name: [float(f"{value:.{DIGITS}g}") for value in table[name]] for name in numbers})
