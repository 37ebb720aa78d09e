from pathlib import Path

import pandas as pd
import pytest

from prognos.report.build import page
from prognos.report.oracle import oracle_sentence, oracle_table
from prognos.report.run_folder import RunFolder, read_run_folder

OF = {"variant": "base", "cohort": "made-up", "epochs": 5, "best_epoch": 2, "selection": "oracle"}


def with_warning(run_folder: Path, *rows: tuple[str, int, int, float, float]) -> RunFolder:
    """The run with these rows of oracle.csv: model, seed, fold, last, best."""
    columns = ["model", "seed", "fold", "last", "best"]
    pd.DataFrame(rows, columns=columns).assign(**OF).to_csv(run_folder / "oracle.csv", index=False)
    return read_run_folder(run_folder)


@pytest.fixture
def warned(run_folder: Path) -> RunFolder:
    tta = (("tta", 1, 0, 0.60, 0.66), ("tta", 2, 0, 0.62, 0.64), ("tta", 1, 1, 0.70, 0.72), ("tta", 2, 1, 0.70, 0.70))
    return with_warning(run_folder, *tta, ("abmil", 1, 0, 0.55, 0.55), ("abmil", 1, 1, 0.57, 0.57))


def test_the_warning_is_the_mean_over_folds_of_the_mean_over_seeds(warned: RunFolder):
    table = oracle_table(warned, "made-up")
    # tta: folds (0.60 + 0.62) / 2 and 0.70, mean 0.655; best 0.65 and 0.71, mean 0.68
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["tta", "0.655", "0.680", "+0.025"],
        ["abmil", "0.560", "0.560", "+0.000"],
    ]
    assert table.oracle


def test_the_sentence_names_those_who_would_have_looked_better(warned: RunFolder, run_folder: Path):
    assert "these would have looked better: tta by 0.025." in oracle_sentence(warned, "made-up")
    equal = with_warning(run_folder, ("abmil", 1, 0, 0.55, 0.55))
    assert oracle_sentence(equal, "made-up").startswith("No model would have looked better")


def test_the_page_has_the_warning_stamped_and_in_no_comparison(warned: RunFolder):
    html = page(warned)
    section = html[html.index('<section id="is-it-real">') : html.index('<section id="risk-groups">')]
    assert "these would have looked better: tta by 0.025." in section
    assert section.count('<span class="chip">ORACLE SELECTION</span>') == html.count('<span class="chip">ORACLE SELECTION</span>') == 1
    assert ">0.655<" in section
    assert ">0.655<" not in html.replace(section, "")


def test_a_run_that_did_not_ask_has_no_warning(finished: RunFolder):
    assert oracle_table(finished, "made-up").rows == ()
    assert oracle_sentence(finished, "made-up") == ""
