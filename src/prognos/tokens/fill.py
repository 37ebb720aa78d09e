"""What stands in for a modality that a patient lacks, for models that cannot do without it.

Every stand-in is learnt on the training patients. A modality is summed up by one vector: the mean of a patient's patches, the omics or
table values as they are scaled. Histology that is filled in is one patch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from prognos.cohort.defects import naming
from prognos.types import Bag, Tokens

Policy = Literal["model", "mean", "zero", "nearest", "refuse"]
NEIGHBOURS = 5
LAST = 1e6
"""Squared distance to a training patient who lacks what the other has: behind all who have it."""


class MissingRefused(ValueError):
    """Patients lack a modality that the model cannot do without, and the policy is to refuse them."""


class Filler(nn.Module):
    """Fills in what patients lack by a stated policy.

    - mean: the mean of the training patients.
    - zero: zeros; for omics and tables, which are scaled, this is the training median.
    - nearest: the mean of the 5 training patients whose other modalities are nearest, each dimension over its standard deviation.
    - refuse: no one is filled in; a patient who lacks something is an error.

    Args:
        policy: which.
        modalities: what the model reads.
    """

    def __init__(self, policy: Policy, modalities: tuple[str, ...]):
        super().__init__()
        self.policy = policy
        self.modalities = modalities
        for m in modalities:
            self.register_buffer(f"summary_{m}", torch.zeros(0, 0))
            self.register_buffer(f"shape_{m}", torch.zeros(2, dtype=torch.long))
            self.register_buffer(f"has_{m}", torch.zeros(0, dtype=torch.bool))

    def learn(self, bags: Iterable[Bag]) -> None:
        """The summaries of the training patients; of them the mean alone is kept where it is all that is needed."""
        rows: dict[str, list[Tensor]] = {m: [] for m in self.modalities}
        has: dict[str, list[Tensor]] = {m: [] for m in self.modalities}
        for bag in bags:
            for m in self.modalities:
                rows[m].append(_summary(bag[m], m))
                has[m].append(bag[m].present)
                tokens = 1 if m == "histology" else bag[m].values.shape[1]
                self._buffers[f"shape_{m}"] = torch.tensor([tokens, bag[m].values.shape[2]])
        for m in self.modalities:
            summary, present = torch.cat(rows[m]), torch.cat(has[m])
            if self.policy != "nearest":
                summary, present = summary[present].mean(dim=0, keepdim=True), present.new_ones(1)
            self._buffers[f"summary_{m}"], self._buffers[f"has_{m}"] = summary, present

    def forward(self, bag: Bag) -> Bag:
        """The bag with everything filled in that its patients lack; who has nothing at all is left as is.

        Raises:
            MissingRefused: the policy is to refuse, and someone lacks something.
        """
        present = {m: bag[m].present for m in self.modalities}
        anything = torch.stack(list(present.values())).any(dim=0)
        modalities = dict(bag.modalities)
        for m in self.modalities:
            lacking = ~present[m] & anything
            if not bool(lacking.any()):
                continue
            if self.policy == "refuse":
                who = [patient for patient, gone in zip(bag.patients, lacking.tolist(), strict=True) if gone]
                raise MissingRefused(
                    f"{len(who)} patients have no {m} ({naming(who)}), which this model cannot do without, and its policy is to refuse "
                    "them: leave them out, or fit it with inputs.fill = mean, zero or nearest."
                )
            modalities[m] = _placed(bag[m], lacking, self._stand_in(bag, m, present)[lacking], self._shape(m))
        return replace(bag, modalities=modalities)

    def _stand_in(self, bag: Bag, modality: str, present: Mapping[str, Bool[Tensor, " batch"]]) -> Float[Tensor, "batch width"]:
        summary, has = self._of("summary", modality), self._of("has", modality)
        if self.policy == "zero":
            return summary.new_zeros(len(bag), summary.shape[1])
        if self.policy == "mean":
            return summary.expand(len(bag), -1)
        distance = summary.new_zeros(len(bag), len(summary), dtype=torch.float64)
        for m in self.modalities:
            if m == modality:
                continue
            known, known_of = self._of("summary", m).double(), self._of("has", m)
            spread = known[known_of].std(dim=0, correction=0).clamp(min=1e-6)
            # by differences: the way through products rounds by the size of the batch
            each = torch.cdist(_summary(bag[m], m) / spread, known / spread, compute_mode="donot_use_mm_for_euclid_dist").square()
            each = torch.where(known_of, each / known.shape[1], LAST)
            distance += torch.where(present[m][:, None], each, 0.0)
        distance = distance.masked_fill(~has, torch.inf)
        nearest = distance.topk(min(NEIGHBOURS, int(has.sum())), largest=False).indices
        return summary[nearest].mean(dim=1)

    def _of(self, what: str, modality: str) -> Tensor:
        found = self._buffers[f"{what}_{modality}"]
        assert found is not None
        return found

    def _shape(self, modality: str) -> tuple[int, int]:
        tokens, width = self._of("shape", modality).tolist()
        return tokens, width


def _summary(tokens: Tokens, modality: str) -> Float[Tensor, "batch width"]:
    """One vector a patient; 0 for who lacks the modality."""
    values = tokens.values.float() * tokens.mask[:, :, None]
    if modality != "histology":
        return values.flatten(1)
    return values.sum(dim=1) / tokens.mask.sum(dim=1, keepdim=True).clamp(min=1)


def _placed(tokens: Tokens, lacking: Tensor, stand_in: Tensor, shape: tuple[int, int]) -> Tokens:
    """The tokens with those of the patients who lack them put in front."""
    n_tokens, width = shape
    room = max(tokens.values.shape[1], n_tokens)
    values = tokens.values.new_zeros(len(tokens.values), room, width)
    mask = tokens.mask.new_zeros(len(tokens.values), room)
    values[:, : tokens.values.shape[1]], mask[:, : tokens.mask.shape[1]] = tokens.values, tokens.mask
    values[lacking, :n_tokens] = stand_in.view(-1, n_tokens, width).to(values.dtype)
    mask[lacking, :n_tokens] = True
    coords, slide = (None if part is None else _longer(part, room) for part in (tokens.coords, tokens.slide))
    return Tokens(values, mask, coords, slide)


def _longer(part: Shaped[Tensor, "batch tokens *rest"], room: int) -> Shaped[Tensor, "batch room *rest"]:
    """With zeros behind."""
    return torch.cat([part, part.new_zeros(len(part), room - part.shape[1], *part.shape[2:])], dim=1)
