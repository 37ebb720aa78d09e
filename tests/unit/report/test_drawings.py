from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from prognos.report.drawings import LONGEST_NAME, Drawing, drawings, file_name, write_drawings
from prognos.report.run_folder import RunFolder


@pytest.fixture(scope="module")
def forest(finished: RunFolder) -> Drawing:
    return next(drawing for drawing in drawings(finished) if drawing.kind == "forest")


def test_a_name_says_figure_cohort_and_panel(forest: Drawing):
    assert forest.name == "forest_made-up_concordance"


def test_a_name_holds_nothing_that_a_file_system_refuses():
    parts = ("kaplan-meier", "TCGA BLCA/é", 'tta@no-apart, without omics: "x" <1>?*|\\')
    assert file_name(parts, ()) == "kaplan-meier_tcga-blca-e_tta@no-apart-without-omics-x-1"


def test_two_panels_that_differ_in_case_only_have_two_names(finished: RunFolder):
    assert file_name(("forest", "c", "TTA"), {"forest_c_tta"}) == "forest_c_tta-2"
    relabelled = finished.predictions.assign(label=finished.predictions.label.replace({"abmil": "TTA"}))
    names = [drawing.name for drawing in drawings(replace(finished, predictions=relabelled))]
    assert len(set(names)) == len(names)


def test_a_very_long_name_is_cut():
    assert len(file_name(("forest", "c" * 300), ())) == LONGEST_NAME


def test_a_drawing_is_written_as_svg_pdf_and_csv(forest: Drawing, tmp_path: Path):
    paths = write_drawings([forest], tmp_path / "figures")
    assert [path.name for path in paths] == [f"forest_made-up_concordance.{suffix}" for suffix in ("svg", "pdf", "csv")]
    svg, pdf, csv = paths
    texts = ElementTree.parse(svg).getroot().itertext()
    assert "Concordance and differences, made-up: Concordance" in texts
    assert "var(--" not in svg.read_text(encoding="utf-8")
    assert pdf.read_bytes().startswith(b"%PDF-")
    table = pd.read_csv(csv)
    assert table.label.tolist() == ["clinical", "abmil", "tta"]
    assert table["mean"].tolist() == [0.601, 0.615, 0.662]


def test_the_same_run_gives_the_same_files(forest: Drawing, tmp_path: Path):
    again = Drawing(forest.kind, forest.cohort, forest.title, forest.name, forest.rows)
    one, other = (write_drawings([drawing], tmp_path / name) for drawing, name in ((forest, "one"), (again, "other")))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert not any(word in one[1].read_bytes() for word in (b"CreationDate", b"ModDate"))


def test_numbers_have_seven_digits_and_whole_ones_stay_whole():
    rows = pd.DataFrame({"panel": ["a"], "patients": [1234567890], "share": [1 / 3]})
    drawing = Drawing("forest", "c", "title", "name", rows)
    assert pd.read_csv(StringIO(drawing.csv)).iloc[0].tolist() == ["a", 1234567890, 0.3333333]
