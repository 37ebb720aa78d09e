"""The table of models: one paper, one file, one or more presets. Written out, so that tests find every entry."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A model or preset of the table.

    Args:
        name: what a recipe calls it.
        path: module and class.
        paper: what to cite.
        summary: what it does, in a few words.
        config: values that the preset sets in the model's config.
        training: values that the preset sets in the training recipe.
        inputs: values that the preset sets in how patients become bags.
        selection: how the preset chooses its epoch, where its paper does so.
    """

    name: str
    path: str
    paper: str
    summary: str
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    selection: str | None = None

    def load(self) -> Any:
        """The model class; imports torch."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


_TTA = "Liu et al., Together, Then Apart: Revisiting Multimodal Survival Analysis via a Min-Max Perspective"

_MCTI = "Jiang et al., Multimodal Cross-Task Interaction for Survival Analysis in Whole Slide Pathological Images"

_MUST = "Kim and Hwang, MUST: Modality-Specific Representation-Aware Transformer, arXiv:2603.26071"

MODELS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("null", "prognos.models.null:Null", "Kaplan and Meier 1958", "one curve for everyone"),
        Entry("clinical", "prognos.models.clinical:Clinical", "Cox 1972", "age, sex, stage, grade; ridge Cox"),
        Entry("snn", "prognos.models.snn:SNN", "Klambauer et al. 2017", "genes alone"),
        Entry("abmil", "prognos.models.abmil:ABMIL", "Ilse et al. 2018", "patches alone, attention pooling"),
        Entry("late-fusion", "prognos.models.late_fusion:LateFusion", "", "mean of the z-scored risks of snn and abmil"),
        Entry("tta", "prognos.models.tta:TTA", _TTA, "shared prototypes by transport, then anchors; recommended settings"),
        Entry(
            "tta-paper",
            "prognos.models.tta:TTA",
            _TTA,
            "TTA as printed",
            config={"heads": 5, "kl_weight": 0.1, "plan_scale": "printed", "refiner_residual": False, "co_attention": "cross"},
            training={"warmup": 0.0, "evaluation_patches": 4096},
            inputs={"omics_kinds": ("rna",), "n_patches": 4096},
        ),
        Entry(
            "tta-released",
            "prognos.models.tta:TTA",
            _TTA,
            "TTA as its logged run was configured",
            config={
                "kl_weight": 1.0,
                "semantic_weight": 0.1,
                "renormalise": True,
                "heads": 5,
                "project_prototypes": False,
                "project_anchors": False,
                "refiner_residual": False,
                "co_attention": "legacy",
                "mass_evaluation": "base",
            },
            training={"warmup": 0.5, "evaluation_patches": 4096},
            inputs={"omics_kinds": ("rna",), "n_patches": 4096},
            selection="oracle",
        ),
        Entry(
            "must",
            "prognos.models.must:MUST",
            _MUST,
            "specific and shared components, missing ones recovered or generated; recommended settings",
            training={"learning_rate": 5e-4, "batch_size": 8},
        ),
        Entry(
            "must-paper",
            "prognos.models.must:MUST",
            _MUST,
            "MUST as printed",
            config={
                "decomposed": "free",
                "warm_up_rate": 5.0,
                "specific": "nystrom",
                "condition": "cross",
                "denoiser": "joint",
                "generator_steps": 1_000_000,
                "generator_batch": 32,
                "generator_patience": None,
            },
            training={
                "learning_rate": 2e-4,
                "batch_size": 1,
                "accumulate": 32,
                "schedule": "constant",
                "warmup": 0.0,
                "weight_decay": 1e-5,
                "epochs": 30,
            },
        ),
        Entry(
            "mcti",
            "prognos.models.mcti:MCTI",
            _MCTI,
            "subtype and survival learnt together, patches chosen by subtype; recommended settings",
            training={"learning_rate": 2e-4, "batch_size": 8},
        ),
        Entry(
            "mcti-paper",
            "prognos.models.mcti:MCTI",
            _MCTI,
            "MCTI as far as figures and published code tell",
            training={"learning_rate": 2e-4, "batch_size": 1, "accumulate": 32, "schedule": "constant", "warmup": 0.0, "epochs": 20},
        ),
    )
}


def entry_of(name: str) -> Entry:
    """The entry called `name`.

    Raises:
        ValueError: there is none; the nearest name is given.
    """
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.3)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"no model is called {name!r}{hint} Known: {', '.join(MODELS)}.")
