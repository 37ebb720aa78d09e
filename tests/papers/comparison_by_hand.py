"""Small models of the comparison table and the pieces that their equations are evaluated with, in float64."""

import math

import torch

from prognos.models import entry_of
from prognos.types import Bag, InputShape, Tokens

SHAPE = InputShape(d_patch=4, pathway_features=(2, 3), n_genes=5)
N_PATCHES = (5, 3)


def made(name: str, **settings):
    """The model in evaluation mode with small widths."""
    torch.manual_seed(0)
    kind = entry_of(name).load()
    small = {"d_model": 8, "heads": 2, "d_hidden": 6, "landmarks": 2}
    known = {key: value for key, value in small.items() if key in kind.Config.model_fields}
    return kind(kind.Config(**{**known, **settings}), SHAPE).double().eval()


def patients(omics: str = "pathways") -> Bag:
    """Two patients with 5 and 3 patches."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5) < torch.tensor(N_PATCHES)[:, None]
    rows = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64) * mask[:, :, None]
    shape = (2, 1, 5) if omics == "genes" else (2, 2, 3)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    if omics == "pathways":
        values[:, 0, 2] = 0  # the first pathway has two features
    present = torch.ones(shape[:2], dtype=torch.bool)
    return Bag(("a", "b"), {"histology": Tokens(rows, mask), "omics": Tokens(values, present)})


def linear(layer, x):
    """W x + b of one vector, entry by entry."""
    found = []
    for j in range(layer.weight.shape[0]):
        total = 0.0 if layer.bias is None else float(layer.bias[j])
        for k in range(layer.weight.shape[1]):
            total += float(layer.weight[j, k]) * float(x[k])
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


def softmax(scores):
    """Weights that sum to 1."""
    weights = [math.exp(s - max(scores)) for s in scores]
    return [w / sum(weights) for w in weights]


def weighted(weights, rows):
    """sum_i w_i row_i."""
    return sum(w * row for w, row in zip(weights, rows, strict=True))


def group_token(encoder, group, x):
    """Two self-normalising layers on the measurements of one group."""
    hidden = torch.zeros(encoder.first_bias.shape[1], dtype=torch.float64)
    for d in range(len(hidden)):
        hidden[d] = float(encoder.first_bias[group, d]) + sum(float(x[s]) * float(encoder.first_weight[group, s, d]) for s in range(len(x)))
    hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    token = encoder.second_bias[group] + hidden @ encoder.second_weight[group]
    return torch.where(token > 0, token, token.exp() - 1)


def mixture_by_hand(rows, centres, strength, variance):
    """pi, mu, Sigma and r of one step of maximum a posteriori EM, from equal weights, patch by patch."""
    made_by = []
    for x in rows:
        made_by.append(softmax([-0.5 * sum((float(a) - float(b)) ** 2 / variance for a, b in zip(x, m, strict=True)) for m in centres]))
    made_by = torch.tensor(made_by, dtype=torch.float64)
    count = [float(made_by[:, k].sum()) + strength for k in range(len(centres))]
    weight = torch.tensor([n / sum(count) for n in count], dtype=torch.float64)
    mean = [(weighted(made_by[:, k], list(rows)) + strength * m) / count[k] for k, m in enumerate(centres)]
    spread = []
    for k, m in enumerate(centres):
        squares = weighted(made_by[:, k], [x * x for x in rows]) + strength * (variance + m * m)
        spread.append(squares / count[k] - mean[k] ** 2)
    return weight, torch.stack(mean), torch.stack(spread), made_by
