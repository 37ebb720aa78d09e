"""Simulated cohorts hold what they say they hold."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from prognos.cohort.cohort import Cohort
from prognos.cohort.folds import folds_of
from prognos.cohort.simulate import Truth, oracle_risk, simulate
from prognos.cohort.simulated_patients import CAUSES, KINDS, World, draw_causes, draw_slide, draw_survival, draw_tables
from prognos.cohort.split_card import detectable_difference, split_card

SMALL = {"n_patients": 24, "n_sites": 4, "d_patch": 12, "patches": (5, 9)}


def concordance(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Harrell's C over all pairs; risk ties count one half."""
    comparable = event[:, None] & (time[:, None] < time[None, :])
    difference = risk[:, None] - risk[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0))[comparable].sum() / comparable.sum())


def oracle_concordance(truth: Truth, seed: int, n_patients: int = 240) -> float:
    generator = np.random.default_rng(seed)
    log_risk = truth.log_risk(draw_causes(n_patients, 12, truth.visibility, generator))["log_risk"].to_numpy()
    return concordance(log_risk, *draw_survival(log_risk, truth.censoring, generator))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("simulated") / "cohort", Truth.demo(), n_classes=3, **SMALL)


def test_a_simulated_folder_is_read_as_a_cohort(folder):
    cohort = Cohort.read(folder)
    assert len(cohort) == 24
    assert cohort.endpoint == "os"
    assert cohort.d_patch == 12
    assert cohort.omics_kinds == ("rna", "cnv", "snv")
    assert cohort.modalities == ("clinical", "histology", "omics")
    assert len(cohort.gene_sets["hallmark"]) == 20
    assert len(cohort.gene_sets["functional"]) == 6
    assert cohort.folds is None
    assert set(cohort.subtype) == {"type-1", "type-2", "type-3"}


def test_folds_and_their_card_are_made_for_a_read_cohort(folder):
    cohort = Cohort.read(folder)
    folds = folds_of(cohort, 2)
    card = split_card(cohort, folds)
    assert folds.site_preserving
    assert card["patients"].sum() == 24
    assert card["events"].sum() == 8  # 35% of 24
    assert card["shared_sites"].tolist() == [0, 0]
    assert 0 < detectable_difference(cohort.time, cohort.event, folds.fold) < 1


def test_the_truth_is_beside_the_cohort_and_not_in_it(folder):
    truth = pd.read_csv(folder / "truth.csv", float_precision="round_trip").set_index("patient_id")
    clinical = pd.read_csv(folder / "clinical.csv").set_index("patient_id")
    assert set(clinical) == {"site", "subtype", "age", "sex", "stage", "grade", "os_time", "os_event"}
    assert truth.index.equals(clinical.index)
    np.testing.assert_allclose(truth["log_risk"], truth[list(CAUSES)].sum(axis=1), atol=1e-12)
    np.testing.assert_array_equal(oracle_risk(folder), truth["log_risk"])
    assert json.loads((folder / "truth.json").read_text())["truth"]["shared"] == Truth.demo().shared


