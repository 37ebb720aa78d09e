"""A fitted model: everything that a new patient needs, in two plain files."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from prognos import files
from prognos.cohort import Cohort
from prognos.models import entry_of
from prognos.models.contract import Model, ModelConfig
from prognos.risk.marginal import MarginalHead
from prognos.tokens.inputs import Inputs
from prognos.training.checkpoint import load_state
from prognos.training.fold import batches_by_size, having_any
from prognos.training.recipe import TrainingConfig
from prognos.types import Bag, InputShape, Prediction

FORMAT = 1
"""Version of the files that `Fitted.save` writes; a newer one is refused."""


@dataclass(frozen=True)
class Predictions:
    """Risks and survival curves of some patients.

    Args:
        patients: ids.
        risk: one number a patient, higher = earlier event.
        horizons: days.
        survival: (patients, horizons).
        without_input: True for patients that had none of the model's modalities; they get the median training risk and
            the training fold's Kaplan-Meier curve.
    """

    patients: tuple[str, ...]
    risk: np.ndarray
    horizons: np.ndarray
    survival: np.ndarray
    without_input: np.ndarray


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

    def predict(
        self,
        cohort: Cohort,
        patients: Sequence[str] | None = None,
        *,
        without: Sequence[str] = (),
        horizons: Sequence[float] | None = None,
        absent: Mapping[str, Sequence[str]] | None = None,
    ) -> Predictions:
        """Risks and curves of a cohort's patients, from all their patches, the same every time.

        Args:
            cohort: any cohort with the model's modalities; its survival is not looked at.
            patients: which of them; everyone when empty.
            without: modalities that nobody is taken to have.
            horizons: days of the survival curves; 1, 3 and 5 years when empty.
            absent: for single patients, modalities that they are taken not to have.
        """
        chosen = tuple(cohort.patients if patients is None else patients)
        times = np.asarray(horizons if horizons is not None else (365.0, 1095.0, 1825.0), dtype=float)
        risk, curves = np.full(len(chosen), np.nan), np.full((len(chosen), len(times)), np.nan)
        with_input = np.zeros(len(chosen), dtype=bool)
        place = {patient: i for i, patient in enumerate(chosen)}
        grid = torch.as_tensor(times)
        for bag, prediction in self.predictions(cohort, chosen, without=without, absent=absent):
            rows = [place[patient] for patient in bag.patients]
            risk[rows] = prediction.risk.double().cpu().numpy()
            curves[rows] = self.model.head.survival_curve(prediction, grid.to(prediction.risk.device)).cpu().numpy()
            with_input[rows] = _has_input(bag, self.model).cpu().numpy()
        nothing = ~with_input
        risk[nothing] = self.threshold
        curves[nothing] = self.marginal.survival_curve(Prediction(torch.zeros(1)), grid).numpy()
        return Predictions(chosen, risk, times, curves, nothing)

    @torch.no_grad()
    def predictions(
        self,
        cohort: Cohort,
        patients: Sequence[str],
        *,
        without: Sequence[str] = (),
        absent: Mapping[str, Sequence[str]] | None = None,
    ) -> Iterator[tuple[Bag, Prediction]]:
        """Bags and predictions with their evidence, a few patients at a time; patients with no input at all are left out."""
        subset = cohort.subset(tuple(patients))
        kept = tuple(np.array(subset.patients)[having_any(subset, self.model.needs.modalities)])
        if not kept:
            return
        reader = self.inputs.reader(subset)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        sizes = {p: reader.n_patches(p) for p in kept} if "histology" in self.model.needs.modalities else {}
        self.model.eval()
        for batch in batches_by_size(kept, sizes):
            bag = self._bag(reader, batch).without(*without)
            for modality in sorted({m for p in batch for m in (absent or {}).get(p, ())}):
                gone = torch.tensor([modality in (absent or {}).get(p, ()) for p in batch])
                bag = bag.without(modality, patients=gone)
            bag = bag.to(device)
            yield bag, self.model(bag)

    def _bag(self, reader: Any, batch: tuple[str, ...]) -> Bag:
        if self.training.evaluation_patches is None:
            return reader.bag(batch)
        text = json.dumps([self.seed, *batch])
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return reader.bag(batch, n_patches=self.training.evaluation_patches, generator=np.random.default_rng(seed))

    def save(self, folder: str | Path) -> Path:
        """Writes `weights.safetensors`, `log.csv` and `fitted.json`, the last one last: a folder with it is whole."""
        folder = Path(folder)
        marginal = {"marginal.times": self.marginal.curve_times, "marginal.curve": self.marginal.curve}
        files.write_tensors(folder / "weights.safetensors", {f"model.{k}": v for k, v in self.model.state_dict().items()} | marginal)
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
            "inputs": self.inputs.state(),
            "weights_sha256": digest,
            "provenance": dict(self.provenance),
        }
        files.write_json(folder / "fitted.json", described)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Fitted":
        """Reads what `save` wrote.

        Raises:
            ValueError: the folder is not a fitted model, is damaged, or was written by a newer version.
        """
        folder = Path(folder)
        described = _described(folder)
        try:
            state = load_file(folder / "weights.safetensors")
        except Exception as error:
            raise ValueError(f"{folder / 'weights.safetensors'} cannot be read ({error}); fit the model again or copy it anew.") from error
        entry = entry_of(described["model"])
        kind = entry.load()
        shape = _shape_from(described["shape"])
        config = kind.Config(**described["config"])
        model = kind(config, shape)
        if model.needs.parts:
            parts = {name: entry_of(name).load() for name in model.needs.parts}
            model.take_parts({name: part(part.Config(**described["parts"][name]), shape) for name, part in parts.items()})
        marginal = MarginalHead()
        marginal.curve_times, marginal.curve = state.pop("marginal.times"), state.pop("marginal.curve")
        load_state(model, {name.removeprefix("model."): value for name, value in state.items()})
        model.eval()
        return cls(
            name=described["model"],
            model=model,
            inputs=Inputs.from_state(described["inputs"]),
            config=config,
            training=TrainingConfig(**described["training"]),
            seed=described["seed"],
            log=_read_log(folder / "log.csv"),
            threshold=described["threshold"],
            marginal=marginal,
            provenance=described["provenance"],
        )


def _described(folder: Path) -> dict[str, Any]:
    """fitted.json, checked against its version and the hash of the weights."""
    path = folder / "fitted.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a fitted model: it has no fitted.json; give a fold folder of a run, or what `fitted.save` wrote."
        )
    try:
        described = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); fit the model again or copy it anew.") from error
    if described.get("format", 0) > FORMAT:
        raise ValueError(f"{path} has format {described['format']}, newer than {FORMAT}, which this prognos reads; update prognos.")
    weights = folder / "weights.safetensors"
    if not weights.is_file() or hashlib.sha256(weights.read_bytes()).hexdigest() != described["weights_sha256"]:
        raise ValueError(f"{weights} is not the file that {path.name} was written with; copy the whole folder again.")
    return described


def _has_input(bag: Bag, model: Model) -> torch.Tensor:
    return torch.stack([bag[m].present for m in model.needs.modalities]).any(dim=0)


def _parts(model: Model) -> Mapping[str, Any]:
    return dict(model.parts.items()) if model.needs.parts else {}


def _shape_state(shape: InputShape) -> dict[str, Any]:
    return {
        "d_patch": shape.d_patch,
        "pathway_features": list(shape.pathway_features),
        "n_genes": shape.n_genes,
        "tables": dict(shape.tables),
    }


def _shape_from(state: Mapping[str, Any]) -> InputShape:
    return InputShape(state["d_patch"], tuple(state["pathway_features"]), state["n_genes"], state["tables"])


def _read_log(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, float_precision="round_trip") if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()
