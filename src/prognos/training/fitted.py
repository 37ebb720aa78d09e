"""A fitted model: everything that a new patient needs, in two plain files."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from torch import nn

from prognos import files
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.config import unknown
from prognos.models import entry_of
from prognos.models.contract import Model, ModelConfig, Needs
from prognos.risk.marginal import MarginalHead
from prognos.tokens.fill import Filler, Policy
from prognos.tokens.inputs import Inputs
from prognos.training.checkpoint import load_state
from prognos.training.fold import evaluation_bags, having_any
from prognos.training.predictions import Predictions
from prognos.training.recalibration import Recalibration
from prognos.training.recipe import TrainingConfig
from prognos.types import Bag, InputShape, Prediction

Folder = Path | zipfile.Path
"""A folder, or a place inside a zip."""

FORMAT = 1
"""Version of the files that `Fitted.save` writes; a newer one is refused."""

INTERVAL = (5, 95)
"""Percentiles of single draws that an interval goes from and to."""

KEYS = ("format", "model", "config", "parts", "training", "seed", "threshold", "shape", "inputs", "weights_sha256", "provenance")
"""What fitted.json says."""


@dataclass(frozen=True)
class Fitted:
    """A trained model with all that it learnt from its training fold.

    Args:
        name: entry of the table of models.
        model: in evaluation mode.
        inputs: how patients become bags: scalers, gene schema, clinical encoding.
        config: the model's settings.
        training: how it was trained.
        seed: of weights, batches and dropout.
        log: one row an epoch: stage, epoch, step, learning rate, each loss term, total.
        threshold: median training risk; above it lies the high-risk group.
        marginal: the training fold's Kaplan-Meier curve.
        provenance: what it was fitted on, in plain words and numbers.
        filler: what stands in for what a patient lacks, where the model does not see to that itself.
        subtypes: share of each class among the training patients with a label, for models that learn subtypes.
        recalibration: of its survival curves, where it was asked for; never of its risks.
    """

    name: str
    model: Model
    inputs: Inputs
    config: ModelConfig
    training: TrainingConfig
    seed: int
    log: pd.DataFrame
    threshold: float
    marginal: MarginalHead
    provenance: Mapping[str, Any]
    filler: Filler | None = None
    subtypes: Mapping[str, float] = field(default_factory=dict)
    recalibration: Recalibration | None = None

    @property
    def shape(self) -> InputShape:
        """The sizes that fix the model's parameters."""
        return replace(self.inputs.shape, subtypes=tuple(self.subtypes))

    def predict(
        self,
        cohort: Cohort,
        patients: Sequence[str] | None = None,
        *,
        without: Sequence[str] = (),
        horizons: Sequence[float] | np.ndarray | None = None,
        absent: Mapping[str, Sequence[str]] | None = None,
        draws: int = 0,
    ) -> Predictions:
        """Risks and curves of a cohort's patients, from all their patches, the same every time.

        Args:
            cohort: any cohort with the model's modalities; its survival is not looked at.
            patients: which of them; everyone when empty.
            without: modalities that nobody is taken to have; one may be given by its name alone.
            horizons: days of the survival curves; 1, 3 and 5 years when empty.
            absent: for single patients, modalities that they are taken not to have.
            draws: for models that draw what is missing: how many draws the intervals rest on; no interval for 0.

        Raises:
            ValueError: a patient, a modality or a horizon that cannot be, or features of another encoder than in training.
            FloatingPointError: a risk that is not finite; the message names the patients.
        """
        chosen = tuple(cohort.patients if patients is None else patients)
        times = _days((365.0, 1095.0, 1825.0) if horizons is None else horizons)
        risk, curves = np.full(len(chosen), np.nan), np.full((len(chosen), len(times)), np.nan)
        with_input, not_converged = np.zeros(len(chosen), dtype=bool), np.zeros(len(chosen), dtype=bool)
        spread, spread_of_curves = np.full((2, len(chosen)), np.nan), np.full((2, len(chosen), len(times)), np.nan)
        similarities: dict[tuple[str, str], np.ndarray] = {}
        probabilities = np.full((len(chosen), len(self.subtypes)), np.nan)
        place = {patient: i for i, patient in enumerate(chosen)}
        grid = torch.as_tensor(times)
        for bag, prediction in self.predictions(cohort, chosen, without=without, absent=absent):
            rows = [place[patient] for patient in bag.patients]
            risk[rows] = prediction.risk.double().cpu().numpy()
            curves[rows] = self._curves(prediction, grid)
            with_input[rows] = _has_input(bag, self.model).cpu().numpy()
            not_converged[rows] = _not_converged(prediction)
            if prediction.subtype_logits is not None:
                probabilities[rows] = prediction.subtype_logits.double().softmax(dim=1).cpu().numpy()
            for pair, cosines in self.model.similarities(prediction).items():
                similarities.setdefault(pair, np.full(len(chosen), np.nan))[rows] = cosines.cpu().numpy()
            drawn = self._drawn(bag, draws, grid)
            if drawn is not None:
                lacking = [row for row, gone in zip(rows, (~_complete(bag, self.model)).tolist(), strict=True) if gone]
                here = [i for i, row in enumerate(rows) if row in lacking]
                spread[:, lacking] = np.percentile(drawn[0][:, here], INTERVAL, axis=0)
                spread_of_curves[:, lacking] = np.percentile(drawn[1][:, here], INTERVAL, axis=0)
        bad = [patient for i, patient in enumerate(chosen) if with_input[i] and not np.isfinite(risk[i])]
        if bad:
            raise FloatingPointError(
                f"{self.name} gives {len(bad)} of {len(chosen)} patients a risk that is not finite ({naming(bad)}); look at their features."
            )
        nothing = ~with_input
        spread[:, nothing], spread_of_curves[:, nothing] = np.nan, np.nan
        risk[nothing] = self.threshold
        probabilities[nothing] = list(self.subtypes.values())
        curves[nothing] = self.marginal.survival_curve(Prediction(torch.zeros(1)), grid).numpy()
        unfinished, ends = not_converged & with_input, (*spread, *spread_of_curves)
        found = Predictions(chosen, risk, times, curves, nothing, unfinished, *ends, similarities=similarities)
        return replace(found, subtypes=tuple(self.subtypes), subtype_probabilities=probabilities) if self.subtypes else found

    def _drawn(self, bag: Bag, draws: int, grid: torch.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
        """Risks (draws, batch) and curves (draws, batch, horizons) of single draws; None where nothing is drawn."""
        if not draws or self.filler is not None or bool(_complete(bag, self.model).all()):
            return None
        with torch.no_grad():
            drawn = self.model.draws(bag, draws)
        if not drawn:
            return None
        curves = [self._curves(prediction, grid) for prediction in drawn]
        return np.stack([prediction.risk.double().cpu().numpy() for prediction in drawn]), np.stack(curves)

    def _curves(self, prediction: Prediction, grid: torch.Tensor) -> np.ndarray:
        """Survival curves (batch, horizons), recalibrated where that was learnt."""
        if self.recalibration is not None:
            return self.recalibration.curves(prediction.risk.double().cpu().numpy() - self.threshold, grid.cpu().numpy())
        survival = self.model.head.survival_curve(prediction, grid.to(prediction.risk.device))
        return np.asarray(survival.cpu().numpy())

    def predictions(
        self,
        cohort: Cohort,
        patients: Sequence[str],
        *,
        without: Sequence[str] = (),
        absent: Mapping[str, Sequence[str]] | None = None,
    ) -> Iterator[tuple[Bag, Prediction]]:
        """Bags and predictions with their evidence, a few patients at a time, in an order that does not depend on the one given.

        Patients with none of the model's modalities are left out.
        """
        gone = self._modalities(without, cohort)
        single = {patient: self._modalities(names, cohort) for patient, names in (absent or {}).items()}
        unknown_patients = sorted(set(single) - set(cohort.patients))
        if unknown_patients:
            raise ValueError(
                f"absent names {len(unknown_patients)} patients who are not in {cohort.name} ({naming(unknown_patients)}): "
                "choose among Cohort.patients."
            )
        subset = cohort.subset(tuple(patients))
        kept = np.array(subset.patients)[having_any(subset, self.model.needs.modalities, self.inputs.config.omics_kinds)]
        if not len(kept):
            return
        reader = self.inputs.reader(subset)
        device = next((t.device for t in chain(self.model.parameters(), self.model.buffers())), torch.device("cpu"))
        self.model.eval()
        for bag in evaluation_bags(reader, tuple(kept), most_patches=self.training.evaluation_patches, seed=self.seed):
            bag = bag.without(*gone)
            for modality in sorted({m for p in bag.patients for m in single.get(p, ())}):
                bag = bag.without(modality, patients=torch.tensor([modality in single.get(p, ()) for p in bag.patients]))
            given = (bag if self.filler is None else self.filler(bag)).to(device)
            bag = bag.to(device)
            with torch.no_grad():  # not around the yield: whoever takes the prediction keeps its own mode
                prediction = self.model(given)
            yield bag, prediction

    def _modalities(self, names: Sequence[str], cohort: Cohort) -> tuple[str, ...]:
        """Names of modalities, one alone or several, each of which exists."""
        names = (names,) if isinstance(names, str) else tuple(names)
        known = dict.fromkeys([*self.model.needs.modalities, "clinical", "histology", "omics", *cohort.modalities])
        for name in names:
            if name not in known:
                raise ValueError(f"without: {unknown('modality', name, known)}")
        return names

    def gene_groups(self) -> pd.DataFrame:
        """kind, gene, group and share: of each feature the learnt group that has most of it; no rows for a model that learns none."""
        shares, omics = self.model.gene_groups(), self.inputs.omics
        if shares is None or omics is None:
            return pd.DataFrame(columns=["kind", "gene", "group", "share"])
        most = shares.cpu().max(dim=1)
        features = pd.DataFrame(list(omics.schema.features), columns=["kind", "gene"])
        return features.assign(group=most.indices.numpy(), share=most.values.numpy())

    def save(self, folder: str | Path) -> Path:
        """Writes `weights.safetensors`, `log.csv` and `fitted.json`, the last one last: a folder with it is whole."""
        folder = Path(folder)
        whole = _whole(self.model, self.marginal, self.filler)
        files.write_tensors(folder / "weights.safetensors", whole.state_dict())
        files.write_csv(folder / "log.csv", self.log)
        digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        described = {
            "format": FORMAT,
            "model": self.name,
            "config": self.config.model_dump(mode="json"),
            "parts": {name: part.config.model_dump(mode="json") for name, part in _parts(self.model).items()},
            "training": self.training.model_dump(mode="json"),
            "seed": self.seed,
            "threshold": self.threshold,
            "shape": _shape_state(self.inputs.shape),
            "subtypes": dict(self.subtypes),
            "inputs": self.inputs.state(),
            "weights_sha256": digest,
            "provenance": dict(self.provenance),
            "recalibration": None if self.recalibration is None else self.recalibration.state(),
        }
        files.write_json(folder / "fitted.json", described)
        return folder

    @classmethod
    def load(cls, folder: str | Folder) -> "Fitted":
        """Reads what `save` wrote, in a folder or inside a zip (`zipfile.Path`).

        Raises:
            ValueError: the folder is not a fitted model, is damaged, or was written by a newer version.
        """
        folder = Path(folder) if isinstance(folder, str) else folder
        described = _described(folder)
        try:
            state = load_tensors((folder / "weights.safetensors").read_bytes())
        except Exception as error:
            raise ValueError(f"{folder / 'weights.safetensors'} cannot be read ({error}); fit the model again or copy it anew.") from error
        entry = entry_of(described["model"])
        kind = entry.load()
        subtypes = described.get("subtypes", {})
        shape = replace(_shape_from(described["shape"]), subtypes=tuple(subtypes))
        config = kind.Config(**described["config"])
        model = kind(config, shape)
        if model.needs.parts:
            parts = {name: entry_of(name).load() for name in model.needs.parts}
            model.take_parts({name: part(part.Config(**described["parts"][name]), shape) for name, part in parts.items()})
        marginal = MarginalHead()
        inputs = Inputs.from_state(described["inputs"])
        filler = filler_of(inputs.config.fill, model.needs)
        load_state(_whole(model, marginal, filler), state)
        model.eval()
        return cls(
            name=described["model"],
            model=model,
            inputs=inputs,
            config=config,
            training=TrainingConfig(**described["training"]),
            seed=described["seed"],
            log=_read_log(folder / "log.csv"),
            threshold=described["threshold"],
            marginal=marginal,
            provenance=described["provenance"],
            filler=filler,
            subtypes=subtypes,
            recalibration=Recalibration.from_state(described["recalibration"]) if described.get("recalibration") else None,
        )


def filler_of(policy: Policy, needs: Needs) -> Filler | None:
    """The filler of a model; None where the model sees itself to what a patient lacks."""
    if policy == "model" and not needs.complete:
        return None
    return Filler("mean" if policy == "model" else policy, needs.modalities)


def _whole(model: Model, marginal: MarginalHead, filler: Filler | None) -> nn.ModuleDict:
    """All modules whose weights and buffers travel."""
    return nn.ModuleDict({"model": model, "marginal": marginal} | ({} if filler is None else {"filler": filler}))


def _described(folder: Folder) -> dict[str, Any]:
    """fitted.json, checked against its version and the hash of the weights."""
    path = folder / "fitted.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a fitted model: it has no fitted.json; give a fold folder of a run, or what `fitted.save` wrote."
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); fit the model again or copy it anew.") from error
    format = described.get("format") if isinstance(described, dict) else None
    if isinstance(format, int) and format > FORMAT:
        raise ValueError(f"{path} has format {format}, newer than {FORMAT}, which this prognos reads; update prognos.")
    absent = [key for key in KEYS if format is None or key not in described]
    if absent:
        raise ValueError(
            f"{path} is not what `fitted.save` wrote: it lacks {naming(absent)} ({len(absent)} keys); fit the model again or copy it anew."
        )
    weights = folder / "weights.safetensors"
    if not weights.is_file() or hashlib.sha256(weights.read_bytes()).hexdigest() != described["weights_sha256"]:
        raise ValueError(f"{weights} is not the file that {path.name} was written with; copy the whole folder again.")
    return described


