"""What every model of the table fulfils. A model knows no device, no file, no clock and, in `forward`, no label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from prognos.risk import CoxHead, DiscreteHead, MarginalHead, survival_head
from prognos.types import Bag, InputShape, Prediction, Progress, Stage, Survival, TrainingFold

Beside = tuple[Tensor, Survival] | None
"""Constant risks and survival of patients in the other batches of a window; only losses that share risk sets use it."""


class ModelConfig(BaseModel):
    """Base of every model's frozen config: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "ModelConfig":
        """Numbers of heads (fields marked so) that d_model cannot be divided by are refused."""
        width = getattr(self, "d_model", None)
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("share") == "d_model" and width % getattr(self, name):
                raise ValueError(
                    f"{name} = {getattr(self, name)} cannot share a width of d_model = {width}: choose a {name} that it is a multiple of."
                )
        return self

    @property
    def as_released(self) -> tuple[str, ...]:
        """The settings with which the model repeats a fault of its published code: fields that name that value as `legacy`."""
        extras = {name: field.json_schema_extra for name, field in type(self).model_fields.items()}
        faults = {name: extra["legacy"] for name, extra in extras.items() if isinstance(extra, dict) and "legacy" in extra}
        return tuple(f"{name} = {value}" for name, value in faults.items() if getattr(self, name) == value)


class HeadConfig(ModelConfig):
    """Config of a model whose survival head may be any: the common recipe has Cox's, a publication often the discrete one."""

    survival: Literal["cox", "discrete"] = Field("cox", description="survival model of the head")
    n_bins: int = Field(4, ge=2, description="time bins of the discrete head")
    censored_weight: float = Field(1.0, ge=0, le=1, description="weight of the censored in the discrete likelihood")

    def head(self, d_in: int) -> CoxHead | DiscreteHead:
        """The head on features of width `d_in`."""
        return survival_head(self.survival, d_in, n_bins=self.n_bins, censored_weight=self.censored_weight)


@dataclass(frozen=True)
class Needs:
    """What a model reads from a bag and what must be fitted before it.

    Args:
        modalities: keys of the bag that `forward` reads.
        omics: whether its omics come as one flat vector of genes or as pathway tokens.
        gene_set: collection of gene sets that its pathways come from.
        parts: models of the table that are fitted first and that it is made of.
        complete: whether it cannot do without any of its modalities; what a patient lacks is then filled in by a stated policy.
        subtype: whether it learns the tumour's subtype too, where the cohort has classes.
    """

    modalities: tuple[str, ...]
    omics: Literal["pathways", "genes"] = "genes"
    gene_set: str | None = None
    parts: tuple[str, ...] = ()
    complete: bool = False
    subtype: bool = False


@dataclass(frozen=True)
class PatchMap:
    """One number for each patch of a patient: where a model looked, or what it took a patch for.

    Args:
        name: unique among the maps of a model: `attention`, `prototype 3`.
        meaning: what the number is, in one sentence with its range.
        values: in the order of the patient's rows in the bag.
        family: what the map is one of, for maps that divide each patch between them: `prototype`; empty for a map that stands alone.
    """

    name: str
    meaning: str
    values: Float[Tensor, " patches"]
    family: str = ""


def attention_map(attention: Float[Tensor, " patches"]) -> PatchMap:
    """The map of the weights by which a patient's patches were pooled."""
    return PatchMap("attention", "weight of the patch in the patient's embedding; sums to 1 over the patient", attention)


def prototype_maps(weights: Float[Tensor, "patches prototypes"], meaning: str) -> tuple[PatchMap, ...]:
    """One map a prototype, which together divide each patch."""
    return tuple(PatchMap(f"prototype {k + 1}", meaning, weights[:, k], "prototype") for k in range(weights.shape[1]))


