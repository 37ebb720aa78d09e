import h5py
import numpy as np
import pytest

from prognos.interpret.placing import SIDE_ALONE, neighbour_distance, patch_places

GRID = [[0, 0], [256, 0], [512, 0], [0, 256]]


def feature_file(folder, coords, *, values="features", of_coords=None, of_file=None):
    path = folder / "s.h5"
    with h5py.File(path, "w") as file:
        file[values] = np.zeros((len(coords), 2), dtype=np.float16)
        file["coords"] = np.array(coords)
        file["coords"].attrs.update(of_coords or {})
        file.attrs.update(of_file or {})
    return path


def test_the_file_says_how_large_a_patch_is(tmp_path):
    found = patch_places(feature_file(tmp_path, GRID, of_coords={"patch_size_level0": 200}))
    assert (found.side, found.coords.tolist(), found.notes) == (200, GRID, ())


def test_a_file_that_does_not_say_gets_the_distance_of_neighbours_and_a_note(tmp_path):
    found = patch_places(feature_file(tmp_path, GRID))
    assert found.side == 256
    assert found.notes == ("its file does not say how large a patch is: 256 level-0 pixels, the distance of neighbours.",)


def test_pieces_of_tissue_with_grids_of_their_own_do_not_shrink_the_patches():
    first = np.array(GRID)
    assert neighbour_distance(np.concatenate([first, first + np.array([1024 + 40, 0])])) == 256


def test_a_single_patch_has_the_stated_side(tmp_path):
    assert patch_places(feature_file(tmp_path, [[5, 7]])).side == SIDE_ALONE


def test_micrometres_become_level_0_pixels_where_the_resolution_is_known(tmp_path):
    path = feature_file(tmp_path, [[0.0, 0.0], [128.0, 64.0]], values="feats", of_coords={"unit": "um", "tile_size_um": 64.0})
    found = patch_places(path, mpp=0.25)
    assert (found.coords.tolist(), found.side, found.mpp) == ([[0, 0], [512, 256]], 256, 0.25)


def test_micrometres_without_a_resolution_are_drawn_as_pixels_and_said_to_be(tmp_path):
    path = feature_file(tmp_path, [[0.0, 0.0], [128.0, 64.0]], values="feats", of_coords={"unit": "um", "tile_size_um": 64.0})
    found = patch_places(path)
    assert (found.coords.tolist(), found.side, found.mpp) == ([[0, 0], [128, 64]], 64, 1.0)
    assert found.notes == ("its coordinates are in micrometres and its resolution is not known: a micrometre is drawn as a pixel.",)


def test_coordinates_of_unknown_units_are_taken_as_pixels_and_said_to_be(tmp_path):
    path = feature_file(tmp_path, [[0.5, 0.0], [100.5, 0.0]], of_file={"mpp": 0.5})
    found = patch_places(path)
    assert (found.side, found.mpp) == (100, 0.5)
    assert found.notes[0] == "its file does not name the units of its coordinates: they are taken as level-0 pixels."


def test_a_resolution_that_was_assumed_is_said_to_be(tmp_path):
    told = {"patch_size_level0": 256, "mpp": 0.5, "mpp_source": "--mpp"}
    path = feature_file(tmp_path, GRID, of_coords=told)
    assert patch_places(path).notes == ("0.5 microns a pixel were assumed (--mpp) when its features were made.",)
    assert patch_places(path, mpp=0.25).notes == ()


def test_slides_csv_goes_before_the_file(tmp_path):
    assert patch_places(feature_file(tmp_path, GRID, of_file={"mpp": 0.5}), mpp=0.25).mpp == 0.25


def test_the_slide_is_as_large_as_the_file_says_and_never_smaller_than_its_patches(tmp_path):
    told = {"patch_size_level0": 256, "level0_width": 2000, "level0_height": 100}
    assert patch_places(feature_file(tmp_path, GRID, of_coords=told)).extent == (2000, 512)


def test_a_file_without_coordinates_has_no_places(tmp_path):
    np.save(tmp_path / "s.npy", np.zeros((3, 2), dtype=np.float32))
    assert patch_places(tmp_path / "s.npy") is None


@pytest.mark.parametrize("said", [np.nan, -1.0, 0.0, "large"])
def test_a_size_that_is_no_positive_number_counts_as_not_said(tmp_path, said):
    assert patch_places(feature_file(tmp_path, GRID, of_coords={"patch_size_level0": said, "units": "px"})).side == 256
