"""A bundle that was opened: its models, and what it says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from prognos.bundle.archive import checked, opened
from prognos.bundle.ensemble import Ensemble
from prognos.bundle.manifest import CARD, SPREADS, Manifest
from prognos.bundle.summary import TrainingSummary
from prognos.cohort import Cohort
from prognos.training import Folder, Predictions


@dataclass(frozen=True)
class Bundle:
    """What `prognos bundle` wrote, every file of it checked.

    Args:
        place: the folder or zip.
        root: its top, from which files are read.
        manifest: what bundle.json says.
    """

    place: Path
    root: Folder
    manifest: Manifest

    @classmethod
    def open(cls, place: Path | str) -> "Bundle":
        """The bundle at a place.

        Raises:
            BundleError: it is none, it is damaged, something was added to it, or a newer version wrote it.
        """
        root = opened(Path(place))
        return cls(Path(place), root, checked(root))

    @property
    def folders(self) -> list[Folder]:
        """The folder of each fitted model."""
        return [self.root.joinpath(member.place) for member in self.manifest.members]

    @cached_property
    def training(self) -> TrainingSummary:
        """How the training patients lie."""
        return TrainingSummary.from_state(self.manifest.training, load((self.root / SPREADS).read_bytes()))

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.root / CARD).read_text(encoding="utf-8")

    def predict(
        self,
        cohort: Cohort,
        patients: Sequence[str] | None = None,
        *,
        without: Sequence[str] = (),
        horizons: Sequence[float] | np.ndarray | None = None,
        draws: int = 0,
    ) -> Predictions:
        """Risks and curves of a cohort's patients; arguments as `Fitted.predict`.

        Of several models these are the means, of risks less each model's threshold; see `Joint`.

        Raises:
            ValueError: as `Fitted.predict`, such as features of another encoder than in training.
        """
        names = (without,) if isinstance(without, str) else tuple(without)
        return Ensemble(self.folders).ask(cohort, patients, without=names, horizons=horizons, draws=draws).predictions
