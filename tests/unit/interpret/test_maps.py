from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tests.unit.interpret.test_placing import GRID, feature_file
from torch import nn

from prognos.cohort import Cohort
from prognos.interpret.maps import check_explainable, maps_of, percentiles_of
from prognos.models.contract import Model, Needs, PatchMap
from prognos.types import Bag, Prediction


class Shows(Model):
    """A model that shows these maps of anyone."""

    def __init__(self, *maps, reads=("histology",)):
        nn.Module.__init__(self)
        self.maps = maps
        self.needs = Needs(modalities=reads)

    def patch_maps(self, bag, prediction, patient):
        return self.maps


def cohort(files):
    """A patient P1 whose slides are these feature files of four patches, and a patient P2 without slides."""
    slides = pd.DataFrame({"slide_id": list(files), "patient_id": "P1", "path": list(files.values()), "n_patches": [4] * len(files)})
    clinical = pd.DataFrame({"age": [50.0, 60.0]}, index=pd.Index(["P1", "P2"], name="patient_id"))
    nothing = {"tables": {}, "omics_kinds": (), "gene_sets": {}, "folds": None, "exclusions": (), "notes": (), "subtype": None}
    return Cohort("made-up", "", clinical, np.full(2, np.nan), np.zeros(2, dtype=bool), slides, d_patch=2, **nothing)


@pytest.fixture
def one_slide(tmp_path):
    return cohort({"s": str(feature_file(tmp_path, GRID, of_coords={"patch_size_level0": 256}))})


BAG, PREDICTION = Bag(("P1",), {}), Prediction(torch.zeros(1))


def test_percentiles_are_middles_of_ranks_and_equal_for_equal_numbers():
    # ranks 1, 3.5, 3.5, 2 of 4 numbers
    assert percentiles_of(np.array([0.1, 5.0, 5.0, 0.2])).tolist() == [12.5, 75.0, 75.0, 37.5]


def test_the_patches_of_a_patient_are_dealt_to_the_slides_in_their_order(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    told = {"patch_size_level0": 256}
    patient = cohort({name: str(feature_file(tmp_path / name, GRID, of_coords=told)) for name in ("b", "a")})
    found = maps_of(Shows(PatchMap("attention", "weight", torch.arange(8.0))), "abmil", patient, BAG, PREDICTION)
    assert [(slide.slide_id, slide.raw["attention"].tolist()) for slide in found.slides] == [("b", [0, 1, 2, 3]), ("a", [4, 5, 6, 7])]
    assert found.slides[1].percentiles["attention"][-1] == 100 * 7.5 / 8  # among all patches of the patient


def test_each_patch_is_assigned_to_the_largest_of_a_family(one_slide):
    first, second = torch.tensor([0.9, 0.2, 0.6, 0.4]), torch.tensor([0.1, 0.8, 0.4, 0.6])
    maps = (PatchMap("mass", "", torch.ones(4)), PatchMap("one", "", first, "prototype"), PatchMap("two", "", second, "prototype"))
    found = maps_of(Shows(*maps), "tta", one_slide, BAG, PREDICTION)
    assert found.slides[0].assigned.tolist() == [0, 1, 0, 1]
    assert found.family_name == "prototype"


def test_a_map_that_is_the_same_everywhere_is_said_and_tells_nothing(one_slide):
    maps = (PatchMap("mass", "", torch.ones(4)), PatchMap("confidence", "", torch.arange(4.0)))
    found = maps_of(Shows(*maps), "tta", one_slide, BAG, PREDICTION)
    assert found.notes == ("mass is the same for every patch (1).",)
    assert [kind.name for kind in found.telling] == ["confidence"]


def test_prototypes_that_have_fallen_together_are_said_to_tell_nothing(one_slide):
    first, second = torch.full((4,), 0.6) + 0.01 * torch.arange(4.0), torch.full((4,), 0.4)
    together = (PatchMap("prototype 1", "", first, "prototype"), PatchMap("prototype 2", "", second, "prototype"))
    text = "prototype 1 takes 100% of the patches first: the 2 prototypes tell hardly a patch from another, nor do their maps."
    assert text in maps_of(Shows(*together), "tta", one_slide, BAG, PREDICTION).notes
    apart = (together[0], PatchMap("prototype 2", "", torch.tensor([0.9, 0.9, 0.1, 0.1]), "prototype"))
    assert maps_of(Shows(*apart), "tta", one_slide, BAG, PREDICTION).notes == ()


def test_a_slide_without_coordinates_is_left_out_and_said_to_be(tmp_path, one_slide):
    np.save(tmp_path / "bare.npy", np.zeros((4, 2), dtype=np.float32))
    rows = [
        *one_slide.slides.to_dict("records"),
        {"slide_id": "bare", "patient_id": "P1", "path": str(tmp_path / "bare.npy"), "n_patches": 4},
    ]
    both = replace(one_slide, slides=pd.DataFrame(rows))
    found = maps_of(Shows(PatchMap("attention", "", torch.arange(8.0))), "abmil", both, BAG, PREDICTION)
    assert [slide.slide_id for slide in found.slides] == ["s"]
    assert found.notes == ("1 of 2 slides have no coordinates and are left out (bare).",)


def test_a_patient_of_whom_no_slide_has_coordinates_is_refused(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros((4, 2), dtype=np.float32))
    bare = cohort({"bare": str(tmp_path / "bare.npy")})
    with pytest.raises(ValueError, match=r"of patient P1 hold no coordinates \(bare\).*Extract the features again"):
        maps_of(Shows(PatchMap("attention", "", torch.arange(4.0))), "abmil", bare, BAG, PREDICTION)


def test_a_model_that_shows_no_map_is_refused(one_slide):
    with pytest.raises(ValueError, match=r"must shows no number for single patches.*explain another model"):
        maps_of(Shows(), "must", one_slide, BAG, PREDICTION)


def test_an_unknown_patient_is_refused(one_slide):
    with pytest.raises(ValueError, match=r"patient P9 is not in made-up: look at its clinical\.csv"):
        check_explainable(Shows(), "abmil", one_slide, "P9")


def test_a_model_that_reads_no_slides_is_refused_and_told_what_it_reads(one_slide):
    with pytest.raises(ValueError, match=r"snn reads no slides \(it reads omics\).*explain a model that reads histology"):
        check_explainable(Shows(reads=("omics",)), "snn", one_slide, "P1")


def test_a_patient_without_slides_is_refused_and_told_to_make_features(one_slide):
    with pytest.raises(ValueError, match="patient P2 has no slide features in made-up: run 'prognos slides'"):
        check_explainable(Shows(), "abmil", one_slide, "P2")


def test_one_slide_keeps_the_percentiles_among_all(two_slides):
    second = two_slides.of_slide("slide-2")
    assert [slide.slide_id for slide in second.slides] == ["slide-2"]
    assert second.slides[0].percentiles["attention"].tolist() == two_slides.slides[1].percentiles["attention"].tolist()


def test_an_unknown_slide_is_refused_with_those_that_there_are(two_slides):
    with pytest.raises(ValueError, match=r"patient P1 has no slide 'slide-9' with coordinates: choose one of slide-1, slide-2"):
        two_slides.of_slide("slide-9")


def test_a_patient_without_a_family_has_no_name_for_it(two_slides):
    assert (two_slides.family, two_slides.family_name) == ((), "")
