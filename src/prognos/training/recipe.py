"""How a model is trained: the common recipe of a study, which a preset or a user may override."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """The common training recipe; a model's own is its preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(30, ge=0, description="passes over the training fold")
    stop_after: int | None = Field(
        None, ge=1, description="stop after so many epochs of the main stage; its schedules stay those of `epochs`"
    )
    missing: str = Field("none", description='what training patients are taken not to have: "omics=0.2" and so on, drawn by seed')
    batch_size: int = Field(32, ge=1, description="patients in one batch; a Cox loss shares its risk set over them")
    accumulate: int = Field(1, ge=1, description="batches in one optimiser step; a Cox loss shares its risk set over all of them")
    min_events: int = Field(1, ge=0, description="observed events that every optimiser step holds, where the fold has enough")
    balance: Literal["none", "event", "time", "subtype"] = Field(
        "none",
        description="event: events and censored patients drawn alike; time: the quarters of the event times too; subtype: the classes",
    )
    optimiser: Literal["adamw", "adam", "radam", "sgd"] = Field("adamw", description="the optimiser; sgd has a momentum of 0.9")
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-5, ge=0, description="the optimiser's decay of matrices; biases, norms and vectors have none")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after the warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises linearly")
    clip_norm: float = Field(5.0, gt=0, description="largest norm of the gradient")
    recalibration: Literal["none", "inner"] = Field(
        "none",
        description="inner: curves are learnt from held-out risks of inner parts of the training fold, by 3 more fits on two thirds of it",
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of the token stage; losses stay float32")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    evaluation_patches: int | None = Field(None, ge=1, description="patches a patient in prediction, seeded; all of them when empty")
    checkpoint_seconds: float = Field(30.0, ge=0, description="at least this long between two checkpoints")
