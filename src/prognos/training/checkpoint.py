"""Everything that training needs to go on after a kill, in one file: weights, optimiser, random state, log.

A safetensors file: tensors by name, and one JSON text in its header. Nothing is pickled.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from prognos import files


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Args:
        stage: index of the running stage.
        epoch: epochs of it that are done.
        log: rows of the log so far.
    """

    stage: int
    epoch: int
    log: tuple[dict[str, Any], ...]


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, position: Position, fingerprint: str) -> None:
    """Writes the state of training under a temporary name and renames it."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    header = {"stage": position.stage, "epoch": position.epoch, "log": list(position.log), "fingerprint": fingerprint}
    files.write_tensors(path, {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"position": json.dumps(header)})


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], Position] | None:
    """The tensors and position of a checkpoint; None when there is none, or it belongs to another job."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as opened:
        header = json.loads(opened.metadata()["position"])
        if header["fingerprint"] != fingerprint:
            return None
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a dict)
    return tensors, Position(header["stage"], header["epoch"], tuple(header["log"]))


def restore(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Puts a checkpoint's tensors back into model, optimiser and random generators."""
    load_state(model, {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


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
