"""Patch features -> patch tokens, patient by patient."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prognos.nn.dropout import Dropout

CHUNK = 8192
"""Rows that are computed at a time where a patient has more, so that memory does not grow with the bag."""

PACK = 4096
"""Rows of small patients that are computed together."""


def in_chunks(function: Callable[[Tensor], Tensor], rows: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens *out"]:  # noqa: F821
    """function(rows), row by row the same; beyond `CHUNK` rows in chunks, computed again in the backward pass."""
    if len(rows) <= CHUNK:
        return function(rows)
    chunks = rows.split(CHUNK)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(function, chunk, use_reentrant=False) for chunk in chunks])
    return torch.cat([function(chunk) for chunk in chunks])


def by_patient(function: Callable[[Tensor], Tensor], patients: Sequence[Float[Tensor, "_ width"]]) -> list[Tensor]:
    """function(rows) of each patient, for functions that look at one row at a time.

    Neighbouring small patients are computed together, up to `PACK` rows: a call costs more than the rows of a small one.
    Large ones stand alone, so that what is computed of them stays in the cache; see `in_chunks` beyond that.
    """
    found: list[Tensor] = []
    group: list[Tensor] = []
    for place, rows in enumerate(patients):
        group.append(rows)
        last = place + 1 == len(patients)
        if last or sum(map(len, group)) + len(patients[place + 1]) > PACK:
            with torch.autocast(rows.device.type, enabled=False):  # on the CPU it cannot put half-precision rows together
                together = group[0] if len(group) == 1 else torch.cat(group)
            found += in_chunks(function, together).split([len(part) for part in group])
            group = []
    return found


def alike(sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Places of patients of the same sizes, who can be computed together; their largest sizes add up to `PACK` at most.

    A size is a number of tokens, or whether a patient has a modality; a larger patient stands alone.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, size in enumerate(sizes):
        groups.setdefault(size, []).append(place)
    found = []
    for size, places in groups.items():
        most = max(1, PACK // max(1, *size))
        found += [places[start : start + most] for start in range(0, len(places), most)]
    return found


def in_order(parts: Sequence[Float[Tensor, "_ *width"]], groups: Sequence[Sequence[int]]) -> Float[Tensor, "batch *width"]:  # noqa: F821
    """The rows of patients computed in groups, in the order of their places and in single precision at least."""
    rows = torch.cat([part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts])
    return rows[torch.as_tensor([place for group in groups for place in group], device=rows.device).argsort()]


def together(rows: Sequence[Float[Tensor, "_ width"]]) -> Float[Tensor, "batch _ width"]:
    """Patients with the same number of rows as one tensor; a single one is not copied."""
    return rows[0][None] if len(rows) == 1 else torch.stack(list(rows))


def by_size(function: Callable[[Tensor], Tensor], patients: Sequence[Float[Tensor, "_ width"]]) -> Float[Tensor, "batch *out"]:  # noqa: F821
    """function(rows) of each patient, for functions in which rows of a patient meet; patients of one size are computed together."""
    groups = alike([(len(rows),) for rows in patients])
    return in_order([function(together([patients[place] for place in group])) for group in groups], groups)


def spread_patches(patches: int, count: int) -> Int[Tensor, " top"]:
    """Places of `count` patches, evenly spread over the slide's order; all of fewer."""
    return torch.linspace(0, max(0, patches - 1), min(count, patches)).round().long()


class PatchEncoder(nn.Module):
    """One linear layer with its activation and dropout on each patch of a patient.

    Args:
        d_patch: width of the encoder's features.
        d_model: D, width of a token.
        activation: module applied after the linear layer.
        dropout: share of token entries dropped in training.
    """

    def __init__(self, d_patch: int, d_model: int, *, activation: nn.Module, dropout: float):
        super().__init__()
        self.linear = nn.Linear(d_patch, d_model)
        self.activation = activation
        self.dropout = Dropout(dropout)

    def forward(self, rows: Float[Tensor, "*batch patches d_patch"]) -> Float[Tensor, "*batch patches d_model"]:
        """Tokens of a patient's patches; half-precision features are cast here."""
        return in_chunks(self._encode, rows.flatten(0, -2)).unflatten(0, rows.shape[:-1])

    def _encode(self, rows: Float[Tensor, "patches d_patch"]) -> Float[Tensor, "patches d_model"]:
        return self.dropout(self.activation(self.linear(rows.to(self.linear.weight.dtype))))
