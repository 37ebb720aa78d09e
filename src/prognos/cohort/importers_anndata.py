"""AnnData and MuData files: `obs` becomes clinical.csv, the matrices become tables. Read with the optional packages."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prognos.cohort.cohort import OMICS_KINDS
from prognos.cohort.endpoints import endpoint_names
from prognos.cohort.importers_parts import ImportSourceError, Parts


def from_h5ad(source: Path, project: str | None) -> Parts:
    """One matrix patients x genes: it becomes rna.csv.gz."""
    data = _opened(source, "anndata", "read_h5ad")
    said = [f"{source.name}: {data.n_obs} patients x {data.n_vars} genes", "X -> rna.csv.gz as it was"]
    return Parts(_clinical(data.obs, source), tables={"rna": _matrix(data)}, said=said)


def from_h5mu(source: Path, project: str | None) -> Parts:
    """Several matrices: those called rna, cnv and snv are omics, others further tables."""
    data = _opened(source, "mudata", "read_h5mu")
    parts = Parts(_clinical(data.obs, source), said=[f"{source.name}: {data.n_obs} patients"])
    for name, content in data.mod.items():
        parts.tables[str(name)] = _matrix(content)
        kind = "" if name in OMICS_KINDS else " (a further modality)"
        parts.said.append(f"{name} -> {name}.csv.gz{kind}: {content.n_obs} patients x {content.n_vars} columns")
    return parts


def _opened(source: Path, package: str, reader: str) -> Any:
    if not source.is_file():
        raise ImportSourceError(f"there is no file {source}: correct the path.")
    try:
        module = import_module(package)
    except ImportError as error:
        raise ImportSourceError(f"reading {source.suffix} needs {package}: pip install 'prognos[anndata]'.") from error
    try:
        return getattr(module, reader)(source)
    except (OSError, ValueError, KeyError) as error:
        raise ImportSourceError(f"{source.name} cannot be read by {package} ({error}): write it again.") from error


def _clinical(obs: pd.DataFrame, source: Path) -> pd.DataFrame:
    """The patients' own columns; what the package derives from a matrix (`rna:...`) is not a covariate."""
    own = obs[[name for name in obs if ":" not in str(name)]]
    if not endpoint_names(own)[0]:
        raise ImportSourceError(
            f"{source.name}: obs has no pair of columns <endpoint>_time (days) and <endpoint>_event (1 observed); "
            f"it has {', '.join(map(str, own.columns)) or 'none'}: add them."
        )
    patients = own["patient_id"].astype(str) if "patient_id" in own else own.index.astype(str)
    clinical = own.drop(columns="patient_id", errors="ignore").astype(object)
    clinical.insert(0, "patient_id", np.asarray(patients))
    return clinical.reset_index(drop=True)


def _matrix(data: Any) -> pd.DataFrame:
    values = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    ids = data.obs.get("patient_id", data.obs_names)
    index = pd.Index(np.asarray(ids).astype(str), name="patient_id")
    return pd.DataFrame(values, index=index, columns=[str(name) for name in data.var_names])
