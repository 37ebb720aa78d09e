"""Everything that training needs to go on after a kill, in one file: weights, optimiser, random state, log.

A safetensors file: tensors by name, and one JSON text in its header. Nothing is pickled.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from prognos import files

Log = list[dict[str, Any]]
"""One row for each epoch that is done."""


class CheckpointWarning(UserWarning):
    """A checkpoint that cannot be used; the stage of training begins anew, and its result is the same."""


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, log: Log, fingerprint: str, beside: dict[str, Tensor] | None = None
) -> None:
    """Writes the state of training, and tensors beside it, under a temporary name and renames it."""
    tensors = dict(beside or {})
    tensors |= {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {f"random.{name}": state for name, state in random_state().items()}
    header = {"log": log, "fingerprint": fingerprint}
    files.write_tensors(path, tensors, {"position": json.dumps(header)})


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], Log] | None:
    """The tensors and the log of a checkpoint; None when there is none, when it belongs to another fit, or (with a warning) is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            header = json.loads(opened.metadata()["position"])
            if header["fingerprint"] != fingerprint:
                return None
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        warnings.warn(
            f"{path} is damaged ({error}): it is ignored and this stage of training begins anew; nothing needs to be done.",
            CheckpointWarning,
            stacklevel=2,
        )
        return None
    return tensors, header["log"]


def restore(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Puts a checkpoint's tensors back into model, optimiser and random generators."""
    load_state(model, {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    set_random_state({name.removeprefix("random."): v for name, v in tensors.items() if name.startswith("random.")})


def random_state() -> dict[str, Tensor]:
    """The state of torch's generators of this process, by device: what dropout will draw next."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_random_state(states: dict[str, Tensor]) -> None:
    """Puts torch's generators back to where they stood; devices that this machine lacks are passed over."""
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name.startswith("cuda:") and int(name.removeprefix("cuda:")) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, name)


def load_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads parameters strictly; buffers that were learnt (cuts, baselines, prototypes) keep the length they have on disk.

    Raises:
        ValueError: names differ, or a parameter has another shape: the weights are of another model.
    """
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        names = ", ".join((missing + unknown)[:3])
        raise ValueError(
            f"these weights are of another model: {len(missing)} tensors are missing and {len(unknown)} unknown ({names}); "
            "load them with the model and config that they were fitted with."
        )
    load_some(model, state)


def load_some(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads some parameters and buffers by name; see `load_state`, which loads all of them."""
    parameters = dict(model.named_parameters())
    for name, value in state.items():
        if name in parameters:
            if parameters[name].shape != value.shape:
                raise ValueError(
                    f"these weights are of another model: {name} has shape {tuple(value.shape)}, the model's is "
                    f"{tuple(parameters[name].shape)}; load them with the config that they were fitted with."
                )
            parameters[name].data.copy_(value)
        else:
            owner, _, leaf = name.rpartition(".")
            buffers = model.get_submodule(owner)._buffers
            before = buffers[leaf]
            assert before is not None
            buffers[leaf] = value.to(before.device, before.dtype)