def test_features_are_written_as_trident_writes_them(folder):
    slides = pd.read_csv(folder / "slides.csv")
    kinds = pd.read_csv(folder / "truth_patches.csv.gz")
    assert set(kinds["kind"]) == set(KINDS)
    for slide in slides["slide_id"]:
        with h5py.File(folder / "features" / f"{slide}.h5") as file:
            n_patches = len(file["features"])
            assert 5 <= n_patches <= 9
            assert file["features"].shape == (n_patches, 12)
            assert file["features"].dtype == np.float16
            assert file["coords"].shape == (n_patches, 2)
            assert (file["coords"][:] % file["coords"].attrs["patch_size_level0"] == 0).all()
            assert len(np.unique(file["coords"][:], axis=0)) == n_patches
            assert (kinds["slide_id"] == slide).sum() == n_patches


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_patients(tmp_path):
    first, again, other = (simulate(tmp_path / name, Truth.demo(), seed=seed, **SMALL) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert bytes_of(first) == bytes_of(again)
    assert not oracle_risk(first).equals(oracle_risk(other))


def test_the_true_risk_of_the_demo_ranks_well():
    assert min(oracle_concordance(Truth.demo(), seed) for seed in range(5)) > 0.8


def test_without_strength_there_is_no_risk():
    causes = draw_causes(50, 4, 0.8, np.random.default_rng(0))
    assert (Truth.noise().log_risk(causes).to_numpy() == 0).all()


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_can_be_planted_alone(cause):
    assert oracle_concordance(Truth(**{cause: 2.0}), seed=3) > 0.75


def test_a_strength_is_the_log_hazard_ratio_of_one_standard_deviation():
    causes = draw_causes(20_000, 40, 0.8, np.random.default_rng(1))
    for cause in CAUSES:
        assert np.mean(causes.cause[cause]) == pytest.approx(0, abs=0.03)  # four standard errors
        assert np.std(causes.cause[cause]) == pytest.approx(1, abs=0.03)
    everything = np.corrcoef([causes.cause[cause] for cause in CAUSES])
    assert np.abs(everything - np.eye(len(CAUSES))).max() < 0.03


def test_both_modalities_together_know_more_of_the_shared_cause_than_either():
    causes = draw_causes(20_000, 4, 0.8, np.random.default_rng(2))
    shown = np.stack([causes.in_histology["shared"], causes.in_omics["shared"]])
    cause = causes.cause["shared"]
    assert np.corrcoef(shown[0], cause)[0, 1] == pytest.approx(0.8, abs=0.02)
    # two readings of correlation r: their mean has correlation r sqrt(2 / (1 + r^2)) = 0.8834
    assert np.corrcoef(shown.mean(0), cause)[0, 1] == pytest.approx(0.8 * np.sqrt(2 / 1.64), abs=0.02)


def test_neither_sign_of_the_interaction_says_anything_alone():
    causes = draw_causes(20_000, 4, 0.8, np.random.default_rng(3))
    histology, omics, cause = causes.in_histology["interaction"], causes.in_omics["interaction"], causes.cause["interaction"]
    assert (histology * omics == cause).all()
    assert abs(np.corrcoef(histology, cause)[0, 1]) < 0.03
    assert abs(np.corrcoef(omics, cause)[0, 1]) < 0.03


def test_each_modality_shows_its_own_cause_only():
    causes = draw_causes(10, 2, 0.8, np.random.default_rng(4))
    assert "omics_only" not in causes.in_histology
    assert "histology_only" not in causes.in_omics


def test_the_focus_carries_the_histology_cause_in_few_patches():
    world, generator = World.of_width(32), np.random.default_rng(5)
    shown = {"shared": 0.0, "interaction": 1.0, "subtype": 0.0, "site": 0.0}
    focus = KINDS.index("focus")
    reading = []
    for value in (-2.0, 2.0):
        slide = draw_slide({**shown, "histology_only": value}, np.zeros(32), 500, 512, world=world, generator=generator)
        assert (slide.kind == focus).mean() == pytest.approx(0.08)
        along = slide.features.astype(float) @ world.shift[focus]
        reading.append((along[slide.kind == focus].mean(), along[slide.kind != focus].mean()))
    (low, others_low), (high, others_high) = reading
    assert high - low == pytest.approx(8, abs=1)  # two standard deviations on either side, shifted by 2 each
    assert others_high == pytest.approx(others_low, abs=0.9)  # the patient's own shift, 0.15 each, and the noise of 460 patches


def test_mutations_and_pathways_carry_the_omics_cause():
    generator = np.random.default_rng(6)
    causes = draw_causes(2000, 4, 0.8, generator)
    tables = draw_tables(causes.in_omics, 0.0, World.of_width(16), generator)
    cause = causes.cause["omics_only"]
    own, other = [f"GENE{number:04d}" for number in range(49, 73)], [f"GENE{number:04d}" for number in range(121, 145)]
    assert np.corrcoef(tables["rna"][own].mean(axis=1), cause)[0, 1] > 0.6
    assert abs(np.corrcoef(tables["rna"][other].mean(axis=1), cause)[0, 1]) < 0.1
    mutated = tables["snv"].reindex(columns=own).dropna(axis=1).sum(axis=1)
    assert np.corrcoef(mutated, cause)[0, 1] > 0.3
    assert set(np.unique(tables["cnv"])) <= {-2, -1, 0, 1, 2}
    assert set(np.unique(tables["snv"])) == {0, 1}


def test_a_site_shifts_the_features_of_its_patients(tmp_path):
    far = simulate(tmp_path / "far", Truth(site=1.0, batch_effect=1.0), **SMALL)
    truth = pd.read_csv(far / "truth.csv").set_index("patient_id")
    slides = pd.read_csv(far / "slides.csv")
    direction = World.of_width(12).site
    along = []
    for slide in slides["slide_id"]:
        with h5py.File(far / "features" / f"{slide}.h5") as file:
            along.append((file["features"][:].astype(float) @ direction).mean())
    assert np.corrcoef(along, truth["site"][slides["patient_id"]])[0, 1] > 0.6


@pytest.mark.parametrize("censoring", [0.0, 0.4, 0.7])
def test_the_share_of_censored_patients_is_as_asked(censoring):
    time, event = draw_survival(np.random.default_rng(7).normal(size=200), censoring, np.random.default_rng(8))
    assert (~event).mean() == pytest.approx(censoring)
    assert time.min() >= 1
    assert time.max() < 40_000


def test_missing_rates_are_met_and_nobody_loses_everything(tmp_path):
    missing = {"histology": 0.5, "omics": 0.5, "cnv": 1.0}
    made = simulate(tmp_path / "missing", Truth(missing=missing), n_patients=100, n_sites=4, d_patch=12, patches=(5, 5))
    with_slides = set(pd.read_csv(made / "slides.csv")["patient_id"])
    has = {kind: set(pd.read_csv(made / f"{kind}.csv", index_col=0).index) for kind in ("rna", "cnv", "snv")}
    assert len(with_slides | has["rna"] | has["cnv"] | has["snv"]) == 100
    assert not with_slides & has["cnv"]
    # a half lacks slides; of the quarter that lacks everything, some keep them
    assert 35 < len(with_slides) < 75


def test_the_subtype_follows_the_shared_cause_as_far_as_asked(tmp_path):
    options = {"n_patients": 30, "n_sites": 2, "d_patch": 12, "patches": (5, 5), "n_classes": 2}
    alike = simulate(tmp_path / "alike", Truth(shared=1.0, subtype_shared=1.0), **options)
    apart = simulate(tmp_path / "apart", Truth(shared=1.0, subtype_shared=0.0), **options)
    for made, column in ((alike, "shared"), (apart, "subtype_cause")):
        cause = pd.read_csv(made / "truth.csv")[column]
        upper = pd.read_csv(made / "clinical.csv")["subtype"] == "type-2"
        assert cause[upper].min() > cause[~upper].max()


def test_a_cohort_without_slides_or_genes_can_be_simulated(tmp_path):
    made = simulate(tmp_path / "genes", Truth(missing={"histology": 1.0}), **SMALL)
    assert len(pd.read_csv(made / "slides.csv")) == 0
    assert len(pd.read_csv(made / "rna.csv")) == 24


@pytest.mark.parametrize(
    ("strengths", "words"),
    [
        ({"shared": -1.0}, "the strength shared = -1 of a planted signal"),
        ({"site": float("nan")}, "the strength site = nan"),
        ({"visibility": 1.5}, "visibility = 1.5 is a share"),
        ({"censoring": 1.0}, "censoring = 1 leaves nobody with an event"),
        ({"missing": {"blood": 0.5}}, "'blood' cannot be missing in a simulated cohort"),
        ({"missing": {"rna": 2.0}}, "the rate 2 of missing rna is a share"),
    ],
)
def test_impossible_truths_are_refused(strengths, words):
    with pytest.raises(ValueError, match=words):
        Truth(**strengths)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_patients": 3}, "3 patients of 4 sites are no cohort"),
        ({"d_patch": 4}, "features of width 4 cannot hold what is planted: choose at least 10"),
        ({"patches": (9, 5)}, "9 to 5 patches a slide"),
        ({"n_classes": 1}, "1 subtypes of 24 patients"),
    ],
)
def test_impossible_sizes_are_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        simulate(tmp_path / "never", Truth(), **{**SMALL, **options})
    assert not (tmp_path / "never").exists()


def test_a_folder_that_holds_something_is_not_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        simulate(tmp_path, Truth(), **SMALL)


def test_only_simulated_cohorts_know_the_true_risk(tmp_path):
    with pytest.raises(ValueError, match=r"has no truth\.csv"):
        oracle_risk(tmp_path)
