import re
from dataclasses import replace
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.evidence_of_a_run import with_evidence, with_variants

from prognos.report.figures import (
    FIGURES,
    calibration,
    component_cosines,
    component_map,
    exclusion_flow,
    fold_scores,
    forest,
    kaplan_meier,
    robustness,
    subtype_confusion,
    training_curves,
)
from prognos.report.figures.style import COLOURS, PAPER, inline_svg, look, wrapped, years
from prognos.report.run_folder import CohortFacts, RunFolder

OF_EVIDENCE = (
    *("pathway_ranking", "gene_ranking", "pathway_attention"),
    *("prototype_map", "pathway_prototypes", "prototype_pathways", "token_map"),
)
COHORT = "made-up"
KINDS = ("lobular", "ductal", "mucinous")


def with_missing(run: RunFolder) -> RunFolder:
    """The run with every model but abmil a little worse without omics: in half, in everybody, and in half with half the slides."""
    patterns = {"omics=0.5": 0.02, "omics": 0.05, "omics=0.5;histology=0.5": 0.03}
    others = run.comparison[run.comparison.label != "abmil"]
    worse = [others.assign(missing=pattern, mean=others["mean"] - loss) for pattern, loss in patterns.items()]
    return replace(run, comparison=pd.concat([run.comparison, *worse], ignore_index=True))


def svg_of(kind: str, run: RunFolder) -> str:
    more = {"robustness": with_missing, "sensitivity": with_variants} | dict.fromkeys(OF_EVIDENCE, with_evidence)
    table = FIGURES[kind].data(more.get(kind, lambda same: same)(run), COHORT)
    return inline_svg(FIGURES[kind].draw(table[table.panel == table.panel.iloc[0]]), prefix="x-", description="a <figure>")


@pytest.mark.parametrize("kind", list(FIGURES))
def test_every_figure_is_well_formed_svg_with_its_texts_as_text(kind: str, finished: RunFolder):
    svg = svg_of(kind, finished)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "a <figure>"
    assert list(root.iter("text"))
    assert float(root.attrib["width"]) < 380


@pytest.mark.parametrize("kind", list(FIGURES))
def test_the_same_run_gives_the_same_bytes(kind: str, finished: RunFolder):
    assert svg_of(kind, finished) == svg_of(kind, finished)


