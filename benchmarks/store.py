"""4,096 random patches of 20,000 x 1,024 from the packed store, against HDF5 with one chunk a patch and `.pt`.

    python benchmarks/store.py [--patches 20000] [--width 1024] [--drawn 4096] [--repeats 15]

Every side ends with the drawn rows as a float32 tensor, which is checked to be equal (to float16) before anything is timed. The sides
take turns in one process with one thread; files are warm. HDF5 and `.pt` are read whole and then indexed, as the published
pipelines do; h5py's own indexing and our rows as they are stored (float16) are shown beside. Ratios are of the medians of process CPU time.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

from prognos.cohort import Cohort
from prognos.tokens import PatchStore

NEEDED = {"h5py whole, then index": 30.0, "torch.load, then index": 12.0}
OURS = "prognos store"


def cohort_of(files: list[Path], width: int) -> Cohort:
    """A cohort of one slide a patient; nothing but its slides is looked at."""
    patients = [f"P{number}" for number in range(len(files))]
    return Cohort(
        name="benchmark",
        endpoint="os",
        clinical=pd.DataFrame({"age": 60.0}, index=pd.Index(patients, name="patient_id")),
        time=np.ones(len(files)),
        event=np.ones(len(files), dtype=bool),
        slides=pd.DataFrame({"slide_id": patients, "patient_id": patients, "path": [str(path) for path in files]}),
        tables={},
        omics_kinds=(),
        gene_sets={},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=width,
        subtype=None,
    )


def written(folder: Path, n_patches: int, width: int) -> list[Path]:
    """Two slides as HDF5 with one chunk a patch; the first also as `.pt`. Two, so that the cohort is packed and not held in memory."""
    generator = np.random.default_rng(0)
    files = []
    for number in range(2):
        values = generator.standard_normal((n_patches, width), dtype=np.float32)
        files.append(folder / f"slide-{number}.h5")
        with h5py.File(files[-1], "w") as file:
            file.create_dataset("features", data=values, chunks=(1, width))
            file.create_dataset("coords", data=generator.integers(0, 100_000, (n_patches, 2)), chunks=(1, 2))
        if number == 0:
            torch.save(torch.from_numpy(values), folder / "slide-0.pt")
    return files


def sides(folder: Path, files: list[Path], store: PatchStore) -> dict[str, Callable[[np.ndarray], torch.Tensor]]:
    """What is compared: sorted places of patches -> their features in float32."""

    def hdf5_whole(index: np.ndarray) -> torch.Tensor:
        with h5py.File(files[0], "r") as file:
            values = file["features"][:]
        return torch.from_numpy(values)[torch.from_numpy(index)]

    def hdf5_indexed(index: np.ndarray) -> torch.Tensor:
        with h5py.File(files[0], "r") as file:
            return torch.from_numpy(file["features"][index])

    def tensor_file(index: np.ndarray) -> torch.Tensor:
        return torch.load(folder / "slide-0.pt")[torch.from_numpy(index)]

    def ours(index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(store.rows("P0", index)).float()

    def as_stored(index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(store.rows("P0", index))

    return {
        OURS: ours,
        f"{OURS}, float16": as_stored,
        "h5py whole, then index": hdf5_whole,
        "h5py indexed": hdf5_indexed,
        "torch.load, then index": tensor_file,
    }


def measured(compared: dict[str, Callable], draws: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Median milliseconds of each side, taking turns over the same draws."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
    for index in draws:
        for name, side in compared.items():
            cpu, wall = time.process_time(), time.perf_counter()
            side(index)
            taken[name].append((1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)))
    return {
        name: {"cpu_ms": statistics.median(cpu for cpu, _ in times), "wall_ms": statistics.median(wall for _, wall in times)}
        for name, times in taken.items()
    }


def main() -> int:
    """Measures, prints a table and one line of JSON; 1 when a ratio is smaller than needed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"patches": 20_000, "width": 1024, "drawn": 4096, "repeats": 15}.items():
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--folder", type=Path, help="where the files are written; a temporary folder when not given")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    draws = [np.sort(generator.choice(chosen.patches, chosen.drawn, replace=False)) for _ in range(chosen.repeats)]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder = Path(temporary)
        files = written(folder, chosen.patches, chosen.width)
        start = time.perf_counter()
        store = PatchStore.open(cohort_of(files, chosen.width), folder / "store", in_memory_below=0)
        packing = time.perf_counter() - start
        compared = sides(folder, files, store)
        expected = compared["h5py whole, then index"](draws[0]).half().float()
        for name, side in compared.items():
            if not torch.equal(side(draws[0]).half().float(), expected):
                raise AssertionError(f"{name} reads other values")
        result = measured(compared, draws)
    ratios = {name: times["cpu_ms"] / result[OURS]["cpu_ms"] for name, times in result.items()}
    task = f"{chosen.drawn} of {chosen.patches} x {chosen.width} patches as a float32 tensor"
    print(f"{task}, one thread, {platform.machine()}, median of {chosen.repeats}")
    print(f"{'side':26}{'CPU ms':>10}{'wall ms':>10}{'CPU ratio':>11}{'needed':>9}")
    for name, times in result.items():
        needed = f"{NEEDED[name]:.0f}" if name in NEEDED else ""
        print(f"{name:26}{times['cpu_ms']:10.2f}{times['wall_ms']:10.2f}{ratios[name]:11.1f}{needed:>9}")
    print(f"packing two slides once: {packing:.2f} s")
    met = all(ratios[name] >= needed for name, needed in NEEDED.items())
    print(json.dumps({"benchmark": "store", "met": met, "ratios": ratios, **result}))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
