"""What a model is given: the packed store of patch features, and bags of tokens with masks."""

from prognos.tokens.batches import epoch_batches, prefetch
from prognos.tokens.inputs import Inputs, InputsConfig, MissingModality, Needs
from prognos.tokens.reader import Reader
from prognos.tokens.store import PatchStore

__all__ = ["Inputs", "InputsConfig", "MissingModality", "Needs", "PatchStore", "Reader", "epoch_batches", "prefetch"]
