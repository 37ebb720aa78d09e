import importlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from matplotlib.figure import Figure

from prognos.report import build
from prognos.report.build import page
from prognos.report.drawings import drawings
from prognos.report.figures import FIGURES
from prognos.report.run_folder import RunFolder, read_run_folder

MODULE = importlib.import_module("prognos.report.build")  # the package has a function of this name
DRAWINGS = importlib.import_module("prognos.report.drawings")
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Balance(HTMLParser):
    """Open and closing tags of a page, and its ids and inner links."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def change_study(run_folder: Path, **changes) -> RunFolder:
    study = json.loads((run_folder / "study.json").read_text())
    (run_folder / "study.json").write_text(json.dumps({**study, **changes}))
    return read_run_folder(run_folder)


@pytest.fixture
def no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty drawings, for tests of the text around them."""
    kinds = {name: replace(kind, draw=lambda rows: Figure()) for name, kind in FIGURES.items()}
    monkeypatch.setattr(DRAWINGS, "FIGURES", kinds)
    monkeypatch.setattr(DRAWINGS, "svg_of", lambda figure: '<svg viewBox="0 0 3 3"></svg>')


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<script>.*?</script>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.DOTALL))


def test_the_report_is_written_into_the_run_folder(run_folder: Path, no_drawings: None):
    path = build(run_folder)
    assert path == run_folder / "report.html"
    assert path.read_text(encoding="utf-8").lstrip().startswith("<!doctype html>")


def test_a_page_of_three_models_is_small(finished_page: str):
    assert len(finished_page.encode()) < 700_000


def test_the_report_can_be_written_elsewhere(run_folder: Path, tmp_path: Path, no_drawings: None):
    assert build(run_folder, path=tmp_path / "page.html") == tmp_path / "page.html"
    assert not (run_folder / "report.html").exists()


def test_the_page_is_well_formed_and_every_inner_link_has_its_place(finished_page: str):
    balance = Balance()
    balance.feed(finished_page)
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))
    assert {link.removeprefix("#") for link in balance.links if not link.startswith("data:text/csv")} <= set(balance.ids)


def test_nothing_comes_from_outside(finished_page: str):
    assert not re.findall(r'(?:src|href)="(?!#|data:,|data:text/csv;)[^"]*"', finished_page)
    assert "@import" not in finished_page
    assert not re.findall(r"url\((?!#)", finished_page)
    assert "default-src 'none'" in finished_page


def test_the_same_run_gives_the_same_page(finished: RunFolder, finished_page: str):
    assert page(finished) == finished_page


def test_every_station_has_its_section(finished_page: str):
    for anchor in (
        "what-came-out",
        "who-is-in",
        "folds",
        "comparison",
        "risk-groups",
        "calibration",
        "training",
        "methods",
        "how",
        "tripod",
    ):
        assert f'<section id="{anchor}">' in finished_page


def test_only_what_is_outside_noise_stands_out(finished_page: str):
    assert re.findall(r'<td class="out"[^>]*>([^<]*)', finished_page) == [
        "+0.061",
        "+0.012 to +0.110",
        "better",
        "0.171 (0.151 to 0.191) ▲",
        "0.200 (0.12 to 0.27)",  # calibration worse than what is usual
        "0.200 (0.12 to 0.27)",
        "p = 0.001",  # of D-calibration
        "0.012",  # of a group of genes
    ]


def test_a_model_that_is_not_applicable_is_in_every_comparison_table_with_its_reason(finished_page: str):
    assert finished_page.count("<td>not applicable</td>") == 2
    assert "the cohort has no table &#39;blood&#39;" in finished_page


def test_a_model_that_misses_one_fold_keeps_its_numbers(run_folder: Path, no_drawings: None):
    entry = {"model": "tta", "variant": "base", "cohort": "made-up", "reason": "seed 1, fold 2: no slides"}
    html = page(change_study(run_folder, not_applicable=[entry]))
    assert "<td>not applicable</td>" not in html
    assert "seed 1, fold 2: no slides" in html


def test_many_unusable_folds_of_one_reason_are_one_row(run_folder: Path, no_drawings: None):
    entry = {"model": "tta", "cohort": "made-up", "seed": 1, "metric": "auc", "reason": "no events"}
    html = page(change_study(run_folder, unusable=[{**entry, "fold": fold} for fold in range(5)]))
    assert "seed 1 fold 0, seed 1 fold 1, seed 1 fold 2 and 2 more" in html


def test_remarks_on_single_metrics_stand_beside_the_table_and_not_at_the_top(run_folder: Path, no_drawings: None):
    warnings = ["made-up, auc_1825d: 30 of 30 folds cannot be scored", "made-up: folds 1 and 2 share the site AB"]
    html = page(change_study(run_folder, warnings=warnings))
    assert html.index("share the site AB.") < html.index('id="who-is-in"') < html.index("30 of 30 folds cannot be scored.")


