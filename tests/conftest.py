"""Types are checked at run time, one thread, and small inputs that many tests share."""

import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from jaxtyping import install_import_hook

if "prognos" not in sys.modules and os.environ.get("PROGNOS_TYPECHECK", "1") == "1":
    install_import_hook("prognos", "beartype.beartype")

import pytest
import torch

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real cohorts beside the repository; users do not have them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real cohorts at {SHARED_DATA}: this test runs only where they lie beside the repository")
    return SHARED_DATA
