"""What holds for every bag and every partition into batches."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prognos.cohort import Cohort
from prognos.tokens import Inputs, epoch_batches
from prognos.tokens.reader import Reader

SIZES = {"P0": (3, 2), "P1": (), "P2": (1,), "P3": (6,), "P4": (0,), "P5": (2, 0, 2)}  # patches of each slide
PATIENTS = tuple(SIZES)


@dataclass(frozen=True)
class Needs:
    modalities: tuple[str, ...] = ("histology", "omics", "clinical", "blood")
    omics: str = "pathways"
    gene_set: str | None = "hallmark"


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    folder, generator = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    rows = []
    for patient, sizes in SIZES.items():
        for number, size in enumerate(sizes):
            np.save(folder / f"{patient}-{number}.npy", generator.normal(size=(size, 4)).astype(np.float32))
            rows.append({"slide_id": f"{patient}-{number}", "patient_id": patient, "path": str(folder / f"{patient}-{number}.npy")})

    def table(patients: tuple[str, ...], columns: str) -> pd.DataFrame:
        index = pd.Index(patients, name="patient_id")
        return pd.DataFrame(generator.normal(size=(len(patients), len(columns))), index=index, columns=list(columns)).astype(np.float32)

    cohort = Cohort(
        name="simulated",
        endpoint="os",
        clinical=pd.DataFrame({"age": generator.normal(60, 9, size=6)}, index=pd.Index(PATIENTS, name="patient_id")),
        time=np.arange(1.0, 7.0),
        event=np.ones(6, dtype=bool),
        slides=pd.DataFrame(rows),
        tables={"rna": table(PATIENTS[:4], "ABC"), "cnv": table(PATIENTS[2:5], "BD"), "blood": table(PATIENTS[1:], "xy")},
        omics_kinds=("rna", "cnv"),
        gene_sets={"hallmark": {"one": ("B", "A"), "two": ("D",), "three": ("A", "B", "C", "D")}},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=4,
        subtype=None,
    )
    return Inputs.learn(cohort, Needs()).reader(cohort)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patients=st.lists(st.sampled_from(PATIENTS), min_size=1, max_size=8))
def test_a_bag_of_many_is_the_bags_of_one(reader, patients):
    bag = reader.bag(patients)
    assert bag.patients == tuple(patients)
    for place, patient in enumerate(patients):
        single = reader.bag([patient])
        for name in bag:
            assert torch.equal(bag[name].rows(place), single[name].rows(0))
            assert bag[name].present[place] == single[name].present[0]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patients=st.lists(st.sampled_from(PATIENTS), min_size=1, max_size=6), n_patches=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_padding_is_behind_and_zero_and_no_longer_than_needed(reader, patients, n_patches, seed):
    tokens = reader.bag(patients, n_patches=n_patches, generator=np.random.default_rng(seed))["histology"]
    counts = [min(n_patches, reader.n_patches(patient)) for patient in patients]
    assert tokens.mask.sum(dim=1).tolist() == counts
    assert tokens.values.shape[1] == max(1, *counts)
    assert torch.equal(tokens.mask, tokens.mask.sort(dim=1, descending=True).values)
    assert not tokens.values[~tokens.mask].any()
    assert torch.isfinite(tokens.values).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_patches=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_drawn_patches_are_patches_of_the_patient_in_their_order(reader, n_patches, seed):
    for patient in PATIENTS:
        whole = reader.bag([patient])["histology"].rows(0).tolist()
        drawn = reader.bag([patient], n_patches=n_patches, generator=np.random.default_rng(seed))["histology"].rows(0).tolist()
        places = [whole.index(row) for row in drawn]
        assert places == sorted(set(places))


@settings(max_examples=100, deadline=None)
@given(
    event=st.lists(st.booleans(), min_size=1, max_size=80),
    batch_size=st.integers(1, 40),
    min_events=st.integers(0, 3),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 1000),
)
def test_batches_cover_everyone_once_with_events_and_company(event, batch_size, min_events, seed, epoch):
    event, min_events = np.array(event), min(min_events, batch_size)
    batches = epoch_batches(event, batch_size, seed=seed, epoch=epoch, min_events=min_events)
    assert sorted(np.concatenate(batches)) == list(range(len(event)))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(batch_size, 3 if batch_size == 2 else 1)
    if batch_size > 1 and len(event) > 1:
        assert min(sizes) >= 2
    n_events = [int(event[batch].sum()) for batch in batches]
    wanted = min(min_events, min(sizes))
    assert min(n_events) >= min(wanted, event.sum() // len(batches))


@settings(max_examples=50, deadline=None)
@given(stratum=st.lists(st.integers(0, 4), min_size=1, max_size=60), batch_size=st.integers(2, 20), seed=st.integers(0, 2**32))
def test_balanced_batches_are_as_many_patients_as_there_are(stratum, batch_size, seed):
    event = np.array(stratum) % 2 == 1
    batches = epoch_batches(event, batch_size, seed=seed, epoch=0, balance=np.array(stratum))
    drawn = np.concatenate(batches)
    assert len(drawn) == len(stratum)
    assert set(drawn) <= set(range(len(stratum)))
