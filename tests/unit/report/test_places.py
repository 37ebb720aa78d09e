from dataclasses import replace
from pathlib import Path

import pytest

from prognos.report.places import without_folders
from prognos.report.run_folder import RunFolder


@pytest.fixture
def run(finished: RunFolder) -> RunFolder:
    recipe = '[cohort]\npath = ["/home/Jane Doe/data/tcga"]\n[omics.gene_sets]\nhallmark = "D:\\\\Jane Doe\\\\h.gmt"\n'
    return replace(finished, path=Path("/srv/Jane Doe/run one"), recipe=recipe)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("prognos run study.toml --out runs/one", "prognos run study.toml --out runs/one"),
        ("--out /srv/groups/alice/run", "--out …/run"),
        ("cohort.path=/srv/alice/tcga", "cohort.path=…/tcga"),
        ('path = ["/srv/alice/a", "/srv/alice/b"]', 'path = ["…/a", "…/b"]'),
        ("~/data/tcga ~alice/data/tcga ../alice/tcga", "…/tcga …/tcga …/tcga"),
        (r"C:\Users\alice\data\tcga and \\server\alice\tcga", "…/tcga and …/tcga"),
        ("the home /home/Alice is not a cohort", "the home … is not a cohort"),
        ("/home/Jane Doe/data/tcga", "…/tcga"),
        ("/home/Jane Doe/other", "…/other"),
        ('--out "/srv/Jane Doe/run one"', '--out "…/run one"'),
        (r"D:\Jane Doe\h.gmt", "…/h.gmt"),
        ("omics=0.5;histology=0.2 and 3/4 of them", "omics=0.5;histology=0.2 and 3/4 of them"),
        ("sha256 ab/cd", "sha256 ab/cd"),
    ],
)
def test_paths_lose_their_folders_and_all_else_stays(run: RunFolder, told: str, shown: str):
    assert without_folders(told, run) == shown


def test_nested_values_lose_them_too(run: RunFolder):
    assert without_folders({"command": ["prognos", "/srv/alice/run"], "cores": 2}, run) == {"command": ["prognos", "…/run"], "cores": 2}
