"""MUST: modality-specific representation-aware transformer.

K. Kim, D. Hwang, "MUST: Modality-Specific Representation-Aware Transformer for Diffusion-Enhanced Survival Prediction with
Missing Modality", arXiv:2603.26071.

Each modality is encoded to a global vector, which is to be the sum of what is its own and of what the other modality can
read in it; the second lies in a low-rank subspace that the modalities share. When a modality is absent, what it shares is
what remains of the other's global vector, and what is its own is generated.

Symbols: g_m global vector; u_m specific, u^_m = (I - P) u_m; c_{n<-m} what n reads in m, c^ = P c (Eq. 8-9); phi head
(Eq. 11); c~ = g - u^ recovered shared component (Eq. 20); u~_m generated specific component (Eq. 21).

Stages: warm-up (Eq. 12), main (Eq. 16), then one generator for each modality on frozen, precomputed components (Eq. 19).

No code was published; what the print leaves open, and departures (each is an option; `must-paper` follows the print):

- The projector has orthonormal columns, without which Eq. 8 is not idempotent (`projector`). Two terms of Eq. 15 are then 0.
- c^ in Eq. 11 is the mean of both readings (`shared_from`). Squared norms are means over D, where a sum would drown the
  likelihood (`reduction`). Eq. 6 is the usual discrete likelihood, event bins with log S before them.
- g is a fixed target in Eq. 13 (`decomposed`), which as printed is least where g is the same for everyone; training gets there.
- u_P and the pooled c come from the class token's exact attention over the tokens, linear in their number; its Nystrom
  approximation for u_P is `specific = "nystrom"`. Few patches have exact attention in every layer, as it costs less there.
- Generators are trained on c~, which is what they are given later, not on c^ (`condition`); on large batches, until a
  held-out slice of the training fold no longer improves, in place of a million steps; sampling uses averaged weights.
- z_t looks at time and condition in the denoiser and they do not look at it, so that they are computed once (`denoiser`).
- More than two modalities: what others read in m is averaged over them; shared components are compared pair by pair.
- A patient who lacks a modality in training has 0 for its u^, and only the survival loss.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from prognos import runtime
from prognos.models.contract import Beside, Model, ModelConfig, Needs, PatchMap
from prognos.nn.generators import Generator, latent_generator
from prognos.nn.must import Components, CrossPool, GroupStream, LowRankProjector, PatchStream, encoded_alike, total
from prognos.nn.patches import in_order
from prognos.risk import survival_head
from prognos.types import Bag, InputShape, OnLatents, Prediction, Progress, Stage, Survival, TrainingFold

DRAWS = "must draws"
WARM_UP, MAIN, GENERATOR = "warm-up", "main", "generator-"
OF_GENERATORS = (
    *("generator", "condition", "class_condition", "project_recovered", "reproject"),
    *("denoiser", "denoiser_layers", "denoiser_hidden", "sampling_steps", "draws"),
    *("generator_steps", "generator_batch", "generator_rate", "generator_patience"),
)
"""Keys of the config that the first two stages do not read."""


class MUSTConfig(ModelConfig):
    """Hyperparameters of MUST; the defaults are the recommended preset."""

    modalities: tuple[str, ...] = Field(("histology", "omics"), min_length=2, description="which modalities; further tables by their names")
    d_model: int = Field(256, ge=8, description="D")
    rank: int = Field(64, ge=1, description="r of Eq. 8; Fig. 4")
    heads: int = Field(8, ge=1, description="heads of every attention", json_schema_extra={"share": "d_model"})
    landmarks: int = Field(128, ge=1, description="landmarks of the Nystrom layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")
    specific: Literal["exact", "nystrom"] = Field("exact", description="how u_P looks at the patches")
    projector: Literal["orthogonal", "free", "soft"] = Field("orthogonal", description="what keeps B of Eq. 8 orthonormal")
    projector_weight: float = Field(1.0, ge=0, description="weight of ||B^T B - I||^2 of a soft projector")
    shared_from: str = Field("mean", description="c^ of Eq. 11: mean, random (a step), or what is read in the modality named here")
    reduction: Literal["mean", "sum"] = Field("mean", description="squared norms of Eq. 13-14 over D")
    decomposed: Literal["fixed", "free"] = Field("fixed", description="whether g of Eq. 13 is a fixed target or gives way too")
    decomposition_weight: float = Field(1.0, ge=0, description="lambda_dec of Eq. 16; Fig. 6")
    shared_weight: float = Field(1.0, ge=0, description="lambda_sh of Eq. 16; Fig. 6")
    orthogonality_weight: float = Field(0.5, ge=0, description="lambda_orth of Eq. 16; Fig. 6")
    warm_up: bool = Field(True, description="stage 1; Table 3a")
    warm_up_epochs: int | None = Field(None, ge=1, description="epochs of stage 1; those of the main stage when empty")
    warm_up_rate: float = Field(2.0, gt=0, description="learning rate of stage 1, in learning rates of the main stage")
    noise: float = Field(0.1, ge=0, description="sigma of Eq. 12")
    survival: Literal["discrete", "cox"] = Field("discrete", description="survival model of the head")
    n_bins: int = Field(4, ge=2, description="time bins of the discrete head")
    generator: Literal["diffusion", "regressor", "mean", "zero", "nearest"] = Field("diffusion", description="where u~ comes from")
    condition: Literal["subtract", "cross"] = Field("subtract", description="what generators are trained on: c~ of Eq. 20, or c^")
    class_condition: bool = Field(True, description="whether [CLS_u] is part of the condition; Table 3b")
    project_recovered: bool = Field(False, description="whether the head gets P c~ in place of c~")
    reproject: bool = Field(False, description="whether u~ is projected by I - P")
    denoiser: Literal["prefix", "joint"] = Field("prefix", description="whether z_t alone looks at time and condition, or all at all")
    denoiser_layers: int = Field(4, ge=1, description="layers of the denoising transformer")
    denoiser_hidden: int = Field(1024, ge=1, description="width of its feed-forward layers")
    sampling_steps: int = Field(50, ge=1, le=1000, description="DDIM steps of Eq. 21")
    draws: int = Field(5, ge=1, description="samples whose mean is u~")
    generator_steps: int = Field(4000, ge=1, description="most optimiser steps of a generator's stage")
    generator_batch: int = Field(128, ge=1, description="patients in one of them")
    generator_rate: float = Field(1e-4, gt=0, description="their learning rate")
    generator_patience: int | None = Field(10, ge=1, description="hundreds of steps without a better held-out loss; empty: all steps")


class MUST(Model):
    """Modalities -> specific and shared components -> risk; what is missing is recovered or generated.

    Evidence: by modality, (batch, d_model): `whole` g, `specific` u^ and `recovered` c~, 0 for patients who lack it;
    `generated` u~, 0 for those who have it; `present` (batch,). By pair "n<-m": `read` c^. `shared` (batch, d_model): what phi was given.
    """

    Config = MUSTConfig
    config: MUSTConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="functional")
    ordered = True
    generators_learnt: Tensor

    def __init__(self, config: MUSTConfig, shape: InputShape):
        super().__init__(config, shape)
        self.modalities = config.modalities
        self.pairs = tuple(permutations(self.modalities, 2))
        if config.shared_from not in ("mean", "random", *self.modalities):
            raise ValueError(f"shared_from is {config.shared_from!r}; choose mean, random or one of {', '.join(self.modalities)}.")
        d, n = config.d_model, len(self.modalities)
        self.streams = nn.ModuleDict({m: self._stream(m, shape) for m in self.modalities})
        self.cross = nn.ModuleDict({f"{reader}<-{source}": CrossPool(d, config.heads) for reader, source in self.pairs})
        self.projector = LowRankProjector(d, min(config.rank, d), config.projector)
        self.fusion = nn.Sequential(nn.Linear((n + 1) * d, d), nn.ReLU(), nn.Dropout(config.dropout))
        self.head = survival_head(config.survival, d, n_bins=config.n_bins)  # with `fusion`: phi of Eq. 11
        if config.warm_up:
            self.warm_fusion = nn.Sequential(nn.Linear(2 * d, d), nn.ReLU())
            self.warm_head = survival_head(config.survival, d, n_bins=config.n_bins)  # phi of Eq. 12
        self.generators = nn.ModuleDict({m: self._generator() for m in self.modalities})
        self.register_buffer("generators_learnt", torch.tensor(False))

    @classmethod
    def needs_of(cls, config: MUSTConfig) -> Needs:
        """The modalities of the config."""
        return Needs(modalities=config.modalities, omics="pathways", gene_set="functional")

    @property
    def filled_by(self) -> str:
        """The generator, by name."""
        kind = self.config.generator
        mean = f", mean of {self.config.draws} draws" if self._generator_of(self.modalities[0]).stochastic else ""
        return f"shared component recovered from the rest, specific component: {kind}{mean}"

    def _stream(self, modality: str, shape: InputShape) -> PatchStream | GroupStream:
        c = self.config
        if modality == "histology":
            return PatchStream(shape.d_patch, c.d_model, heads=c.heads, landmarks=c.landmarks, dropout=c.dropout, specific=c.specific)
        sizes = shape.pathway_features if modality == "omics" else (shape.tables[modality],)
        return GroupStream(sizes, c.d_model, heads=c.heads, dropout=c.dropout)

    def _generator(self) -> Generator:
        c = self.config
        denoiser = {"layers": c.denoiser_layers, "heads": c.heads, "d_hidden": c.denoiser_hidden}
        return latent_generator(c.generator, c.d_model, steps=c.sampling_steps, joint=c.denoiser == "joint", **denoiser)

    def _stream_of(self, modality: str) -> PatchStream | GroupStream:
        return cast(PatchStream | GroupStream, self.streams[modality])

    def _generator_of(self, modality: str) -> Generator:
        return cast(Generator, self.generators[modality])

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """Eq. 11 for complete patients, Eq. 22 for the others; in training, 0 stands for what they lack."""
        parts = self._components(bag)
        generated = self._generated(bag, parts, None if progress else self.config.draws)
        return self._predict(parts, {m: drawn.mean(dim=0) for m, drawn in generated.items()}, progress)

    def draws(self, bag: Bag, n_draws: int) -> tuple[Prediction, ...]:
        """Eq. 22 with one sample of u~ each; the first ones are those whose mean `forward` takes."""
        if not self._generator_of(self.modalities[0]).stochastic:
            return ()
        parts = self._components(bag)
        generated = self._generated(bag, parts, n_draws)
        return tuple(self._predict(parts, {m: drawn[i] for m, drawn in generated.items()}) for i in range(n_draws))

    def similarities(self, prediction: Prediction) -> dict[tuple[str, str], Float[Tensor, " batch"]]:
        """Fig. 5 and 10, from the evidence."""
        return Components.of_evidence(prediction.evidence).cosines()

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The attention of [CLS_uP], computed anew; none where a Nystrom layer stands in for it."""
        stream = self._stream_of("histology") if "histology" in self.modalities else None
        attention = stream.attention(bag["histology"].rows(patient)) if isinstance(stream, PatchStream) else None
        meaning = "how much what is specific of the slide looks at the patch; sums to at most 1 over the patient"
        return () if attention is None else (PatchMap("attention", meaning, attention),)

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """The attention of [CLS_uG], computed anew."""
        return cast(GroupStream, self.streams["omics"]).looked_at(bag["omics"].values) if "omics" in self.modalities else None

    def _components(self, bag: Bag) -> Components:
        """Eq. 7-9, together for patients who have as many tokens."""
        present = {m: bag[m].present for m in self.modalities}
        rows: dict[Any, list[Tensor]] = {
            key: [] for key in (*(("g", m) for m in self.modalities), *(("u", m) for m in self.modalities), *self.pairs)
        }
        groups = encoded_alike(bag, self.modalities)
        for places in groups:
            zero = next(self.parameters()).new_zeros(len(places), self.config.d_model)
            encoded = {m: self.streams[m](self._rows(bag, m, places)) for m in self.modalities if bool(present[m][places[0]])}
            for m in self.modalities:
                rows["g", m].append(encoded[m].whole if m in encoded else zero)
                rows["u", m].append(encoded[m].specific if m in encoded else zero)
            for n, m in self.pairs:
                both = n in encoded and m in encoded
                rows[n, m].append(self.cross[f"{n}<-{m}"](encoded[n].tokens, encoded[m].tokens) if both else zero)
        stacked = {key: in_order(vectors, groups) for key, vectors in rows.items()}
        specific = {m: stacked["u", m] - self.projector(stacked["u", m]) for m in self.modalities}  # Eq. 9
        read = {pair: self.projector(stacked[pair]) for pair in self.pairs}
        return Components(present, {m: stacked["g", m] for m in self.modalities}, specific, read)

    def _rows(self, bag: Bag, modality: str, places: list[int]) -> Tensor:
        """The tokens of alike patients as their stream reads them: patches as they are, omics by group, a table as one group."""
        tokens = bag[modality]
        if modality != "histology":
            return tokens.values[places]
        rows = [tokens.rows(i) for i in places]
        return rows[0][None] if len(rows) == 1 else torch.stack(rows)

    def _predict(self, parts: Components, generated: Mapping[str, Tensor], progress: Progress | None = None) -> Prediction:
        """phi([u^_1; c^; u^_2; ...]) with u~ and c~ in their places where a patient lacks something."""
        recovered = self.projector(parts.recovered_mean()) if self.config.project_recovered else parts.recovered_mean()
        shared = torch.where(parts.complete[:, None], self._shared(parts, progress), recovered)
        first, *others = (torch.where(parts.present[m][:, None], parts.specific[m], generated[m]) for m in self.modalities)
        prediction = self.head(self.fusion(torch.cat([first, shared, *others], dim=-1)))
        made_up = {m: torch.where(parts.present[m][:, None], 0.0, generated[m]).detach() for m in self.modalities}
        evidence = {**parts.evidence(), "generated": made_up, "shared": shared.detach()}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def _shared(self, parts: Components, progress: Progress | None) -> Float[Tensor, "batch d_model"]:
        """c^ of Eq. 11."""
        kind = self.config.shared_from
        if kind == "random" and progress is not None:
            kind = self.modalities[int(torch.randint(len(self.modalities), ()))]
        if kind in self.modalities:
            return parts.read_in(kind)
        return torch.stack([parts.read_in(m) for m in self.modalities]).mean(dim=0)

    def _generated(self, bag: Bag, parts: Components, n_draws: int | None) -> dict[str, Float[Tensor, "draws batch d_model"]]:
        """u~ of Eq. 21 for who lacks a modality, from noise that depends on the patient's id only; 0 in training and elsewhere."""
        d, condition = self.config.d_model, parts.recovered_mean()
        found = {}
        for m in self.modalities:
            filled = condition.new_zeros(n_draws or 1, len(bag), d)
            lacking = torch.nonzero(~parts.present[m]).flatten()
            if n_draws and len(lacking) and bool(self.generators_learnt):
                who = [bag.patients[i] for i in lacking.tolist()]
                noise = np.stack([runtime.generator(DRAWS, one, m).standard_normal((n_draws, d)) for one in who], axis=1)
                start = torch.as_tensor(noise, dtype=condition.dtype, device=condition.device)
                with torch.no_grad():
                    drawn = self._generator_of(m).sample(condition[lacking], self._prior(m), start)
                    filled[:, lacking] = drawn - self.projector(drawn) if self.config.reproject else drawn
            found[m] = filled
        return found

    def _prior(self, modality: str) -> Float[Tensor, " d_model"] | None:
        return self._stream_of(modality).class_token.detach() if self.config.class_condition else None

    def learn(self, train: TrainingFold) -> None:
        """Time bins and marginal hazards, of both heads."""
        super().learn(train)
        if self.config.warm_up:
            self.warm_head.learn_marginal(train.survival)

    def stages(self, epochs: int, learning_rate: float) -> tuple[Stage, ...]:
        """Warm-up, main, and one for each generator that is trained."""
        config = self.config
        n_hundreds = -(-config.generator_steps // 100)
        latents = OnLatents(config.generator_batch, min(100, config.generator_steps), patience=config.generator_patience)
        stages = [Stage(MAIN, epochs, learning_rate)]
        if config.warm_up:
            warm_epochs = min(epochs, config.warm_up_epochs or epochs)
            stages.insert(0, Stage(WARM_UP, warm_epochs, config.warm_up_rate * learning_rate, chosen=False))
        for m in self.modalities:
            generator_epochs = n_hundreds if self._generator_of(m).trained else 0
            stages.append(Stage(f"{GENERATOR}{m}", generator_epochs, config.generator_rate, chosen=False, latents=latents))
        return tuple(stages)

    def trained_in(self, stage: Stage) -> Iterable[tuple[str, nn.Parameter]]:
        """Encoders up to g in the warm-up; everything but its head in the main stage; one generator in the others."""
        for name, parameter in self.named_parameters():
            part = "generators" if name.startswith("generators.") else WARM_UP if name.startswith("warm_") else MAIN
            to_g = name.startswith("streams.") and ".specific." not in name
            of_warm_up = part == WARM_UP or to_g
            of_generator = name.startswith(f"generators.{stage.name.removeprefix(GENERATOR)}.")
            if {WARM_UP: of_warm_up, MAIN: part == MAIN}.get(stage.name, of_generator):
                yield name, parameter

    def unread(self, stage: Stage) -> tuple[str, ...]:
        """Before the generators, whatever is about them."""
        return () if stage.latents else OF_GENERATORS

    def settled(self, stage: Stage) -> Iterable[str] | None:
        """After the main stage, everything but the generators."""
        return [name for name in self.state_dict() if not name.startswith("generators")] if stage.name == MAIN else None

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Eq. 12 in the warm-up; Eq. 16 in the main stage."""
        if progress.stage == WARM_UP:
            return {"warm_up": self._warm_up(bag, survival)}
        config, parts = self.config, self._components(bag)
        nothing = {m: torch.zeros_like(u) for m, u in parts.specific.items()}  # for what is missing
        prediction = self._predict(parts, nothing, progress)
        terms = {"survival": self.head.loss(prediction, survival, beside)}
        terms["decomposition"] = config.decomposition_weight * self._decomposition(parts)
        terms["shared"] = config.shared_weight * self._shared_consistency(parts)
        terms["orthogonality"] = config.orthogonality_weight * self._orthogonality(parts)
        if config.projector == "soft":
            terms["projector"] = config.projector_weight * self.projector.penalty()
        return terms

    def _warm_up(self, bag: Bag, survival: Survival) -> Float[Tensor, ""]:
        """Eq. 12: each modality's g beside noise predicts survival; patients who lack it do not count.

        Patients of other batches do not either: the risks known of them are of phi of Eq. 11.
        """
        total = next(self.parameters()).new_zeros(())
        for m in self.modalities:
            has = bag[m].present
            groups = [places for places in encoded_alike(bag, (m,)) if bool(has[places[0]])]
            if not groups:
                continue
            whole = in_order([self._stream_of(m).whole(self._rows(bag, m, places)) for places in groups], groups)
            noise = self.config.noise * torch.randn_like(whole)
            prediction = self.warm_head(self.warm_fusion(torch.cat([whole, noise], dim=-1)))
            total = total + self.warm_head.loss(prediction, survival[has])
        return total

    def _decomposition(self, parts: Components) -> Float[Tensor, ""]:
        """Eq. 13: g_m against u^_m + what the others read in m."""
        free = self.config.decomposed == "free"
        whole = {m: g if free else g.detach() for m, g in parts.whole.items()}
        return total(self._distance(whole[m], parts.specific[m] + parts.read_in(m), parts) for m in self.modalities)

    def _shared_consistency(self, parts: Components) -> Float[Tensor, ""]:
        """Eq. 14, summed over pairs of modalities."""
        pairs = combinations(self.modalities, 2)
        return total(self._distance(parts.read_in(m), parts.read_in(n), parts) for m, n in pairs)

    def _orthogonality(self, parts: Components) -> Float[Tensor, ""]:
        """Eq. 15: |cos| of specific components, and of each with what its modality reads in the others."""
        pairs = [(parts.specific[m], parts.specific[n]) for m, n in combinations(self.modalities, 2)]
        for m in self.modalities:
            pairs.append((parts.specific[m], parts.read_by(m)))
        return total(parts.over_complete(cosine_similarity(left, right, dim=-1).abs()) for left, right in pairs)

    def _distance(self, left: Tensor, right: Tensor, parts: Components) -> Float[Tensor, ""]:
        """The squared distance of complete patients' vectors, over D as the config says."""
        squared = (left - right).square()
        return parts.over_complete(squared.mean(dim=-1) if self.config.reduction == "mean" else squared.sum(dim=-1))

    # Generators, on frozen components

    @torch.no_grad()
    def latents(self, train: TrainingFold, stage: Stage) -> dict[str, Tensor]:
        """u^ of a modality and what it is generated from, for the training patients who have it.

        `target` (patients, d_model); `conditions` (patients, sources, d_model), from each of the other modalities; `known` says which
        of these a patient has. Who has none of the others lends the own c~.
        """
        m = stage.name.removeprefix(GENERATOR)
        others = [n for n in self.modalities if n != m]
        rows: dict[str, list[Tensor]] = {"target": [], "conditions": [], "known": []}
        training = self.training
        self.eval()
        for bag in train.bags():
            parts = self._components(bag)
            if not bool(parts.present[m]):
                continue
            known = torch.stack([parts.present[n] for n in others], dim=1)
            each = [parts.read[m, n] if self.config.condition == "cross" else parts.recovered(n) for n in others]
            conditions = torch.stack(each, dim=1)
            rows["target"].append(parts.specific[m])
            rows["conditions"].append(conditions if bool(known.any()) else parts.recovered(m)[:, None].expand_as(conditions))
            rows["known"].append(known if bool(known.any()) else torch.ones_like(known))
        self.train(training)
        if not rows["target"]:
            raise ValueError(f"no training patient has {m}: its generator cannot be learnt; leave it out of model.must.modalities.")
        found = {name: torch.cat(values) for name, values in rows.items()}
        self._generator_of(m).learn(found["target"], self._condition(found))
        self.generators_learnt.fill_(True)
        return found

    def latent_losses(self, rows: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """Eq. 19, from a random choice of the modalities that a patient has beside the generated one."""
        m = progress.stage.removeprefix(GENERATOR)
        chosen = rows["known"]
        if self.training and chosen.shape[1] > 1:
            drawn = chosen & (torch.rand(chosen.shape, device=chosen.device) < 0.5)
            chosen = torch.where(drawn.any(dim=1, keepdim=True), drawn, chosen)
        condition = self._condition({**rows, "known": chosen})
        return {"generator": self._generator_of(m).loss(rows["target"], condition, self._prior(m))}

    def _condition(self, rows: Mapping[str, Tensor]) -> Float[Tensor, "patients d_model"]:
        """The mean of the known conditions of each patient."""
        known = rows["known"][:, :, None]
        return (rows["conditions"] * known).sum(dim=1) / known.sum(dim=1)

    def after_step(self, progress: Progress) -> None:
        """The average of a generator's weights."""
        if progress.stage.startswith(GENERATOR):
            self._generator_of(progress.stage.removeprefix(GENERATOR)).after_step()
