import numpy as np
import pytest

from prognos.evidence.embedding import plane_of, same_kind_nearby

TWO_CLOUDS = np.concatenate(
    [np.random.default_rng(0).normal((5, 0, 0), 0.1, (15, 3)), np.random.default_rng(1).normal((0, 5, 0), 0.1, (15, 3))]
)
KIND = np.repeat(["left", "right"], 15)


def test_vectors_of_one_direction_lie_together_in_the_plane_and_the_same_every_time():
    places = plane_of(TWO_CLOUDS)
    assert np.array_equal(places, plane_of(TWO_CLOUDS))
    middle = places[:15].mean(axis=0), places[15:].mean(axis=0)
    spread = max(np.linalg.norm(places[:15] - middle[0], axis=1).mean(), np.linalg.norm(places[15:] - middle[1], axis=1).mean())
    assert np.linalg.norm(middle[0] - middle[1]) > 2 * spread


def test_few_vectors_have_a_perplexity_that_suits_them():
    assert np.isfinite(plane_of(np.eye(4))).all()


def test_fewer_than_four_different_vectors_have_no_places():
    assert np.isnan(plane_of(np.repeat(np.eye(3), 5, axis=0))).all()


def test_kinds_that_lie_apart_have_neighbours_of_their_own_kind_only():
    assert same_kind_nearby(TWO_CLOUDS, KIND) == 1.0


def test_kinds_that_lie_mixed_have_as_many_neighbours_of_the_other_kind():
    generator = np.random.default_rng(3)
    assert same_kind_nearby(generator.normal(size=(400, 8)), np.repeat(["left", "right"], 200)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("vectors", "kind"), [(TWO_CLOUDS, np.repeat("left", 30)), (TWO_CLOUDS[10:20], KIND[10:20])])
def test_one_kind_or_too_few_vectors_have_no_share(vectors, kind):
    assert np.isnan(same_kind_nearby(vectors, kind))
