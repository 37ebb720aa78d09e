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


_EVERY_PATCH = 1_000_000
"""More patches than any patient has."""

_TTA = "Liu et al., Together, Then Apart: Revisiting Multimodal Survival Analysis via a Min-Max Perspective"

_LEVEL = {"schedule": "constant", "warmup": 0.0}
"""One learning rate throughout."""

_COMMON = {**_LEVEL, "epochs": 20, "learning_rate": 2e-4, "optimiser": "adam", "balance": "time"}
"""What MCAT and the models that descend from it have in common; batches of one patient, 32 in a step."""

_ATTNMISL = "Yao et al., AttnMISL, Medical Image Analysis 2020"

_CLAM = "Lu et al., CLAM, Nature Biomedical Engineering 2021"

_CMTA = "Zhou and Chen, CMTA, ICCV 2023"

_HIPT = "Chen et al., HIPT, CVPR 2022"

_MCAT = "Chen et al., Multimodal co-attention transformer, ICCV 2021"

_MOTCAT = "Xu and Chen, MOTCat, ICCV 2023"

_OTSURV = "Ren et al., OTSurv, MICCAI 2025"

_SURVPATH = "Jaume et al., SurvPath, CVPR 2024"

_LDCVAE = "Zhou et al., LD-CVAE, CVPR 2025"

_MMP = "Song et al., Multimodal prototyping, ICML 2024"

_PIBD = "Zhang et al., PIBD, ICLR 2024"

_PANTHER = "Song et al., PANTHER, CVPR 2024"

_TRANSMIL = "Shao et al., TransMIL, NeurIPS 2021"

_SHASPEC = "Wang et al., ShaSpec, CVPR 2023"

_SMIL = "Ma et al., SMIL, AAAI 2021"

_M3CARE = "Zhang et al., M3Care, KDD 2022"

_ADAPTED = {**_LEVEL, "optimiser": "adam", "learning_rate": 1e-3, "epochs": 30, "batch_size": 1}
"""How MUST's authors trained the models for missing modalities, which were published for other data."""

_MCTI = "Jiang et al., Multimodal Cross-Task Interaction for Survival Analysis in Whole Slide Pathological Images"

_MUST = "Kim and Hwang, MUST: Modality-Specific Representation-Aware Transformer, arXiv:2603.26071"

