"""What `bundle.json` says of a bundle."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
"""Version of the layout of a bundle; a newer one is refused."""

MANIFEST = "bundle.json"
CARD = "model-card.md"
SPREADS = "training.safetensors"

RISK_LEVELS = tuple(range(5, 100, 5))
"""Percentiles of the risks of patients whom a model was not trained on; the ends are left out, since they are single patients."""


class Part(BaseModel):
    """Base of everything in a manifest: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(Part):
    """One fitted model of a bundle.

    Args:
        place: its folder inside the bundle.
        seed: of weights, batches and dropout.
        fold: the fold that it was tested on; None when it was fitted on all patients.
        threshold: its median training risk.
        risks: risks at `RISK_LEVELS`, of the patients of its test fold; of all training patients when it was fitted on all.
    """

    place: str
    seed: int
    fold: int | None
    threshold: float
    risks: tuple[float, ...] = Field(min_length=len(RISK_LEVELS), max_length=len(RISK_LEVELS))


class FittedOn(Part):
    """The cohort of a bundle in plain numbers.

    Args:
        name: of the cohort.
        endpoint: what is predicted.
        patients: in all folds.
        events: observed events among them.
        median_follow_up_days: by reverse Kaplan-Meier; None where it is not reached.
        modalities: how many patients have each modality.
        site_preserving: whether no site lies in two folds.
        n_folds: of the study.
        detectable_difference: the smallest difference in C-index that the study can tell from none; None where it is not known.
    """

    name: str
    endpoint: str
    patients: int
    events: int
    median_follow_up_days: float | None
    modalities: dict[str, int]
    site_preserving: bool
    n_folds: int
    detectable_difference: float | None = None


class Encoder(Part):
    """Where patch features come from: the name that the feature files give (empty when they do not), and their width (0: not read)."""

    name: str
    d_patch: int


class HeldOut(Part):
    """What the study says of the model on patients whom it was not trained on.

    Args:
        rows: rows of comparison.csv, of the model, of the clinical model and of the null model; null for what is not known.
        selection: how epochs were chosen: last, inner or oracle.
        reference: the model that differences are taken to.
    """

    rows: tuple[dict[str, Any], ...]
    selection: str
    reference: str


class Manifest(Part):
    """All of `bundle.json`.

    Args:
        format: version of the layout.
        prognos: version that wrote it.
        model: entry of the table of models.
        variant: `base`, or the name of an ablation.
        kind: `ensemble` of the models of every fold and seed, or `refit` on all patients.
        fitted_on: the cohort.
        encoder: of the patch features.
        genes: how many features of each omics data type are read.
        members: the fitted models.
        held_out: numbers of the study.
        training: ranges of the training patients; see `TrainingSummary`.
        versions: of the packages that it was fitted with.
        files: SHA-256 of every other file of the bundle.
        sha256: of all of the above.
    """

    format: int
    prognos: str
    model: str
    variant: str
    kind: Literal["ensemble", "refit"]
    fitted_on: FittedOn
    encoder: Encoder
    genes: dict[str, int]
    members: tuple[Member, ...] = Field(min_length=1)
    held_out: HeldOut
    training: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]
    sha256: str

    @property
    def label(self) -> str:
        """`MODEL`, or `MODEL@VARIANT`."""
        return self.model if self.variant == "base" else f"{self.model}@{self.variant}"
