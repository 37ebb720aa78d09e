"""Slides that several tests read, and the real ones where they lie beside the repository."""

from pathlib import Path

import pytest
from tests.unit.slides.made_slides import made_slide


@pytest.fixture(scope="session")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2048 x 1536 pixels of half a micron, two levels; tissue from (512, 384) to (1536, 1152)."""
    return made_slide(tmp_path_factory.mktemp("slides") / "made.tiff")


@pytest.fixture(scope="session")
def real_slides(shared_data: Path) -> Path:
    """The folder of the two real slides; users do not have it."""
    folder = shared_data / "slides"
    if not folder.is_dir():
        pytest.skip(f"no real slides at {folder}: this test runs only where they lie beside the repository")
    return folder