MODELS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("null", "prognos.models.null:Null", "Kaplan and Meier 1958", "one curve for everyone"),
        Entry("clinical", "prognos.models.clinical:Clinical", "Cox 1972", "age, sex, stage, grade; ridge Cox"),
        Entry("snn", "prognos.models.snn:SNN", "Klambauer et al. 2017", "genes alone"),
        Entry(
            "snn-paper",
            "prognos.models.snn:SNN",
            "Klambauer et al. 2017",
            "SNN as MCAT trained it",
            config={"survival": "discrete"},
            training={**_COMMON, "batch_size": 1, "accumulate": 32},
        ),
        Entry("abmil", "prognos.models.abmil:ABMIL", "Ilse et al. 2018", "patches alone, attention pooling"),
        Entry(
            "abmil-paper",
            "prognos.models.abmil:ABMIL",
            "Ilse et al. 2018",
            "ABMIL as PANTHER trained it",
            config={"survival": "discrete", "censored_weight": 0.5},
            training={"learning_rate": 1e-4, "weight_decay": 1e-5, "epochs": 20, "batch_size": 1, "accumulate": 32, "warmup": 0.0},
        ),
        Entry("mlp", "prognos.models.mlp:MLP", _SURVPATH, "genes alone, two dense layers"),
        Entry(
            "mlp-paper",
            "prognos.models.mlp:MLP",
            _SURVPATH,
            "MLP as SurvPath trained it",
            config={"survival": "discrete", "censored_weight": 0.5},
            training={"optimiser": "radam", "learning_rate": 5e-4, "weight_decay": 1e-4, "epochs": 5, "balance": "time"},
        ),
        Entry("snntrans", "prognos.models.snntrans:SNNTrans", "row of TTA's tables; ours", "pathways alone, transformer"),
        Entry("transmil", "prognos.models.transmil:TransMIL", _TRANSMIL, "patches alone, attention through landmarks"),
        Entry(
            "transmil-paper",
            "prognos.models.transmil:TransMIL",
            _TRANSMIL,
            "TransMIL as printed, with a survival head",
            config={"d_model": 512, "landmarks": 256, "zeros_in_front": True, "survival": "discrete"},
            training={**_LEVEL, "optimiser": "radam", "learning_rate": 2e-4, "epochs": 200, "batch_size": 1},
        ),
        Entry("attnmisl", "prognos.models.attnmisl:AttnMISL", _ATTNMISL, "patches alone, attention over kinds of patches"),
        Entry(
            "attnmisl-paper",
            "prognos.models.attnmisl:AttnMISL",
            _ATTNMISL,
            "AttnMISL as published",
            training={**_LEVEL, "optimiser": "adam", "learning_rate": 1e-4, "weight_decay": 5e-4, "epochs": 100, "batch_size": 16},
        ),
        Entry("clam", "prognos.models.clam:CLAM", _CLAM, "patches alone, attention and its extremes told apart"),
        Entry(
            "clam-paper",
            "prognos.models.clam:CLAM",
            _CLAM,
            "CLAM as published, with a survival head",
            config={"survival": "discrete"},
            training={**_LEVEL, "optimiser": "adam", "learning_rate": 2e-4, "batch_size": 1},
        ),
        Entry("otsurv", "prognos.models.otsurv:OTSurv", _OTSURV, "patches transported to learnt prototypes, the surest first"),
        Entry(
            "otsurv-paper",
            "prognos.models.otsurv:OTSurv",
            _OTSURV,
            "OTSurv as printed",
            training={"learning_rate": 1e-4, "epochs": 50, "batch_size": 16, "warmup": 0.02},
            inputs={"n_patches": _EVERY_PATCH},
        ),
        Entry("hipt", "prognos.models.hipt:HIPT", _HIPT, "patches make regions, and regions the slide"),
        Entry(
            "hipt-paper",
            "prognos.models.hipt:HIPT",
            _HIPT,
            "HIPT as published, the local transformer trained with the rest",
            config={"survival": "discrete"},
            training={**_COMMON, "batch_size": 1, "accumulate": 32},
            inputs={"n_patches": _EVERY_PATCH},
        ),
        Entry("mcat", "prognos.models.mcat:MCAT", _MCAT, "groups of genes look at patches"),
        Entry(
            "mcat-paper",
            "prognos.models.mcat:MCAT",
            _MCAT,
            "MCAT as published",
            config={"survival": "discrete"},
            training={**_COMMON, "batch_size": 1, "accumulate": 32},
        ),
        Entry("motcat", "prognos.models.motcat:MOTCat", _MOTCAT, "groups of genes and patches matched by transport"),
        Entry(
            "motcat-paper",
            "prognos.models.motcat:MOTCat",
            _MOTCAT,
            "MOTCat as published",
            config={"survival": "discrete"},
            training={**_COMMON, "batch_size": 1, "accumulate": 32},
        ),
        Entry("cmta", "prognos.models.cmta:CMTA", _CMTA, "patches and groups of genes told in each other's words"),
        Entry(
            "cmta-paper",
            "prognos.models.cmta:CMTA",
            _CMTA,
            "CMTA as published",
            config={"survival": "discrete"},
            training={**_LEVEL, "optimiser": "sgd", "learning_rate": 1e-3, "epochs": 30, "balance": "time", "batch_size": 1},
        ),
        Entry("survpath", "prognos.models.survpath:SurvPath", _SURVPATH, "pathways look at patches and back"),
        Entry(
            "survpath-paper",
            "prognos.models.survpath:SurvPath",
            _SURVPATH,
            "SurvPath as published",
            config={"survival": "discrete", "censored_weight": 0.5},
            training={
                **_LEVEL,
                "optimiser": "radam",
                "learning_rate": 5e-4,
                "weight_decay": 1e-3,
                "epochs": 5,
                "balance": "time",
                "batch_size": 1,
            },
            inputs={"n_patches": 4096, "omics_kinds": ("rna",)},
        ),
        Entry("panther", "prognos.models.panther:PANTHER", _PANTHER, "patches alone, as a mixture of kinds of tissue; linear"),
        Entry(
            "panther-paper",
            "prognos.models.panther:PANTHER",
            _PANTHER,
            "PANTHER as published, all patches",
            config={"prototype_patches": 100_000},
            training={"learning_rate": 1e-4, "weight_decay": 1e-5, "epochs": 50, "batch_size": 64, "warmup": 0.0},
            inputs={"n_patches": 100_000},
        ),
        Entry("mmp", "prognos.models.mmp:MMP", _MMP, "kinds of tissue and pathways look at each other"),
        Entry(
            "mmp-paper",
            "prognos.models.mmp:MMP",
            _MMP,
            "MMP as published, all patches",
            config={"prototype_patches": 100_000},
            training={"learning_rate": 1e-4, "weight_decay": 1e-5, "epochs": 50, "batch_size": 64, "warmup": 0.02},
            inputs={"n_patches": 100_000, "omics_kinds": ("rna",)},
        ),
        Entry("shaspec", "prognos.models.shaspec:ShaSpec", _SHASPEC, "shared and specific vectors; the shared one stands in"),
        Entry(
            "shaspec-paper",
            "prognos.models.shaspec:ShaSpec",
            _SHASPEC,
            "ShaSpec as MUST's authors trained it",
            config={"survival": "discrete"},
            training=_ADAPTED,
        ),
        Entry("smil", "prognos.models.smil:SMIL", _SMIL, "a mix of centres stands in, learnt through a step without"),
        Entry(
            "smil-paper",
            "prognos.models.smil:SMIL",
            _SMIL,
            "SMIL as MUST's authors trained it",
            config={"survival": "discrete"},
            training={**_ADAPTED, "epochs": 50, "batch_size": 32},
        ),
        Entry("m3care", "prognos.models.m3care:M3Care", _M3CARE, "similar training patients stand in"),
        Entry(
            "m3care-paper",
            "prognos.models.m3care:M3Care",
            _M3CARE,
            "M3Care as MUST's authors trained it",
            config={"survival": "discrete"},
            training=_ADAPTED,
        ),
        Entry("pibd", "prognos.models.pibd:PIBD", _PIBD, "tokens like a class of patients go on; common and own told apart"),
        Entry(
            "pibd-paper",
            "prognos.models.pibd:PIBD",
            _PIBD,
            "PIBD as published",
            config={"survival": "discrete", "censored_weight": 0.5},
            training={**_LEVEL, "optimiser": "adam", "learning_rate": 5e-4, "weight_decay": 1e-3, "epochs": 30, "batch_size": 32},
            inputs={"n_patches": 4096, "omics_kinds": ("rna",)},
        ),
        Entry("ld-cvae", "prognos.models.ld_cvae:LDCVAE", _LDCVAE, "groups of genes are decoded, also where there are none"),
        Entry(
            "ld-cvae-paper",
            "prognos.models.ld_cvae:LDCVAE",
            _LDCVAE,
            "LD-CVAE as published",
            config={"survival": "discrete"},
            training={**_COMMON, "batch_size": 1},
        ),
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
                **_LEVEL,
                "learning_rate": 2e-4,
                "batch_size": 1,
                "accumulate": 32,
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
            training={**_LEVEL, "learning_rate": 2e-4, "batch_size": 1, "accumulate": 32, "epochs": 20},
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
