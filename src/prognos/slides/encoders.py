"""The encoders: frozen networks that turn a patch into a feature, and the one way to load them.

Three kinds of name are taken: a row of `ENCODERS`, a TorchScript file, and `module:function`, a function without arguments that
returns a network. Weights are read as tensors only, never unpickled. Nothing is fetched over the network unless `download` says so.
"""

import contextlib
import hashlib
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from prognos.config import unknown

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
H_OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
EFFICIENTNET_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
PIXELS = 224
SCRIPT_SUFFIXES = (".pt", ".pth", ".ts")
PRECISIONS = ("float32", "bfloat16", "float16")
NON_COMMERCIAL = "CC-BY-NC-ND-4.0"


class EncoderError(ValueError):
    """An encoder that cannot be loaded or used; the message says what to install, to ask for or to give."""


@dataclass(frozen=True)
class EncoderCard:
    """What is known of an encoder without loading it.

    Args:
        paper: where it is described.
        d_patch: width of its features.
        licence: of the weights.
        weights: where they are: the name of a repository on the Hugging Face hub, or `installed` with this package.
        file: the file of that repository.
        gated: the owners of the weights have to be asked first.
        pixels: side of the square that the network takes.
        read: side of the patch that is read, of which the network sees the middle; as `pixels` where the whole patch is seen.
        mpp: microns per pixel that it was trained at.
        normalisation: mean and standard deviation of the colours that it expects, of values from 0 to 1.
    """

    paper: str
    d_patch: int
    licence: str
    weights: str
    file: str = "pytorch_model.bin"
    gated: bool = False
    pixels: int = PIXELS
    read: int = PIXELS
    mpp: float = 0.5
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET


INSTALLED = "installed"
DEFAULT = "efficientnet-lite0"
ENCODERS: Mapping[str, EncoderCard] = {
    DEFAULT: EncoderCard(
        "Tan & Le, ICML 2019", 1280, "Apache-2.0", INSTALLED, normalisation=EFFICIENTNET_LITE
    ),
    "resnet50": EncoderCard(
        "He et al., CVPR 2016; third stage, as Lu et al., Nat Biomed Eng 2021",
        1024, "BSD-3-Clause", "timm/resnet50.tv_in1k", "model.safetensors",
    ),
    "uni": EncoderCard("Chen et al., Nat Med 2024", 1024, NON_COMMERCIAL, "MahmoodLab/UNI", gated=True),
    "uni2-h": EncoderCard("Chen et al., Nat Med 2024", 1536, NON_COMMERCIAL, "MahmoodLab/UNI2-h", gated=True),
    "conch": EncoderCard(
        "Lu et al., Nat Med 2024", 512, NON_COMMERCIAL, "MahmoodLab/CONCH", gated=True, pixels=448, read=448, normalisation=CLIP
    ),
    "virchow2": EncoderCard(
        "Zimmermann et al., arXiv:2408.00738", 2560, NON_COMMERCIAL, "paige-ai/Virchow2", "model.safetensors", gated=True
    ),
    "h-optimus-0": EncoderCard(
        "Saillard et al., 2024", 1536, "Apache-2.0", "bioptimus/H-optimus-0", gated=True, normalisation=H_OPTIMUS
    ),
    "h-optimus-1": EncoderCard(
        "Bioptimus, 2025", 1536, NON_COMMERCIAL, "bioptimus/H-optimus-1", "model.safetensors", gated=True,
        normalisation=H_OPTIMUS,
    ),
    "phikon-v2": EncoderCard(
        "Filiot et al., arXiv:2409.09173", 1024, "Owkin non-commercial", "owkin/phikon-v2", "model.safetensors"
    ),
    "gigapath": EncoderCard(
        "Xu et al., Nature 2024", 1536, "Apache-2.0", "prov-gigapath/prov-gigapath", gated=True, read=256
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """A network with its weights on a device, ready for patches.

    Args:
        name: what the user called it, without the folder of a file.
        d_patch: width of its features.
        patch_size: side in pixels of the patches that it takes; of larger reads than the network's own the middle is seen.
        mean: of each colour, of values from 0 to 1.
        sd: standard deviation of each colour.
        weights: digest of all parameters and buffers, so that two weights under one name are told apart.
        precision: of the products inside: float32, or bfloat16 or float16 where the network allows it.
        device: where it runs.
        network: the network itself.
        pixels: side of the middle that the network sees.
    """

    name: str
    d_patch: int
    patch_size: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weights: str
    precision: str
    device: str
    network: Any = field(repr=False, compare=False)
    pixels: int = PIXELS

    def __call__(self, patches: UInt8[np.ndarray, "batch side side 3"]) -> Float32[np.ndarray, "batch d_patch"]:
        """Features of patches, a row a patch.

        Raises:
            EncoderError: the network gives something else than a row of numbers a patch.
        """
        import torch

        first = (patches.shape[1] - self.pixels) // 2
        seen = patches[:, first : first + self.pixels, first : first + self.pixels]
        mean, sd = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.mean, self.sd))
        with torch.inference_mode(), self._autocast():
            images = torch.from_numpy(np.ascontiguousarray(seen)).to(self.device).permute(0, 3, 1, 2)
            features = self.network((images.float() / 255 - mean) / sd)
        if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != len(patches):
            given = tuple(features.shape) if isinstance(features, torch.Tensor) else f"a {type(features).__name__}"
            raise EncoderError(
                f"the encoder {self.name} gives {given} for {len(patches)} patches, not a row of numbers a patch: "
                "let its network pool over space and return one tensor."
            )
        return features.float().cpu().numpy()

    def place(self) -> str:
        """Where and on how many threads it computes: the last digits of its features depend on that."""
        import torch

        return f"cpu, {torch.get_num_threads()} threads" if self.device == "cpu" else self.device.partition(":")[0]

    def _autocast(self) -> Any:
        import torch

        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], dtype=getattr(torch, self.precision))


