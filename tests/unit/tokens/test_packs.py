"""What a feature file is known by in the packed store."""

import pytest

from prognos.tokens import packs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of files, as SpatialData writes one slide; nothing in it is read."""
    monkeypatch.setattr(packs, "feature_shape", lambda path: (3, 4))
    place = tmp_path / "slide.zarr"
    (place / "tables").mkdir(parents=True)
    (place / "tables" / "0").write_bytes(b"one")
    return place


def test_a_folder_is_known_by_all_the_files_in_it(folder):
    first = packs.SlideFile.of("slide", str(folder))
    assert packs.SlideFile.of("slide", str(folder)).key == first.key
    assert first.shape == (3, 4)
    (folder / "tables" / "0").write_bytes(b"another")
    changed = packs.SlideFile.of("slide", str(folder))
    (folder / "tables" / "1").write_bytes(b"")
    assert len({first.key, changed.key, packs.SlideFile.of("slide", str(folder)).key}) == 3
