"""The files of a bundle, as a folder or a zip: written the same every time, read only when each is what it was written as.

A zip is never unpacked: files are read where they lie. Nothing in it can therefore be written anywhere, and a name that leads out of
the bundle is refused all the same. Hashes tell damage, not forgery: whoever changes a file can change the hashes as well.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from prognos import files
from prognos.bundle.manifest import FORMAT, MANIFEST, Manifest
from prognos.cohort.defects import naming
from prognos.training import Folder

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a zip."""

SUFFIXES = (".safetensors", ".json", ".csv", ".md")
"""Weights, numbers and text: nothing that could be run."""

COPY = "copy it anew from whoever made it"


class BundleError(ValueError):
    """A bundle that cannot be used: what is wrong with which file, and what to do."""


def is_bundle(place: Path) -> bool:
    """True for a zip, and for a folder with a bundle.json."""
    return (place.is_file() and place.suffix == ".zip") or (place / MANIFEST).is_file()


def opened(place: Path) -> Folder:
    """The root of a bundle.

    Raises:
        BundleError: it is neither a folder with a bundle.json nor a readable zip of one.
    """
    if place.is_dir():
        if not (place / MANIFEST).is_file():
            raise BundleError(f"{place} is not a bundle: it has no {MANIFEST}; give what 'prognos bundle' wrote.")
        return place
    if not place.is_file():
        raise BundleError(f"there is no bundle {place}: check the name.")
    try:
        archive = zipfile.ZipFile(place)
    except (zipfile.BadZipFile, OSError) as error:
        raise BundleError(f"{place} cannot be read as a zip ({error}): {COPY}.") from error
    names = archive.namelist()
    outside = [name for name in names if _leads_out(name)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if outside or twice:
        what = "lead out of it" if outside else "are in it twice"
        raise BundleError(f"{place}: {len(outside or twice)} names of files {what} ({naming(outside or twice)}); do not use it: {COPY}.")
    if MANIFEST not in names:
        raise BundleError(f"{place} is not a bundle: it has no {MANIFEST} at its top; give what 'prognos bundle' wrote.")
    return zipfile.Path(archive)


def checked(root: Folder) -> Manifest:
    """The manifest of a bundle whose files are all there, all known and all as they were written.

    Raises:
        BundleError: a newer version, or a file that is absent, damaged or unexpected.
    """
    manifest = _manifest(root)
    found = _names(root)
    known = {MANIFEST, *manifest.files}
    unexpected, absent = sorted(found - known), sorted(known - found)
    if unexpected:
        raise BundleError(f"{root} holds {len(unexpected)} files that are not its own ({naming(unexpected)}): take them out, or {COPY}.")
    if absent:
        raise BundleError(f"{root} lacks {len(absent)} of its {len(known)} files ({naming(absent)}): {COPY}.")
    damaged = [name for name, digest in manifest.files.items() if _digest_of(root, name) != digest]
    if damaged:
        raise BundleError(f"{root}: {len(damaged)} files are not what they were written as ({naming(damaged)}): {COPY}.")
    return manifest


def write(out: Path, described: Mapping[str, Any], contents: Mapping[str, bytes | Path]) -> Path:
    """Writes a bundle: a zip when the name ends in .zip, else a folder; the same content gives the same bytes.

    Args:
        out: the zip, or the folder, which must not hold anything yet.
        described: fields of the manifest but `files` and `sha256`.
        contents: name in the bundle -> its bytes, or the file that has them.

    Raises:
        BundleError: the folder is not empty.
        OutputError: it cannot be written.
    """
    bad = [name for name in contents if _leads_out(name) or not name.endswith(SUFFIXES)]
    assert not bad, f"{bad} have no place in a bundle"
    hashes = {name: _sha256(_bytes(contents[name])) for name in sorted(contents)}
    whole = {**described, "files": hashes}
    manifest = Manifest.model_validate({**whole, "sha256": _own_digest(whole)})
    text = (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if out.suffix != ".zip":
        if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
            raise BundleError(f"{out} is not an empty folder: give another --out, or one that ends in .zip.")
        for name in sorted(contents):
            files.write_bytes(out / name, _bytes(contents[name]))
        return files.write_bytes(out / MANIFEST, text).parent
    with files.writing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {MANIFEST: text, **{name: contents[name] for name in sorted(contents)}}.items():
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, _bytes(content))
    return out


def _manifest(root: Folder) -> Manifest:
    where = f"{root / MANIFEST}"
    try:
        said = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{where} is not readable JSON ({error}): {COPY}.") from error
    version = said.get("format") if isinstance(said, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(f"{where} has format {version}, newer than {FORMAT}, which this prognos reads; update prognos.")
    try:
        manifest = Manifest.model_validate(said)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "it"
        raise BundleError(f"{where} is not what 'prognos bundle' wrote ({key}: {fault['msg']}): {COPY}.") from error
    if _own_digest({key: value for key, value in said.items() if key != "sha256"}) != manifest.sha256:
        raise BundleError(f"{where} is not what it was written as: {COPY}.")
    return manifest


def _own_digest(described: Mapping[str, Any]) -> str:
    plain = Manifest.model_validate({**described, "sha256": ""}).model_dump(mode="json", exclude={"sha256"})
    return _sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False).encode())


def _names(root: Folder) -> set[str]:
    """The names of all files, from the root."""
    if isinstance(root, zipfile.Path):
        return {name for name in root.root.namelist() if not name.endswith("/")}
    assert isinstance(root, Path)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def _digest_of(root: Folder, name: str) -> str:
    try:
        return _sha256((root / name).read_bytes())
    except (zipfile.BadZipFile, OSError):
        return ""


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _leads_out(name: str) -> bool:
    """True for an absolute name, one with `..`, a drive or a backslash."""
    parts = PurePosixPath(name).parts
    return name.startswith("/") or ".." in parts or "\\" in name or ":" in name