def load_encoder(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    precision: str = "float32",
    download: bool = False,
) -> Encoder:
    """The encoder of a name, with its weights.

    A network of one's own (TorchScript file or `module:function`) may say what it wants in its attributes `patch_size`, `mean` and
    `sd`; without them it gets 224 pixels and the colours of ImageNet.

    Args:
        name: a row of `ENCODERS`, a TorchScript file, or `module:function`.
        checkpoint: a file of weights, `.safetensors` or what `torch.save` wrote of a state dictionary.
        device: as torch calls it.
        precision: float32, bfloat16 or float16.
        download: weights that are not on this machine may be fetched from the Hugging Face hub.

    Raises:
        EncoderError: the name is not known, something is not installed, or the weights are missing, gated or of another network.
    """
    if precision not in PRECISIONS:
        raise EncoderError(f"there is no precision {precision!r}; use {', '.join(PRECISIONS)}.")
    if name in ENCODERS:
        from prognos.slides.networks import with_weights

        card = ENCODERS[name]
        network = with_weights(name, card, checkpoint, download=download)
        return _ready(name, network, device, precision, card)
    if name.endswith(SCRIPT_SUFFIXES):
        if checkpoint is not None:
            raise EncoderError(f"{name} holds its own weights; leave --checkpoint out.")
        return _ready(Path(name).name, _script(Path(name)), device, precision)
    if ":" in name:
        network = _made_by(name)
        if checkpoint is not None:
            from prognos.slides.networks import fill

            fill(network, name, checkpoint)
        return _ready(name, network, device, precision)
    raise EncoderError(f"{unknown('encoder', name, ENCODERS)} A TorchScript file (.pt) or module:function will do too.")


def _ready(name: str, network: Any, device: str, precision: str, card: EncoderCard | None = None) -> Encoder:
    """The network on its device, and what it takes and gives; the width of one that has no card is tried on a white patch."""
    import torch

    network = network.to(device).eval()
    weights = _digest(network)
    if hasattr(network, "quicken"):
        network.quicken()
    if card is not None:
        network = network.to(memory_format=torch.channels_last)
        size, pixels, (mean, sd) = card.read, card.pixels, card.normalisation
    else:
        size = pixels = int(getattr(network, "patch_size", PIXELS))
        mean, sd = (tuple(map(float, getattr(network, key, default))) for key, default in zip(("mean", "sd"), IMAGENET, strict=True))
    made = Encoder(name, 0, size, mean, sd, weights, precision, device, network, pixels)
    d_patch = card.d_patch if card else made(np.full((1, size, size, 3), 255, dtype=np.uint8)).shape[1]
    return Encoder(**{**vars(made), "d_patch": d_patch})


def _digest(network: Any) -> str:
    """The first digits of SHA-256 over the names, shapes and bytes of all weights."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _script(path: Path) -> Any:
    """A TorchScript network."""
    import torch

    if not path.is_file():
        raise EncoderError(f"there is no file {path}: give the path of a TorchScript file, or a name of the table (--encoders).")
    try:
        return torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise EncoderError(
            f"{path.name} is not a TorchScript file: save the network with torch.jit.save(torch.jit.trace(network, patches), file), "
            "or give weights of a network of the table with --encoder NAME --checkpoint FILE."
        ) from error


def _made_by(name: str) -> Any:
    """The network that `module:function` returns; modules of the working directory are found too."""
    import torch

    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        maker = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise EncoderError(f"{name}: there is no module {error.name}; install it, or start in the folder that holds it.") from error
    except AttributeError as error:
        raise EncoderError(f"{name}: the module {module} has no {function}; name a function of it that returns a network.") from error
    finally:
        sys.path.remove(os.getcwd())
    network = maker()
    if not isinstance(network, torch.nn.Module):
        raise EncoderError(f"{name} returns a {type(network).__name__}, not a torch.nn.Module.")
    return network
