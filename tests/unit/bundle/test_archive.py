import json
import shutil
import zipfile
from pathlib import Path

import pytest

from prognos.bundle import Bundle, BundleError, is_bundle, make_bundle
from prognos.bundle.archive import EPOCH
from prognos.training import Fitted


@pytest.fixture(scope="module")
def original(run, tmp_path_factory) -> Path:
    """A folder with the clinical model, which is small."""
    return make_bundle(run, "clinical", tmp_path_factory.mktemp("archives") / "clinical").place


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "bundle")


def zipped(folder: Path, to: Path, **more: str) -> Path:
    """A zip of a folder, made by another tool, with further entries."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
        for name, text in more.items():
            archive.writestr(name, text)
    return to


def changed(folder: Path, **values) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_bundle_is_weights_numbers_and_text_only(original):
    assert {path.suffix for path in original.rglob("*") if path.is_file()} == {".safetensors", ".json", ".csv", ".md"}


def test_every_file_of_a_zip_has_the_same_date_and_stands_in_order(late_fusion):
    entries = zipfile.ZipFile(late_fusion.place).infolist()
    assert {entry.date_time for entry in entries} == {EPOCH}
    assert [entry.filename for entry in entries] == ["bundle.json", *sorted(entry.filename for entry in entries[1:])]


def test_a_folder_that_someone_zipped_is_a_bundle(folder, tmp_path):
    again = zipped(folder, tmp_path / "again.zip")
    assert is_bundle(again)
    assert Bundle.open(again).manifest == Bundle.open(folder).manifest
    assert Fitted.load(Bundle.open(again).folders[0]).name == "clinical"


def test_a_zip_is_read_where_it_lies_and_nothing_is_unpacked(late_fusion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Fitted.load(Bundle.open(late_fusion.place).folders[0])
    assert list(tmp_path.iterdir()) == []


def test_a_newer_version_is_refused_with_the_reason(folder):
    changed(folder, format=2)
    with pytest.raises(BundleError, match="has format 2, newer than 1, which this prognos reads; update prognos"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "fitted.json", "log.csv"])
def test_a_damaged_file_is_named(folder, name):
    path = folder / "models" / "seed-1" / "fold-0" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf"1 files are not what they were written as \(models/seed-1/fold-0/{name}\): copy it anew"):
        Bundle.open(folder)


def test_a_manifest_that_was_changed_is_refused(folder):
    changed(folder, variant="better")
    with pytest.raises(BundleError, match=r"bundle\.json is not what it was written as"):
        Bundle.open(folder)


def test_a_manifest_that_is_no_json_is_refused(folder):
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle\.json is not readable JSON"):
        Bundle.open(folder)


def test_a_manifest_of_something_else_is_refused_with_the_key(folder):
    changed(folder, kind="boosted")
    with pytest.raises(BundleError, match=r"is not what 'prognos bundle' wrote \(kind: Input should be 'ensemble' or 'refit'\)"):
        Bundle.open(folder)


def test_a_lost_file_is_named(folder):
    (folder / "model-card.md").unlink()
    with pytest.raises(BundleError, match=r"lacks 1 of its \d+ files \(model-card\.md\)"):
        Bundle.open(folder)


def test_an_added_file_is_refused(folder, tmp_path):
    said = r"holds 1 files that are not its own \(payload\.pkl\): take them out"
    with pytest.raises(BundleError, match=said):
        Bundle.open(zipped(folder, tmp_path / "added.zip", **{"payload.pkl": "x"}))
    (folder / "payload.pkl").write_text("x")
    with pytest.raises(BundleError, match=said):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "models/../../evil.csv", "C:evil.csv", "..\\evil.csv"])
def test_a_name_that_leads_out_of_the_zip_is_refused(folder, tmp_path, name):
    with pytest.raises(BundleError, match=r"1 names of files lead out of it \(.*evil\.csv\); do not use it"):
        Bundle.open(zipped(folder, tmp_path / "slip.zip", **{name: "x"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_in_a_zip_twice_is_refused(folder, tmp_path):
    with pytest.raises(BundleError, match=r"1 names of files are in it twice \(model-card\.md\)"):
        Bundle.open(zipped(folder, tmp_path / "twice.zip", **{"model-card.md": "another card"}))


def test_what_is_not_a_zip_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("this is no zip")
    with pytest.raises(BundleError, match=r"text\.zip cannot be read as a zip"):
        Bundle.open(tmp_path / "text.zip")


def test_a_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BundleError, match=r"other\.zip is not a bundle: it has no bundle\.json at its top"):
        Bundle.open(tmp_path / "other.zip")


def test_a_folder_without_a_manifest_and_a_place_where_nothing_is_are_refused(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle: it has no bundle\.json; give what 'prognos bundle' wrote"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match=r"there is no bundle .*nowhere\.zip: check the name"):
        Bundle.open(tmp_path / "nowhere.zip")


def test_a_folder_that_holds_something_is_not_written_in(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"full is not an empty folder: give another --out, or one that ends in \.zip"):
        make_bundle(run, "clinical", tmp_path / "full")


def test_a_truncated_zip_is_refused(late_fusion, tmp_path):
    content = late_fusion.place.read_bytes()
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"half\.zip cannot be read as a zip"):
        Bundle.open(tmp_path / "half.zip")


def test_a_flipped_bit_in_a_zip_is_found(late_fusion, tmp_path):
    with zipfile.ZipFile(late_fusion.place) as archive:
        entry = archive.getinfo("models/seed-1/fold-0/weights.safetensors")
    content = bytearray(late_fusion.place.read_bytes())
    content[entry.header_offset + entry.file_size // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"1 files are not what they were written as \(models/seed-1/fold-0/weights\.safetensors\)"):
        Bundle.open(tmp_path / "flipped.zip")
