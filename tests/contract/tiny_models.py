"""A small instance of every model of the table, and bags for it."""

import torch

from prognos.models import MODELS, entry_of
from prognos.types import Bag, InputShape, Survival, Tokens

SHAPE = InputShape(d_patch=8, pathway_features=(2, 3, 1), n_genes=5, tables={"clinical": 3}, subtypes=("left", "right"))
SMALL = {"d_model": 8, "d_attention": 8, "n_prototypes": 4, "penalties": (0.1,), "inner_folds": 2}
OWN = {
    "MUST": {"heads": 2, "landmarks": 4, "rank": 3, "sampling_steps": 5, "denoiser_layers": 2, "denoiser_hidden": 16}
    | {"generator_steps": 20, "generator_batch": 8, "generator_patience": 1},
    "MCTI": {"heads": 2, "n_top": 4},
    "TransMIL": {"heads": 2, "landmarks": 4},
    "SNNTrans": {"heads": 2},
    "MCAT": {"heads": 2, "d_hidden": 16},
    "HIPT": {"side": 2, "local_layers": 2, "local_heads": 2, "local_hidden": 16, "global_heads": 2, "global_hidden": 16},
    "CMTA": {"heads": 2, "landmarks": 4, "group_hidden": 6},
    "MOTCat": {"heads": 2, "d_hidden": 16, "micro_batch": 3},
    "MMP": {"d_code": 4},
    "PIBD": {"heads": 2, "d_hidden": 6},
    "LDCVAE": {"heads": 2, "d_hidden": 16, "landmarks": 4},
    "SMIL": {"n_centres": 3},
    "M3Care": {"heads": 2, "layers": 1, "threshold": 0.1},
}
SURVIVAL = Survival(
    torch.tensor([50.0, 20.0, 90.0, 10.0, 70.0, 30.0]),
    torch.tensor([True, True, False, True, False, True]),
    torch.tensor([0, 1, 1, -1, 0, 1]),
)
N_PATCHES = (5, 2, 7, 1, 3, 4)


def small(name: str) -> dict:
    """The settings that make a model small, of those that it has."""
    kind = entry_of(name).load()
    return {key: value for key, value in SMALL.items() if key in kind.Config.model_fields} | OWN.get(kind.__name__, {})


def build(name: str, **settings):
    """The model called `name`, small, on the CPU, with what it needs before training already learnt."""
    torch.manual_seed(0)
    entry = entry_of(name)
    kind = entry.load()
    model = kind(kind.Config(**{**entry.config, **small(name), **settings}), SHAPE)
    if model.needs.parts:
        model.take_parts({part: build(part) for part in model.needs.parts})
    if model.needs.parts:
        model.head.learn_marginal(SURVIVAL)
    else:
        model.learn(Fold(model.needs))
    return model.eval()


def bag(needs, patches: tuple[int, ...] = N_PATCHES, extra_padding: int = 0) -> Bag:
    """Six patients with everything that a model may read."""
    n, longest = len(patches), max(1, *patches) + extra_padding
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(longest) < torch.tensor(patches)[:, None]
    values = torch.zeros(n, longest, 8)
    for i, count in enumerate(patches):
        values[i, :count] = torch.randn(7, 8, generator=generator)[:count] if count <= 7 else torch.randn(count, 8, generator=generator)
    place = torch.arange(longest)
    coords = 256.0 * torch.stack([place % 3, place // 3], dim=1).expand(n, -1, -1)  # three in a row
    generator = torch.Generator().manual_seed(2)
    pathways = torch.randn(n, 3, 3, generator=generator) * torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    genes = torch.randn(n, 1, 5, generator=generator)
    clinical = torch.randn(n, 1, 3, generator=generator)
    omics = (
        Tokens(pathways, torch.ones(n, 3, dtype=torch.bool))
        if needs.omics == "pathways"
        else Tokens(genes, torch.ones(n, 1, dtype=torch.bool))
    )
    everything = {
        "histology": Tokens(values, mask, coords),
        "omics": omics,
        "clinical": Tokens(clinical, torch.ones(n, 1, dtype=torch.bool)),
    }
    return Bag(tuple("abcdefghij"[:n]), {m: everything[m] for m in needs.modalities})


def one(whole: Bag, i: int) -> Bag:
    """Patient `i` alone, without padding of others."""
    parts = {}
    for name, tokens in whole.modalities.items():
        n = max(1, int(tokens.mask[i].sum()))
        coords = None if tokens.coords is None else tokens.coords[i : i + 1, :n]
        parts[name] = Tokens(tokens.values[i : i + 1, :n], tokens.mask[i : i + 1, :n], coords)
    return Bag(whole.patients[i : i + 1], parts)


class Fold:
    """A training fold of the six patients; fulfils `prognos.types.TrainingFold`."""

    def __init__(self, needs):
        self._bag = bag(needs)
        self.patients, self.survival, self.sites = self._bag.patients, SURVIVAL, ("",) * 6

    def bags(self, batch_size: int = 1):
        """All of them, in order."""
        if batch_size >= 6:
            yield self._bag
        else:
            yield from (one(self._bag, i) for i in range(6))

    def tokens(self, modality: str):
        """One modality of all of them."""
        return self._bag[modality]


HEAD = {"survival", "n_bins", "censored_weight"}
NAMES = tuple(
    name
    for place, (name, entry) in enumerate(MODELS.items())
    if set(entry.config) - HEAD or entry.path not in [other.path for other in list(MODELS.values())[:place]]
)
"""Every class, and every preset of it that is another network; one that differs in the head or in its training only is the same."""
TRAINED = tuple(name for name in NAMES if entry_of(name).load().trained)
