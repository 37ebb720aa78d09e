"""The ground around the code: sizes, names, what may stand in the repository, and what the README promises."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from prognos.config import read_recipe
from prognos.study.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "prognos").rglob("*.py"))
MODULES = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
DRAWERS = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|factory|factories)(_|$)")
LONGEST_FILE, LONGEST_FUNCTION, WIDEST_SIGNATURE = 400, 60, 8


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, methods and inner functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its def on, docstring not counted."""
    docstring = ast.get_docstring(function, clean=False)
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


def tracked_files() -> list[Path]:
    """Text files under version control; skips in a copy without its history."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what is tracked is unknown")
    pictures = {".png", ".jpg", ".svg", ".ico", ".h5", ".zip", ".gz"}
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in pictures]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str):
    importlib.import_module(name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_or_function_is_longer_than_a_reader_holds(path: Path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    long = {node.name: lines_without_docstring(node) for node in functions(path) if lines_without_docstring(node) > LONGEST_FUNCTION}
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_signature_is_wider_than_eight(path: Path):
    if path.name == "cli.py" or "cli" in path.parent.parts:
        pytest.skip("an option of the command line is a parameter of its function")
    wide = [
        node.name
        for node in functions(path)
        if sum(argument.arg not in ("self", "cls") for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
        > WIDEST_SIGNATURE
    ]
    assert not wide


def test_no_module_is_a_drawer_without_a_name():
    names = {part.removesuffix(".py") for path in SOURCES for part in path.relative_to(ROOT / "src").parts}
    assert not [name for name in names if DRAWERS.search(name)]


def test_no_annotations_are_postponed():
    assert not [path.name for path in SOURCES if "from __future__ import annotations" in path.read_text()]


def test_make_targets_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets


def test_the_readme_opens_with_make_demo_and_make_test():
    commands = re.findall(r"^\$ (.+?)(?:\s+#.*)?$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_pictures_and_pages_that_the_readme_links_exist():
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme) + re.findall(r'src="([^"]+)"', readme)
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_names_models_settings_and_variants_that_exist(path: Path):
    recipe = read_recipe(path)
    make_plan(recipe, {}, {})  # no cohort: names and settings are checked, no job is planned
    assert recipe.study.models


def test_constraints_pin_the_pair_of_torch_without_a_local_build():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert (pins["torch"], pins["torchvision"]) == ("2.13.0", "0.28.0")
    assert not [name for name, version in pins.items() if "+" in version or "/" in version]


def test_nothing_tracked_names_a_patient_or_a_place_of_one_machine():
    patient = re.compile(r"TCGA-(?!XX-XXXX|ZZ-ZZZZ|00-)[A-Z0-9]{2}-[A-Z0-9]{4}")  # 00 is no tissue source site
    machine = re.compile(
        "|".join(("/" + "work/", r"\." + "library", "/" + "home/[a-z]", "/" + "Users/[a-z]", "pypi" + r"\.org", "python" + "hosted"))
    )
    found = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if patient.search(line) or machine.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


def test_the_licence_is_whole_and_goes_with_the_package():
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    licences = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("src/**/*LICENSE*"))]
    assert project["license-files"] == ["LICENSE", "NOTICE", *licences]
    assert licences == ["src/prognos/report/vendor/openseadragon-LICENSE.txt"]  # the only thing of others, and NOTICE names it
    assert licences[0] in (ROOT / "NOTICE").read_text()


def test_declared_dependencies_are_what_the_package_imports():
    declared = {
        re.split(r"[><=\[ ]", text)[0].lower() for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                imported.add(node.module.split(".")[0])
    distributions = {"sklearn": "scikit-learn", "PIL": "pillow", "openslide": "openslide-python"}
    optional = {"ray", "anndata", "mudata", "pyarrow", "zarr", "timm", "torchvision", "lazyslide-models", "huggingface-hub"}
    foreign = {distributions.get(name, name.replace("_", "-")) for name in imported - set(sys.stdlib_module_names) - {"prognos"}}
    assert foreign - optional <= declared


class TestRegister:
    """docs/make_features.py, on a small register of its own."""

    @pytest.fixture
    def register(self):
        spec = importlib.util.spec_from_file_location("make_features", ROOT / "docs" / "make_features.py")
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["make_features"] = module
        assert spec.loader is not None
        spec.loader.exec_module(module)
        yield module
        del sys.modules["make_features"]

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        """A package with one function that cites Eq. 3, a paper test of it, and a register of one row."""
        for name, text in {
            "src/prognos/__init__.py": "",
            "src/prognos/area.py": 'def area(side):\n    """Eq. 3."""\n    return side**2\n',
            "tests/papers/test_area.py": "from prognos.area import area\n\n\ndef test_eq_3():\n    assert area(2) == 4\n",
            "docs/features/square.toml": '[paper]\ntitle = "Square"\nsummary = "s"\ncite = "c"\nids = "S"\nfirst = 1\nlast = 1\n'
            'equations_in = ["src/prognos"]\n[[feature]]\nid = "S1"\ntitle = "Area"\nsource = "Eq. 3"\n'
            'code = ["prognos.area.area"]\ntests = ["tests/papers/test_area.py"]\n',
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    def gaps(self, register, tree: Path) -> list[str]:
        return register.gaps_of_paper(tree, register.read_register(tree / "docs/features/square.toml"))

    def rewrite(self, path: Path, old: str, new: str):
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def test_a_row_with_code_and_a_test_that_imports_it_has_no_gap(self, register, tree):
        assert self.gaps(register, tree) == []

    def test_a_location_that_does_not_exist_is_a_gap(self, register, tree):
        self.rewrite(tree / "docs/features/square.toml", "area.area", "area.volume")
        assert self.gaps(register, tree) == ["S1: prognos.area.volume does not exist in src"]

    def test_a_test_that_does_not_import_the_code_is_a_gap(self, register, tree):
        self.rewrite(tree / "tests/papers/test_area.py", "from prognos.area import area", "area = None")
        assert self.gaps(register, tree)[0] == "S1: tests/papers/test_area.py imports none of prognos.area.area"

    def test_a_row_without_code_needs_a_reason(self, register, tree):
        row = tree / "docs/features/square.toml"
        self.rewrite(row, 'code = ["prognos.area.area"]\n', "")
        assert self.gaps(register, tree) == ["S1 needs a code location and a test, or a reason why there is none"]
        self.rewrite(row, 'tests = ["tests/papers/test_area.py"]\n', 'reason = "it waits"\n')
        assert self.gaps(register, tree) == []

    def test_a_missing_row_is_a_gap(self, register, tree):
        self.rewrite(tree / "docs/features/square.toml", "last = 1", "last = 2")
        assert self.gaps(register, tree) == ["square: S2 is not in the register"]

    def test_a_model_is_told_by_its_docstring_and_held_by_a_test_that_has_it_built(self, register, tree):
        (tree / "src/prognos/area.py").write_text('''"""Area: side by side.\n\nDepartures: no unit;\nno sign.\n"""\n\narea = 1\n''')
        self.rewrite(tree / "docs/features/square.toml", 'title = "Area"', 'module = "prognos.area"')
        test = tree / "tests/papers/test_area.py"
        test.write_text('from tests.contract.tiny_models import build\n\n\ndef test_eq_3():\n    assert build("volume")\n')
        assert self.gaps(register, tree) == ["S1: tests/papers/test_area.py imports none of prognos.area.area"]
        self.rewrite(test, "volume", "area")
        assert not self.gaps(register, tree)
        assert "| Area: side by side. |" in register.page(tree, register.read_register(tree / "docs/features/square.toml"))
        assert "| No unit; no sign. |" in register.page(tree, register.read_register(tree / "docs/features/square.toml"))
        self.rewrite(tree / "src/prognos/area.py", "Departures: no unit;\nno sign.", "Departures:\n\n- No unit.\n- a - b.")
        assert "| No unit. a - b. |" in register.page(tree, register.read_register(tree / "docs/features/square.toml"))

    def test_an_equation_cited_in_code_alone_is_a_gap(self, register, tree):
        self.rewrite(tree / "tests/papers/test_area.py", "test_eq_3", "test_the_area")
        assert self.gaps(register, tree) == ["Eq. 3 is cited in src/prognos/area.py and in no test under tests/papers"]

    def test_a_stale_page_fails_the_check_and_writing_it_mends_that(self, register, tree, capsys):
        assert register.main(["--check"], root=tree) == 1
        assert register.main(["--write"], root=tree) == 0
        assert register.main(["--check"], root=tree) == 0
        assert "make features write=1" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("text", "numbers"),
        [
            ("Eq. 54", {54}),
            ("(Eq. 8-11)", {8, 9, 10, 11}),
            ("Eqs. 1, 2 and 5", {1, 2, 5}),
            ("def test_eq_54_holds", {54}),
            ("Table 5", set()),
        ],
    )
    def test_citations_of_equations_are_read_as_a_reader_would(self, register, text, numbers):
        assert register.equations_in(text) == numbers
