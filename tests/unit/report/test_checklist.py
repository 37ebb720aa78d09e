import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from prognos.report.checklist import ITEMS, Known, checklist, checklist_csv, counts
from prognos.report.fits import FitFacts
from prognos.report.run_folder import RunFolder, read_run_folder
from prognos.report.sections import SECTIONS

ONLY_AUTHORS = {3, 4, 14, 17, 19, 24, 27}


def known(run: RunFolder) -> dict[int, Known]:
    return {item.number: answer.known for item, answer in checklist(run)}


def test_there_are_27_items_in_order():
    assert [item.number for item in ITEMS] == list(range(1, 28))


def test_what_no_run_knows_is_left_to_the_authors_of_any_run(finished: RunFolder):
    fits = {("made-up", "tta"): FitFacts(training={"balance": "none"})}
    found = known(replace(finished, fits=fits))
    assert {number for number, answer in found.items() if answer is Known.NO} == ONLY_AUTHORS
    assert {11, 12, 13, 15, 16, 21} == {number for number, answer in found.items() if answer is Known.YES}


def test_a_run_of_which_less_is_recorded_answers_less(run_folder: Path):
    for name in ("study.json", "provenance.json", "recipe.toml", "cohort.json"):
        (run_folder / name).unlink()
    (run_folder / "evaluation.json").write_text(json.dumps({"reference": "clinical"}))
    found = known(read_run_folder(run_folder))
    assert {number for number, answer in found.items() if answer is Known.NO} == ONLY_AUTHORS | {6, 7, 8, 9, 11, 13, 16, 18, 20, 22}
    assert found[12] is Known.PARTLY


@pytest.mark.parametrize(("balance", "answer"), [("none", Known.YES), ("event", Known.PARTLY)])
def test_balanced_batches_are_an_answer_to_imbalance_in_part(finished: RunFolder, balance: str, answer: Known):
    run = replace(finished, fits={("made-up", "tta"): FitFacts(training={"balance": balance})})
    assert known(run)[13] is answer


def test_every_place_is_a_section(finished: RunFolder):
    anchors = {section.anchor for section in SECTIONS}
    assert all(place in anchors for _, answer in checklist(finished) for place in answer.places)


def test_the_counts_add_up(finished: RunFolder, finished_page: str):
    found = counts(checklist(finished))
    assert sum(found.values()) == 27
    assert f"<b>{found[Known.YES]}</b> are answered in this report" in finished_page


def test_the_list_as_csv_names_sections_that_the_page_has(finished: RunFolder):
    table = pd.read_csv(StringIO(checklist_csv(checklist(finished), {"folds": "Folds"})), keep_default_na=False)
    assert len(table) == 27
    assert table.section[table.item == 10].item() == "Folds"
    assert table.known[table.item == 17].item() == "not known to the run: the authors have to say"