def test_a_metric_that_no_fold_gives_has_no_column(run_folder: Path, no_drawings: None):
    comparison = pd.read_csv(run_folder / "comparison.csv")
    comparison.loc[comparison.metric == "auc_365d", ["mean", "low", "high", "difference_low", "difference_high"]] = float("nan")
    comparison.to_csv(run_folder / "comparison.csv", index=False)
    html = page(read_run_folder(run_folder))
    assert "AUC at 1 year" not in html
    assert "Integrated Brier" in html


def test_unusable_folds_and_warnings_are_shown(finished_page: str):
    text = text_of(finished_page)
    assert "nobody is followed for 1825 days" in text
    assert "2 of 30 fits took their last epoch with a loss still falling." in text


def test_the_page_says_what_each_model_cost(finished_page: str):
    table = finished_page[finished_page.index('<section id="cost">') :]
    table = table[: table.index("</table>")]
    assert re.findall(r"<th[^>]*>(?:<[^>]*>)*([^<]*)", table)[:8] == [
        *("Model", "Cohort", "Parameters", "Fit, s", "Fit, CPU s", "Memory, MB"),
        *("Prediction complete, ms", "Prediction without omics, ms"),
    ]
    rows = [re.findall(r"<td[^>]*>([^<]*)", row) for row in table.split("<tr>")[2:]]
    assert rows[0][1:] == ["1,234,567", "12.2", "9.8", "1,234", "12.3", "4.0"]
    assert rows[1][1:] == ["460,289", "–", "–", "–", "2.0", "–"]


def test_a_run_that_says_nothing_of_costs_has_no_such_section(finished: RunFolder, no_drawings: None):
    study = finished.study.model_copy(update={"cost": ()})
    assert '<section id="cost">' not in page(replace(finished, study=study))


def test_components_have_a_section_where_a_model_shows_them(finished_page: str, finished: RunFolder, no_drawings: None):
    assert 'id="components"' in finished_page
    assert 'id="components"' not in page(replace(finished, similarities=finished.similarities.iloc[:0]))


def test_subtypes_have_a_section_where_a_model_predicts_them(finished_page: str, finished: RunFolder, no_drawings: None):
    assert 'id="subtypes"' in finished_page
    section = finished_page[finished_page.index('<section id="subtypes">') : finished_page.index('<section id="components">')]
    assert "0.971 (0.950 to 0.992)" in section
    assert section.count("<figure>") == 2
    assert "Rows are the observed subtypes and columns the most probable ones" in section
    assert "Without a patient in the test part: mucinous in fold 2. Each fold is scored" in section
    assert "1 of 200 patients have no known subtype and are left out." in section
    assert "The reference, clinical, predicts no subtypes, so no difference can be tested" in section
    without = page(replace(finished, subtypes=finished.subtypes.iloc[:0]))
    assert 'id="subtypes"' not in without
    assert "0.971 (0.950 to 0.992)" in without  # among the other metrics