class Model(nn.Module):
    """The contract. Subclasses are final; this class is never built."""

    Config: ClassVar[type[ModelConfig]]
    needs: Needs
    """Of the default config on the class; of its own config on a model."""
    head: CoxHead | DiscreteHead | MarginalHead
    ordered: ClassVar[bool] = False
    """True for a model to which the order of a patient's patches means something."""
    keeps_patients: ClassVar[bool] = False
    """True for a model that keeps something of each training patient, and so must not leave those who may see these patients."""
    trained: ClassVar[bool] = True
    """False for a model that learns everything in `learn`, in closed form, and has no stage of training."""

    def __init__(self, config: ModelConfig, shape: InputShape):
        super().__init__()
        self.config = config
        self.needs = self.needs_of(config)

    @classmethod
    def needs_of(cls, config: Any) -> Needs:
        """What a model of this config reads; the same for every config in most models."""
        return cls.needs

    @property
    def filled_by(self) -> str:
        """How a modality that a patient lacks is made up for, in words."""
        return "nothing: predicted from the rest"

    def stages(self, epochs: int, learning_rate: float) -> tuple[Stage, ...]:
        """The stages of training, in order; one by default."""
        return (Stage("main", epochs, learning_rate),)

    def learn(self, train: TrainingFold) -> None:
        """What is learnt from the training fold before training: time bins here, prototypes in some models."""
        self.head.learn_marginal(train.survival)

    def begin_epoch(self, train: TrainingFold, progress: Progress) -> None:
        """What is learnt anew from the training fold before each epoch: nothing for most models."""

    def end_epoch(self, train: TrainingFold, progress: Progress) -> None:
        """What is learnt anew after each epoch, for the predictions that follow: nothing for most models."""

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The prediction for a bag; `progress` is None outside training, and schedules then stand at their final value."""
        raise NotImplementedError

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The weighted terms of the paper's total loss, whose sum training minimises: `survival`, alone unless a model says more."""
        return {"survival": self.head.loss(self(bag, progress), survival, beside)}

    def draws(self, bag: Bag, n_draws: int) -> tuple[Prediction, ...]:
        """Predictions that each rest on one draw of what a patient lacks; none where a model draws nothing."""
        return ()

    def similarities(self, prediction: Prediction) -> dict[tuple[str, str], Float[Tensor, " batch"]]:
        """Cosines of vectors in the evidence, by the names of the two; NaN for patients who lack one. Most models show none."""
        return {}

    def gene_groups(self) -> Float[Tensor, "genes groups"] | None:
        """Share of each feature of the flat omics vector in each group that was learnt; None in models that learn none."""
        return None

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The maps over the patches of one patient of a bag, from the evidence of its prediction. Some models show none.

        Args:
            bag: what was predicted.
            prediction: what `forward` said of the bag.
            patient: place of the patient in the bag; one who has patches.
        """
        return ()

    def prototype_banks(self) -> Mapping[str, Float[Tensor, "prototypes d_model"]]:
        """The learnt prototypes by the name of their bank, `shared` or a modality; none in most models."""
        return {}

    def prototype_weights(self, prediction: Prediction, patient: int) -> Mapping[str, Float[Tensor, "tokens prototypes"]]:
        """By modality, the weight of each token of one patient in each prototype, from 0 to 1; none in models without prototypes."""
        return {}

    def steps_of_tokens(self, prediction: Prediction) -> Mapping[tuple[str, str], Float[Tensor, "batch tokens d_model"]]:
        """Tokens that a step of the model moves, by (`before` or `after` the step, modality); most models show none."""
        return {}

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """How much the risk looks at each pathway token, at most 1 in sum; of patients with omics. None in models that do not attend."""
        return None

    def trained_in(self, stage: Stage) -> Iterable[tuple[str, nn.Parameter]]:
        """The parameters, by name, that a stage trains: all of them in most models."""
        return self.named_parameters()

    def unread(self, stage: Stage) -> tuple[str, ...]:
        """Keys of the config that this stage and those before it do not read."""
        return ()

    def settled(self, stage: Stage) -> Iterable[str] | None:
        """Names of the state that is final after a stage, where fits that differ in `unread` keys may share it; None otherwise."""
        return None

    def latents(self, train: TrainingFold, stage: Stage) -> Mapping[str, Tensor]:
        """What a stage on latents trains on: tensors with one row a patient, computed once at its start."""
        raise NotImplementedError

    def latent_losses(self, rows: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """The weighted terms of a stage on latents for some of these rows."""
        raise NotImplementedError

    def after_step(self, progress: Progress) -> None:
        """What follows an optimiser step: an average of the weights in some models."""

    def finish(self, train: TrainingFold, risk: Float[Tensor, " batch"]) -> None:
        """What is learnt after training from the training fold's risks: the baseline hazard."""
        self.head.learn_baseline(risk, train.survival)