def _has_input(bag: Bag, model: Model) -> torch.Tensor:
    """True for patients with any of the model's modalities; a model that reads none has what it needs of everyone."""
    if not model.needs.modalities:
        return torch.ones(len(bag), dtype=torch.bool)
    return torch.stack([bag[m].present for m in model.needs.modalities]).any(dim=0)


def _complete(bag: Bag, model: Model) -> torch.Tensor:
    """True for patients with all of the model's modalities."""
    return torch.stack([bag[m].present for m in model.needs.modalities]).all(dim=0) if model.needs.modalities else _has_input(bag, model)


def _not_converged(prediction: Prediction) -> np.ndarray:
    """True where the evidence says that an iteration inside the model did not converge; False where it says nothing of it."""
    converged = prediction.evidence.get("converged")
    return np.zeros(len(prediction.risk), dtype=bool) if converged is None else ~converged.cpu().numpy()


def _parts(model: Model) -> Mapping[str, Any]:
    parts: Any = model.parts if model.needs.parts else {}
    return dict(parts.items())


def _days(horizons: Sequence[float] | np.ndarray) -> np.ndarray:
    times = np.asarray(horizons, dtype=float)
    bad = times[~(np.isfinite(times) & (times >= 0))]
    if len(bad):
        raise ValueError(f"{len(bad)} of {len(times)} horizons are not days ({naming(bad)}); give finite numbers from 0.")
    return times


def _shape_state(shape: InputShape) -> dict[str, Any]:
    return {
        "d_patch": shape.d_patch,
        "pathway_features": list(shape.pathway_features),
        "n_genes": shape.n_genes,
        "tables": dict(shape.tables),
    }


def _shape_from(state: Mapping[str, Any]) -> InputShape:
    return InputShape(state["d_patch"], tuple(state["pathway_features"]), state["n_genes"], state["tables"])


def _read_log(path: Folder) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return pd.read_csv(io.StringIO(text), float_precision="round_trip") if text.strip() else pd.DataFrame()
