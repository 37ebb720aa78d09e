"""Host settings, devices and seeds. Applied once at the start of a process and recorded in every run.

This module imports torch inside its functions only: allocation has to be set before torch is loaded, and `prognos --help`
must not wait for it.
"""

import ctypes
import hashlib
import math
import os
import platform
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
MATMUL_TOLERANCE = 1e-6


@dataclass(frozen=True)
class HostSettings:
    """What was set on this machine, and why.

    Args:
        threads: torch threads of this process.
        cores: physical cores that this process may use, within its affinity and cgroup quota.
        matmul: float32 matrix precision given to torch; `medium` selects oneDNN on CPUs where that stays true float32.
        matmul_error: relative error of a float32 product under `medium`; NaN when it was not tried (CUDA).
        huge_pages: torch asks for transparent huge pages.
        device: where models are trained unless told otherwise.
        cpu: name of the processor.
        memory: bytes that were available at the start.
    """

    threads: int
    cores: int
    matmul: str
    matmul_error: float
    huge_pages: bool
    device: str
    cpu: str
    memory: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for provenance.json."""
        values = asdict(self)
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def prepare_environment() -> bool:
    """Ask torch for huge pages, which it reads when it is loaded; False when torch was loaded before without them."""
    if "torch" not in sys.modules:
        os.environ.setdefault(HUGE_PAGES, "1")
    return os.environ.get(HUGE_PAGES) == "1"


def apply_host_settings(threads: int | None = None) -> HostSettings:
    """Set allocation, threads and the float32 matrix back end of this process, and say what was set.

    Args:
        threads: torch threads; all usable cores when left out. Study workers use 1: one job, one core, and the same sums
            in the same order wherever the job runs.
    """
    huge_pages = prepare_environment()
    import torch

    cores = usable_cores()
    torch.set_num_threads(threads or cores)
    on_cuda = torch.cuda.is_available()
    error = math.nan if on_cuda else matmul_error("medium")
    matmul = "medium" if error < MATMUL_TOLERANCE else "highest"
    torch.set_float32_matmul_precision(matmul)
    return HostSettings(
        threads=torch.get_num_threads(),
        cores=cores,
        matmul=matmul,
        matmul_error=error,
        huge_pages=huge_pages,
        device="cuda" if on_cuda else "cpu",
        cpu=_cpu_name(),
        memory=available_memory(),
    )


def matmul_error(precision: str) -> float:
    """Relative error of float32 products on this CPU under a torch precision setting; the setting is put back."""
    import torch

    before = torch.get_float32_matmul_precision()
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(256, 256, generator=generator)
    right = torch.randn(256, 192, generator=generator)
    exact = left.double() @ right.double()
    try:
        torch.set_float32_matmul_precision(precision)
        products = (left @ right, torch.nn.functional.linear(left, right.T), torch.bmm(left[None], right[None])[0])
    finally:
        torch.set_float32_matmul_precision(before)
    return max(float((product.double() - exact).norm() / exact.norm()) for product in products)


def usable_cores() -> int:
    """Physical cores within this process's affinity and cgroup quota; at least 1."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    quota = cgroup_quota()
    return max(1, min(len(cpus), physical_cores(cpus), math.ceil(quota) if quota else len(cpus)))


def physical_cores(cpus: set[int], root: Path = Path("/sys/devices/system/cpu")) -> int:
    """How many distinct physical cores these logical CPUs are; each counts as one where the system does not say."""
    cores = set()
    for cpu in cpus:
        siblings = root / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text().strip() if siblings.is_file() else f"cpu{cpu}")
    return len(cores)


def cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs that the control group grants (version 2, then 1); None without a limit."""
    limit = root / "cpu.max"
    if limit.is_file():
        quota, period = limit.read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    quota_file, period_file = root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us"
    if quota_file.is_file() and period_file.is_file():
        microseconds = int(quota_file.read_text())
        return None if microseconds < 0 else microseconds / int(period_file.read_text())
    return None


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this machine, or its control group, still has; 0 where the system does not say."""
    known = []
    if meminfo.is_file():
        known += [int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:")]
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        known.append(max(0, int(limit.read_text()) - int(used.read_text())))
    return min(known, default=0)


class PeakMemory:
    """The most memory of this process inside a `with` block, on the host; memory of accelerators is not in it.

    `before` and `most` are bytes: what was held at the beginning and the most that was held until the end, the interpreter and its
    modules included. Both are None where the system does not tell; Linux does.
    """

    before: int | None = None
    most: int | None = None

    def __init__(self, process: Path = Path("/proc/self")):
        self._process = process

    def __enter__(self) -> "PeakMemory":
        _give_back_freed_memory()
        try:
            (self._process / "clear_refs").write_text("5")  # the peak is what is held now
            self.before = self._bytes("VmRSS")
        except OSError:
            self.before = None
        return self

    def __exit__(self, *_: object) -> None:
        self.most = None if self.before is None else self._bytes("VmHWM")

    def _bytes(self, name: str) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _give_back_freed_memory() -> None:
    """What the C library keeps of freed memory goes back to the system, where it can be told to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def device(name: str = "auto") -> str:
    """The device that a name means: `auto` is cuda where there is one, else cpu.

    Raises:
        ValueError: for a device that this machine or this torch does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(f"there is no device {name!r}; use auto, cpu, cuda, cuda:N or mps.")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"the device {name!r} is not available to torch {torch.__version__} on this machine; use auto or cpu.")
    if kind == "cuda" and ":" in name and int(name.partition(":")[2]) >= torch.cuda.device_count():
        raise ValueError(f"the device {name!r} is not there: this machine has {torch.cuda.device_count()}, counted from 0.")
    return name


def derive_seed(*parts: Any) -> int:
    """A seed that depends on the values given and on nothing else: not on the order of jobs, the process or Python's hash."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: Any) -> np.random.Generator:
    """A numpy generator seeded with `derive_seed` of the values given."""
    return np.random.default_rng(derive_seed(*parts))


def uniform(*parts: Any) -> float:
    """One draw from U(0, 1) that depends on the values given only."""
    return (derive_seed(*parts) + 0.5) / 2**63


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