def test_the_canary_of_a_model_of_subtypes_and_components_has_no_row_and_no_picture(
    finished: RunFolder, no_drawings: None, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[pd.DataFrame] = []
    kinds = {name: replace(kind, draw=lambda rows: (drawn.append(rows), Figure())[1]) for name, kind in FIGURES.items()}
    monkeypatch.setattr(DRAWINGS, "FIGURES", kinds)
    tta = finished.subtypes[finished.subtypes.label == "tta"]
    lines = finished.comparison[finished.comparison.label == "tta"]
    apart = finished.similarities[finished.similarities.label == "tta"]
    bird = {"variant": "canary", "label": "tta@canary"}
    both = replace(
        finished,
        subtypes=pd.concat([finished.subtypes, tta.assign(**bird)], ignore_index=True),
        comparison=pd.concat([finished.comparison, lines.assign(**bird)], ignore_index=True),
        similarities=pd.concat([finished.similarities, apart.assign(**bird, cosine=0.9 * apart.cosine)], ignore_index=True),
    )
    assert "tta@canary" not in page(both)
    assert drawn
    assert not any(rows.astype(str).eq("tta@canary").any(axis=None) for rows in drawn)


def test_an_honest_run_has_no_stamp(finished_page: str):
    assert "ORACLE" not in finished_page
    assert "Simulated patients" not in finished_page


def test_oracle_selection_is_stamped_at_the_top_and_in_every_table_of_results(run_folder: Path, no_drawings: None):
    html = page(change_study(run_folder, selection="oracle"))
    assert html.index("ORACLE SELECTION") < html.index('id="what-came-out"')
    assert html.count('<span class="chip">ORACLE SELECTION</span>') == 5  # concordance, other metrics, subtypes, calibration, D-calibration


def test_a_simulated_cohort_says_so_at_the_top(run_folder: Path, no_drawings: None):
    html = page(change_study(run_folder, simulated=True))
    assert html.index("Simulated patients.") < html.index('id="what-came-out"')


def test_the_canary_has_a_column_beside_the_result_and_no_row_of_its_own(run_folder: Path, no_drawings: None):
    comparison = pd.read_csv(run_folder / "comparison.csv")
    noise = comparison[comparison.model == "tta"].assign(variant="canary", mean=0.491, low=0.44, high=0.54)
    pd.concat([comparison, noise]).to_csv(run_folder / "comparison.csv", index=False)
    html = page(change_study(run_folder, canary=True))
    assert "Noise canary" in html
    assert ">0.491 (0.440 to 0.540)<" in html
    assert "tta@canary" not in html


def test_a_single_seed_is_remarked(run_folder: Path, no_drawings: None):
    predictions = pd.read_csv(run_folder / "predictions.csv")
    predictions[predictions.seed == 1].to_csv(run_folder / "predictions.csv", index=False)
    assert "trained with one seed only" in page(read_run_folder(run_folder))


def test_folds_that_share_sites_are_said_to(run_folder: Path, no_drawings: None):
    facts = json.loads((run_folder / "cohort.json").read_text())
    facts["made-up"]["site_preserving"] = False
    (run_folder / "cohort.json").write_text(json.dumps(facts))
    assert "Not site-preserving:" in page(read_run_folder(run_folder))


def test_a_fold_on_one_side_of_the_threshold_is_said(run_folder: Path, no_drawings: None):
    predictions = pd.read_csv(run_folder / "predictions.csv")
    predictions.loc[predictions.fold == 3, "threshold"] = -100.0
    predictions.to_csv(run_folder / "predictions.csv", index=False)
    assert "tta: in fold 3 all patients are on one side of the threshold" in page(read_run_folder(run_folder))


def test_two_needed_files_alone_make_a_page_that_says_what_it_lacks(run_folder: Path, no_drawings: None):
    for path in list(run_folder.rglob("*")):
        if path.is_file() and path.name not in ("predictions.csv", "comparison.csv"):
            path.unlink()
    text = text_of(build(run_folder).read_text(encoding="utf-8"))
    assert "This page is incomplete." in text
    assert "study.json is absent." in text
    assert "No training log is there to draw." in text
    assert "How the epoch was chosen is not recorded." in text


def test_names_are_escaped(run_folder: Path, no_drawings: None):
    html = page(change_study(run_folder, name="<b>bold</b> & co", warnings=["<script>alert(1)</script>"]))
    assert "<b>bold</b>" not in html
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in html
    assert html.count("<script>") == 1


def test_drawings_beyond_the_size_of_the_page_are_left_out_and_named(finished: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(MODULE, "MOST_CHARACTERS", 100_000)
    monkeypatch.setattr(MODULE, "MOST_OF_DATA", 20_000)
    html = page(finished)
    assert "drawings were left out to keep this page below 8 MB" in html
    assert "of these drawings are too large for this page; <code>prognos report RUN --figures</code> writes them as CSV" in html
    assert "Training, made-up: tta" in html or "Training, made-up: abmil" in html
    assert len(html) < 300_000


def test_every_drawing_of_the_page_hands_out_its_numbers(finished: RunFolder, finished_page: str):
    links = dict(re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8,([^"]*)"', finished_page))
    drawn = {f"{drawing.name}.csv": drawing.csv for drawing in drawings(finished)}
    assert len(drawn) > 10
    assert {name: unquote(text) for name, text in links.items() if name in drawn} == drawn


def test_the_page_is_dark_where_the_reader_prefers_it_and_never_in_print(finished_page: str):
    assert '<style id="dark" media="screen and (prefers-color-scheme: dark)">' in finished_page


def test_no_folder_of_a_user_is_in_the_page(run_folder: Path, no_drawings: None):
    command = "prognos run study.toml --out /home/Alice/runs/one --set cohort.path=/srv/alice/tcga"
    provenance = json.loads((run_folder / "provenance.json").read_text())
    (run_folder / "provenance.json").write_text(json.dumps({**provenance, "command": command}))
    (run_folder / "recipe.toml").write_text('[cohort]\npath = ["/srv/alice/tcga"]\n')
    html = page(change_study(run_folder, command=command))
    assert "alice" not in html.lower()
    assert html.count("--set cohort.path=…/tcga") == 2


@pytest.mark.parametrize(
    ("lacking", "said"), [("clinical", "no clinical baseline (clinical)"), ("null", "no model that knows nothing (null)")]
)
def test_the_page_names_the_comparisons_that_a_study_lacks(run_folder: Path, no_drawings: None, lacking: str, said: str):
    predictions = pd.read_csv(run_folder / "predictions.csv")
    predictions[predictions.model != lacking].to_csv(run_folder / "predictions.csv", index=False)
    html = page(read_run_folder(run_folder))
    assert html.index(f"This study has {said}") < html.index('id="who-is-in"')