@pytest.mark.parametrize("kind", list(FIGURES))
def test_ids_carry_the_prefix_and_all_references_are_answered(kind: str, finished: RunFolder):
    svg = svg_of(kind, finished)
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(name.startswith("x-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= set(ids)


@pytest.mark.parametrize("kind", list(FIGURES))
def test_every_figure_says_how_to_read_it_in_one_sentence(kind: str):
    assert FIGURES[kind].reading.endswith(".")
    assert FIGURES[kind].reading.count(". ") == 0


@pytest.mark.parametrize("kind", list(FIGURES))
def test_a_cohort_of_which_nothing_is_known_gives_no_panel(kind: str, finished: RunFolder):
    tables = ("predictions", "comparison", "metrics", "survival", "logs", "similarities", "subtypes", "net_benefit", "competing")
    tables += ("calibration", "distribution_calibration")
    empty = replace(finished, cohorts={COHORT: CohortFacts()}, **{name: getattr(finished, name).iloc[:0] for name in tables})
    assert len(FIGURES[kind].data(empty, COHORT)) == 0


def test_robustness_goes_from_the_complete_cohort_to_one_without_the_modality(finished: RunFolder):
    assert len(robustness.data(finished, COHORT)) == 0
    table = robustness.data(with_missing(finished), COHORT)
    assert set(table.panel) == {"Without omics"}
    assert set(table.label) == {"clinical", "tta"}  # abmil was not asked without omics
    line = table[table.label == "tta"]
    assert line.rate.tolist() == [0.0, 0.5, 1.0]
    assert line["mean"].round(3).tolist() == [0.662, 0.642, 0.612]


def test_cosines_rise_from_the_first_patient_to_the_last_for_pairs_of_one_kind(finished: RunFolder):
    curves = component_cosines.data(finished, COHORT)
    assert set(curves.pair) == {"specific histology and omics", "shared read in histology and omics"}
    line = curves[(curves.panel == "tta") & curves.pair.str.startswith("specific")]
    own = finished.similarities.query("label == 'tta' and left == 'specific histology'").cosine
    assert line.cosine.tolist() == sorted(own)
    assert line.share.tolist() == pytest.approx([(i + 1) / 200 for i in range(200)])


def test_the_map_has_the_mean_of_each_global_vector_with_each_sum(finished: RunFolder):
    cells = component_map.data(finished, COHORT).query("panel == 'tta'")
    own = finished.similarities.query("label == 'tta' and right == 'specific + shared omics'").cosine
    found = cells[cells.right == "specific + shared omics"].iloc[0]
    assert (found["mean"], found.sd) == pytest.approx((own.mean(), own.std()))
    assert len(cells) == 2


@pytest.mark.parametrize("figure", [component_cosines, component_map])
def test_variants_that_take_patients_apart_alike_are_drawn_once(figure, finished: RunFolder):
    assert set(figure.data(finished, COHORT).panel) == {"tta", "abmil"}


def test_the_confusion_counts_every_patient_of_a_known_subtype_and_shares_of_its_rows(finished: RunFolder):
    cells = subtype_confusion.data(finished, COHORT)
    assert list(dict.fromkeys(cells.panel)) == ["tta", "abmil"]
    own = cells[cells.panel == "tta"]
    assert list(zip(own.observed, own.predicted, strict=True)) == [(row, column) for row in KINDS for column in KINDS]
    assert own.patients.sum() == pytest.approx(199)  # P007 has no known subtype
    assert own.groupby("observed").share.sum().tolist() == pytest.approx([1, 1, 1])
    # by hand: of each seed, who is observed as ductal and has the highest probability of mucinous
    wide = finished.subtypes.query("label == 'tta' and subtype == 'ductal'").pivot(
        index=["seed", "patient_id"], columns="class", values="probability"
    )
    taken = (wide.mucinous > wide.lobular) & (wide.mucinous > wide.ductal)
    found = own[(own.observed == "ductal") & (own.predicted == "mucinous")].iloc[0]
    assert found.patients == taken.groupby("seed").sum().mean()
    assert found.share == pytest.approx(taken.mean())


def test_a_subtype_without_a_patient_has_a_row_without_shares(finished: RunFolder):
    nobody = finished.subtypes.assign(subtype=finished.subtypes.subtype.replace("mucinous", "ductal"))
    cells = subtype_confusion.data(replace(finished, subtypes=nobody), COHORT)
    row = cells[(cells.panel == "tta") & (cells.observed == "mucinous")]
    assert row.patients.tolist() == [0, 0, 0]
    assert row.share.isna().all()
    assert len([text for text in subtype_confusion.draw(cells[cells.panel == "tta"]).axes[0].texts if text.get_text() == "–"]) == 3


def test_the_confusion_is_that_of_the_complete_patients_or_else_of_the_first_pattern(finished: RunFolder):
    without = finished.subtypes.assign(missing="omics", probability=1 / 3)
    both = replace(finished, subtypes=pd.concat([without, finished.subtypes], ignore_index=True))
    cells = subtype_confusion.data(both, COHORT).sort_values(["panel", "observed", "predicted"], ignore_index=True)
    alone = subtype_confusion.data(finished, COHORT).sort_values(["panel", "observed", "predicted"], ignore_index=True)
    pd.testing.assert_frame_equal(cells, alone)
    assert set(subtype_confusion.data(replace(finished, subtypes=without), COHORT).panel) == {"tta, without omics", "abmil, without omics"}


def test_long_names_of_subtypes_stand_upright_below_the_columns(finished: RunFolder):
    cells = subtype_confusion.data(finished, COHORT).query("panel == 'tta'")
    long = cells.assign(**{column: "invasive " + cells[column] for column in ("observed", "predicted")})
    rotation = {
        table: subtype_confusion.draw(rows).axes[0].get_xticklabels()[0].get_rotation()
        for table, rows in (("short", cells), ("long", long))
    }
    assert rotation == {"short": 0, "long": 90}


def test_the_flow_adds_up(finished: RunFolder):
    boxes = exclusion_flow.data(finished, COHORT)
    assert list(boxes.kind) == ["all", "out", "out", "kept"]
    assert boxes["count"].tolist() == [214, 9, 5, 200]


def test_patients_that_no_rule_explains_are_shown_in_the_flow(finished: RunFolder):
    facts = finished.cohorts[COHORT].model_copy(update={"kept": 197})
    boxes = exclusion_flow.data(replace(finished, cohorts={COHORT: facts}), COHORT)
    assert ("left out by no recorded rule", 3) in list(zip(boxes.text, boxes["count"], strict=True))


def test_only_a_difference_without_zero_is_marked_in_the_forest(finished: RunFolder):
    table = forest.data(finished, COHORT)
    differences = table[table.panel == "Difference to clinical"]
    assert dict(zip(differences.label, differences.apart, strict=True)) == {"abmil": False, "tta": True}


def test_fold_scores_are_means_over_seeds(finished: RunFolder):
    table = fold_scores.data(finished, COHORT)
    rows = finished.metrics[(finished.metrics.label == "tta") & (finished.metrics.fold == 2)]
    assert table[(table.label == "tta") & (table.fold == 2)].value.item() == pytest.approx(rows.value.mean())
    assert set(table.seeds) == {2}


def test_the_kaplan_meier_curves_hold_every_patient_once(finished: RunFolder):
    table = kaplan_meier.data(finished, COHORT)
    for _, curve in table.groupby("panel"):
        assert (curve.events.sum() + curve.censored.sum()) == 200
        assert curve.groupby("group").patients.first().sum() == 200


def test_a_planted_signal_separates_the_risk_groups(finished: RunFolder):
    table = kaplan_meier.data(finished, COHORT)
    assert table[table.panel == "tta"].p_value.iloc[0] < 0.05


def test_one_risk_group_alone_is_drawn_without_a_test(finished: RunFolder):
    run = replace(finished, predictions=finished.predictions.assign(risk=-1.0))
    table = kaplan_meier.data(run, COHORT)
    assert set(table.group) == {"low"}
    assert "no log-rank test possible" in svg_of("kaplan_meier", run)


def test_calibration_groups_hold_all_patients_and_rise_with_the_prediction(finished: RunFolder):
    table = calibration.data(finished, COHORT)
    for _, groups in table.groupby(["panel", "horizon"]):
        assert groups.patients.sum() == 200
        assert groups.sort_values("group").predicted.is_monotonic_increasing


def test_calibration_by_hand(finished: RunFolder):
    # Four patients, one group, horizon 365 days: an event at 100 with 4 at risk, one at 200 with 3; one censored at 300.
    rows = pd.DataFrame({"patient_id": list("abcd"), "time": [100.0, 200.0, 300.0, 900.0], "event": [True, True, False, True]})
    key = {"cohort": COHORT, "label": "m", "missing": "none"}
    survival = rows[["patient_id"]].assign(**key, horizon=365.0, survival=[0.2, 0.4, 0.6, 0.8])
    run = replace(finished, predictions=rows.assign(**key, seed=1, fold=0, risk=1.0), survival=survival)
    table = calibration.data(run, COHORT)
    assert table.predicted.item() == pytest.approx(0.5)
    assert table.observed.item() == pytest.approx(3 / 4 * 2 / 3)
    assert table.low.item() < 0.5 < table.high.item()


def test_beyond_the_last_follow_up_nothing_is_observed(finished: RunFolder):
    rows = pd.DataFrame({"patient_id": list("ab"), "time": [100.0, 200.0], "event": [True, False], "cohort": COHORT})
    survival = rows[["patient_id"]].assign(cohort=COHORT, label="m", missing="none", horizon=365.0, survival=0.5)
    rows = rows.assign(label="m", missing="none", seed=1, fold=0, risk=1.0)
    assert calibration.data(replace(finished, predictions=rows, survival=survival), COHORT).empty


def test_identical_predictions_are_one_group(finished: RunFolder):
    table = calibration.data(replace(finished, survival=finished.survival.assign(survival=0.5)), COHORT)
    assert set(table.groupby(["panel", "horizon"]).size()) == {1}


def test_epochs_count_on_over_the_stages(finished: RunFolder):
    log = finished.logs[(finished.logs.label == "abmil")]
    two = pd.concat([log.assign(stage="warm"), log.assign(stage="main")])
    table = training_curves.data(replace(finished, logs=two), COHORT)
    assert sorted(table.epoch.unique()) == list(range(1, 21))
    assert table[table.stage == "main"].epoch.min() == 11


def test_a_training_curve_is_the_mean_over_fits_of_the_mean_over_steps(finished: RunFolder):
    log = finished.logs[(finished.logs.label == "tta") & (finished.logs.epoch == 3)]
    table = training_curves.data(finished, COHORT)
    shown = table[(table.panel == "tta") & (table.term == "total") & (table.epoch == 4)]
    assert shown["mean"].item() == pytest.approx(log.groupby(["seed", "fold"]).total.mean().mean())
    assert shown.fits.item() == 10
    assert "rho" not in set(table.term)


def test_a_loss_over_many_powers_of_ten_is_drawn_on_a_logarithmic_scale(finished: RunFolder):
    table = training_curves.data(finished, COHORT)
    steep = table[table.panel == "tta"].assign(mean=lambda rows: 10.0 ** -np.arange(len(rows)))
    assert training_curves.draw(steep).axes[0].get_yscale() == "log"


def test_long_names_take_two_lines_and_days_become_years():
    assert wrapped("late-fusion@without-apart") == "late-fusion\n@without-apart"
    assert wrapped("tta@neither-apart-nor-together") == "tta\n@neither-apart-\nnor-together"
    assert (years(365.0), years(1095.0)) == ("1 year", "3 years")


def contrast(one: str, other: str) -> float:
    """Ratio of relative luminances, as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palette(sheet: str) -> dict[str, str]:
    """The colours of a style sheet of the page, by their names."""
    text = (resources.files("prognos.report") / "templates" / sheet).read_text(encoding="utf-8")
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))


@pytest.mark.parametrize("sheet", ["report.css", "dark.css"])
def test_text_and_drawings_stand_out_from_the_page_light_and_dark(sheet: str):
    colours = palette(sheet)
    assert (
        min(contrast(colours[name], colours[ground]) for name in ("ink", "faint", "link", "alarm") for ground in ("paper", "raised")) > 4.5
    )
    assert min(contrast(colours[name], colours["paper"]) for name in COLOURS) > 3


def test_a_drawing_has_the_same_colours_in_its_file_as_on_the_light_page():
    assert {name: palette("report.css")[name] for name in COLOURS} == COLOURS
    assert palette("report.css")["paper"] == PAPER
    assert set(palette("dark.css")) == set(palette("report.css"))


@pytest.mark.parametrize("kind", list(FIGURES))
def test_every_colour_of_a_figure_follows_the_page(kind: str, finished: RunFolder):
    assert re.findall(r"(?:fill|stroke): (?!none|var)[^;\"]+", svg_of(kind, finished)) == []


def test_more_series_than_colours_still_look_apart():
    n = len(COLOURS) * 3
    assert len({look(place) for place in range(n)}) == n
