"""Hold the register of paper features against code and tests, and write its page.

`docs/features/PAPER.toml` lists every feature of a paper, or every model of a family of papers. A feature needs a code
location that exists and a test that imports it or has it built by its name, or a stated reason why there is none yet.
Every equation cited in the paper's code must be cited in a paper test. Code is parsed, never imported, so that this needs
no torch.

    python docs/make_features.py --check    # fails on any gap, and when a page is not what the register says
    python docs/make_features.py --write    # writes docs/papers/PAPER.md and lists the gaps
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEPARATOR = r"\s*,\s*|\s*-\s*|\s*–\s*|\s+and\s+|\s+to\s+|_and_|_to_|_"
CITATION = re.compile(rf"(?:\bEqs?\.|eqs?_)[ \n#]*\(?(\d+(?:\)?(?:{SEPARATOR})\(?\d+)*)")

BUILDERS = ("tests.contract.tiny_models", "tests.papers.comparison_by_hand")
"""Modules of the tests that make a model by its name."""


@dataclass(frozen=True)
class Feature:
    """One row of the register; a `module` tells title and departures in its docstring, where the row does not."""

    id: str
    source: str
    title: str = ""
    module: str = ""
    code: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    departure: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Paper:
    """The register of one paper."""

    name: str
    title: str
    summary: str
    ids: str
    first: int
    last: int
    equations_in: tuple[str, ...] = ()
    cite: str = ""
    tested_in: tuple[str, ...] = ("tests/papers",)
    features: tuple[Feature, ...] = field(default=())


def read_register(path: Path) -> Paper:
    """The register in a TOML file; an unknown key is an error of the register's author and raises."""
    table = tomllib.loads(path.read_text())
    rows = [Feature(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in table["feature"]]
    features = tuple(replace(row, **told_by(path.parents[2], row.module)) if row.module else row for row in rows)
    paper = dict(table["paper"])
    paper |= {key: tuple(paper[key]) for key in ("equations_in", "tested_in") if key in paper}
    return Paper(name=path.stem, features=features, **paper)


def told_by(root: Path, module: str) -> dict[str, str]:
    """Title and departures of a model, from the first line of its module's docstring and the paragraph `Departures:`."""
    path = module_file(root, module)
    text = (ast.get_docstring(ast.parse(path.read_text())) if path else None) or ""
    paragraphs = [" ".join(line.strip().removeprefix("- ") for line in paragraph.splitlines()) for paragraph in text.split("\n\n")]
    place = next((place for place, paragraph in enumerate(paragraphs) if paragraph.startswith("Departures:")), len(paragraphs))
    listed = paragraphs[place : place + 2] if paragraphs[place : place + 1] == ["Departures:"] else paragraphs[place : place + 1]
    said = " ".join(listed).removeprefix("Departures:").strip()
    return {"title": paragraphs[0], "departure": said[:1].upper() + said[1:]}


def module_file(root: Path, module: str) -> Path | None:
    """The source file of a dotted module name, or None."""
    base = root / "src" / Path(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def split_location(root: Path, location: str) -> tuple[str, list[str]] | None:
    """A dotted location as its module and the names inside it; None when no part of it is a module of the package."""
    parts = location.split(".")
    for length in range(len(parts), 1, -1):
        module = ".".join(parts[:length])
        if module_file(root, module) is not None:
            return module, parts[length:]
    return None


def names_defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module's or class's body defines: functions, classes, assignments, imported names."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.ImportFrom):
            found.update({alias.asname or alias.name: node for alias in node.names})
    return found


def find_location(root: Path, location: str) -> tuple[Path, int] | None:
    """File and line of a dotted location (`prognos.models.tta.TTAConfig.beta`), or None when it does not exist."""
    split = split_location(root, location)
    if split is None:
        return None
    module, names = split
    path = module_file(root, module)
    assert path is not None
    line, body = 1, ast.parse(path.read_text()).body
    for name in names:
        node = names_defined(body).get(name)
        if node is None:
            return None
        line, body = node.lineno, node.body if isinstance(node, ast.ClassDef) else []
    return path, line


def imports_of(path: Path) -> set[str]:
    """Every dotted name that a file imports, at any depth: modules, and modules with the names taken from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def imports_location(root: Path, imported: set[str], location: str) -> bool:
    """True when the module of a location is imported, or its name is taken from a package above it."""
    split = split_location(root, location)
    if split is None:
        return False
    module, names = split
    packages = [module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)]
    return module in imported or bool(names and any(f"{package}.{names[0]}" in imported for package in packages))


def equations_in(text: str) -> set[int]:
    """Numbers of the equations that a text cites: `Eq. 54`, `Eqs. 8-9`, `Eq. 1, 2`, `test_eq_54_holds`."""
    found: set[int] = set()
    for match in CITATION.finditer(text):
        pieces = re.split(f"({SEPARATOR})", match.group(1).replace("(", "").replace(")", ""))
        numbers = [int(piece) for piece in pieces[::2]]
        found.update(numbers)
        for separator, low, high in zip(pieces[1::2], numbers, numbers[1:], strict=False):
            if separator.strip(" _") in {"-", "–", "to"}:
                found.update(range(low, high + 1))
    return found


def python_files(root: Path, places: tuple[str, ...]) -> Iterator[Path]:
    """The Python files among places: files, or folders with everything below."""
    for place in places:
        path = root / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []


def cited(root: Path, places: tuple[str, ...]) -> dict[int, list[str]]:
    """Equation number -> files that cite it, as paths below the root."""
    found: dict[int, list[str]] = {}
    for path in python_files(root, places):
        for number in equations_in(path.read_text()):
            found.setdefault(number, []).append(path.relative_to(root).as_posix())
    return dict(sorted(found.items()))


def model_name(feature: Feature) -> str:
    """What a recipe calls the model of a row's module."""
    return feature.module.rsplit(".", 1)[-1].replace("_", "-")


def gaps_of_feature(root: Path, feature: Feature) -> Iterator[str]:
    """What is missing for one feature, as sentences."""
    if not (feature.code and feature.tests) and not feature.reason:
        yield f"{feature.id} needs a code location and a test, or a reason why there is none"
    missing = [location for location in feature.code if find_location(root, location) is None]
    yield from (f"{feature.id}: {location} does not exist in src" for location in missing)
    yield from (f"{feature.id}: there is no file {path}" for path in feature.recipes if not (root / path).is_file())
    imported: dict[str, set[str]] = {}
    for test in feature.tests:
        if (root / test).is_file():
            imported[test] = imports_of(root / test)
        else:
            yield f"{feature.id}: there is no file {test}"
    present = [location for location in feature.code if location not in missing]
    if len(imported) < len(feature.tests) or not present:
        return
    for test, names in imported.items():
        built = any(name.startswith(BUILDERS) for name in names) and f'"{model_name(feature)}"' in (root / test).read_text()
        if not built and not any(imports_location(root, names, location) for location in present):
            yield f"{feature.id}: {test} imports none of {', '.join(present)}"


def gaps_of_paper(root: Path, paper: Paper) -> list[str]:
    """What is missing for a paper, as sentences; empty when its register holds."""
    expected = [f"{paper.ids}{number}" for number in range(paper.first, paper.last + 1)]
    listed = [feature.id for feature in paper.features]
    gaps = [f"{paper.name}: {row} is not in the register" for row in expected if row not in listed]
    gaps += [f"{paper.name}: {row} is in the register twice or unknown" for row in listed if listed.count(row) > 1 or row not in expected]
    for feature in paper.features:
        gaps.extend(gaps_of_feature(root, feature))
    tested = cited(root, paper.tested_in)
    for number, files in cited(root, paper.equations_in).items():
        if number not in tested:
            gaps.append(f"Eq. {number} is cited in {', '.join(files)} and in no test under {', '.join(paper.tested_in)}")
    return gaps


def cell(text: str) -> str:
    """A text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def page(root: Path, paper: Paper) -> str:
    """The Markdown page of a paper."""
    lines = [
        "---",
        "hide: [toc]",
        "---",
        "",
        f"# {paper.title}",
        "",
        f"<!-- Written by docs/make_features.py from docs/features/{paper.name}.toml; edit that file, then `make features write=1`. -->",
        "",
        " ".join(paper.summary.split()),
        "",
        *((f"> {' '.join(paper.cite.split())}", "", "## Features", "") if paper.cite else ("## Models", "")),
        f"Each {'feature of the paper' if paper.cite else 'model'}, where its code is, which test holds it, and where the code "
        "departs from the print.",
        "",
        f"| | {'feature | in the paper' if paper.cite else 'model | publication'} | code | tests | departure, or why not yet |",
        "|---|---|---|---|---|---|",
    ]
    for feature in paper.features:
        code = "<br>".join(f"`{location.removeprefix('prognos.')}`" for location in (*feature.code, *feature.recipes))
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in feature.tests)
        remark = " ".join(text for text in (feature.departure, feature.reason) if text)
        lines.append(f"| {feature.id} | {cell(feature.title)} | {cell(feature.source)} | {code} | {tests} | {cell(remark)} |")
    if not paper.equations_in:
        return "\n".join(lines) + "\n"
    code_files, test_files = cited(root, paper.equations_in), cited(root, paper.tested_in)
    lines += ["", "## Equations", "", "Where the code cites an equation, and the paper tests that evaluate it as printed.", ""]
    lines += ["| equation | code | tests |", "|---|---|---|"]
    for number, files in code_files.items():
        code = "<br>".join(f"`{file.removeprefix('src/prognos/')}`" for file in files)
        tests = "<br>".join(f"`{file.removeprefix('tests/')}`" for file in test_files.get(number, []))
        lines.append(f"| {number} | {code} | {tests} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Check or write every register; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="fail on any gap or stale page")
    mode.add_argument("--write", action="store_true", help="write the pages")
    options = parser.parse_args(arguments)
    gaps: list[str] = []
    for register in sorted((root / "docs" / "features").glob("*.toml")):
        paper = read_register(register)
        gaps.extend(gaps_of_paper(root, paper))
        target = root / "docs" / "papers" / f"{paper.name}.md"
        text = page(root, paper)
        if options.write:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        elif not target.is_file() or target.read_text() != text:
            gaps.append(f"{target.relative_to(root)} is not what the register says: make features write=1")
        print(f"{paper.name}: {len(paper.features)} features, {sum(bool(f.code) for f in paper.features)} with code")
    for gap in gaps:
        print(f"  {gap}")
    if gaps:
        print(f"{len(gaps)} gaps")
    return 1 if gaps and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
