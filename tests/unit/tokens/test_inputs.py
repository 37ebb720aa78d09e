"""What a model is given: learnt on the training patients, and the same for anyone later."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from prognos.models import contract as models
from prognos.tokens import Inputs, InputsConfig, MissingModality
from prognos.types import InputShape

NAN = float("nan")
SETS = {"hallmark": {"growth": ("G2", "G1", "G9"), "nowhere": ("G8",), "repair": ("G4",)}}


def table(columns: dict[str, list[float]], patients: str) -> pd.DataFrame:
    index = pd.Index([f"P{number}" for number in patients], name="patient_id")
    return pd.DataFrame(columns, index=index, dtype=np.float32)


@pytest.fixture
def cohort(slides):
    tables = {
        "rna": table({"G1": [0, 1, 2], "G2": [4, 2, 0]}, "124"),  # median 1 and 2, quartiles 0.5, 1.5 and 1, 3
        "cnv": table({"G2": [-2, 2], "G4": [1, NAN]}, "12"),
        "blood": table({"iron": [0, 2, 4], "salt": [7, 7, 7]}, "123"),  # median 2, quartiles 1, 3
    }
    return slides.cohort(tables=tables, gene_sets=SETS)


def test_the_shape_says_what_was_found(cohort, needs):
    everything = needs(("histology", "omics", "clinical", "blood"), "pathways", "hallmark")
    shape = Inputs.learn(cohort, everything).shape
    assert shape == InputShape(d_patch=3, pathway_features=(3, 1), n_genes=4, tables={"clinical": 1, "blood": 2})


def test_only_what_the_model_reads_is_there(cohort, needs):
    inputs = Inputs.learn(cohort, needs(("clinical",)))
    assert inputs.shape == InputShape(tables={"clinical": 1})
    assert list(inputs.reader(cohort).bag(["P1"])) == ["clinical"]


def test_genes_are_one_token(cohort, needs):
    bag = Inputs.learn(cohort, needs(("omics",))).reader(cohort).bag(["P1", "P3", "P4"])
    #                                        rna G1  rna G2  cnv G2  cnv G4
    assert bag["omics"].values.tolist() == [[[-1.0, 1.0, -1.0, 0.5]], [[0.0, 0, 0, 0]], [[1.0, -1.0, 0, 0]]]
    assert bag["omics"].mask.tolist() == [[True], [False], [True]]  # P3 has neither table
    assert bag["omics"].values.dtype == torch.float32


def test_pathway_tokens_hold_the_features_of_their_genes(cohort, needs):
    bag = Inputs.learn(cohort, needs(("omics",), "pathways", "hallmark")).reader(cohort).bag(["P1", "P3"])
    growth, repair = bag["omics"].values[0].tolist()
    assert growth == [1.0, -1.0, -1.0]  # rna G2, rna G1, cnv G2
    assert repair == [0.5, 0.0, 0.0]  # cnv G4 and padding
    assert bag["omics"].mask.tolist() == [[True, True], [False, False]]


def test_a_table_is_scaled_by_the_training_median_and_missing_is_0(cohort, needs):
    reader = Inputs.learn(cohort, needs(("blood",))).reader(cohort)
    bag = reader.bag(["P1", "P2", "P3", "P4"])
    assert bag["blood"].values.tolist() == [[[-1.0, 0]], [[0.0, 0]], [[1.0, 0]], [[0.0, 0]]]
    assert bag["blood"].mask.tolist() == [[True], [True], [True], [False]]


def test_patches_are_in_front_in_float16_with_coordinates(cohort, needs, slides):
    tokens = Inputs.learn(cohort, needs(("histology",))).reader(cohort).bag(["P2", "P4", "P1"])["histology"]
    assert tokens.values.shape == (3, 6, 3)
    assert tokens.values.dtype == torch.float16
    assert tokens.mask.sum(dim=1).tolist() == [5, 0, 6]
    assert np.array_equal(tokens.values[0, :5], slides.values["B"].astype(np.float16))
    assert not tokens.values[0, 5:].any()
    assert np.array_equal(tokens.coords[0, :5], slides.coords["B"])
    n_first = len(slides.values["A"])
    assert tokens.slide[2].tolist() == [0] * n_first + [1] * (6 - n_first)
    assert tokens.slides(2).tolist() == tokens.slide[2].tolist()
    assert tokens.present.tolist() == [True, False, True]


def test_a_bag_in_which_nobody_has_slides_is_one_token_of_padding(cohort, needs):
    tokens = Inputs.learn(cohort, needs(("histology",))).reader(cohort).bag(["P3", "P4"])["histology"]
    assert tokens.values.shape == (2, 1, 3)
    assert not tokens.mask.any()


def test_a_subsample_is_drawn_without_replacement_and_keeps_the_order(cohort, needs, slides):
    reader = Inputs.learn(cohort, needs(("histology",))).reader(cohort)
    whole = reader.bag(["P1"])["histology"].values[0].tolist()
    for seed in range(20):
        part = reader.bag(["P1"], n_patches=4, generator=np.random.default_rng(seed))["histology"].values[0].tolist()
        places = [whole.index(row) for row in part]
        assert len(set(places)) == 4
        assert places == sorted(places)


def test_a_subsample_is_uniform_and_deterministic(cohort, needs):
    reader = Inputs.learn(cohort, needs(("histology",))).reader(cohort)
    whole = reader.bag(["P1"])["histology"].values[0].tolist()

    def drawn(seed: int) -> list[int]:
        generator = np.random.default_rng(seed)
        bags = [reader.bag(["P1"], n_patches=2, generator=generator) for _ in range(300)]
        return [whole.index(row) for bag in bags for row in bag["histology"].values[0].tolist()]

    counts = np.bincount(drawn(0), minlength=6)  # 600 draws over 6 patches: 100 each, standard deviation below 10
    assert counts.sum() == 600
    assert abs(counts - 100).max() < 40
    assert drawn(1) == drawn(1)


def test_fewer_patches_than_asked_for_are_all_read(cohort, needs):
    reader = Inputs.learn(cohort, needs(("histology",))).reader(cohort)
    tokens = reader.bag(["P2"], n_patches=4096, generator=np.random.default_rng(0))["histology"]
    assert torch.equal(tokens.values, reader.bag(["P2"])["histology"].values)


def test_a_single_patch_can_be_drawn(cohort, needs):
    reader = Inputs.learn(cohort, needs(("histology",))).reader(cohort)
    assert reader.bag(["P1", "P2"], n_patches=1, generator=np.random.default_rng(0))["histology"].mask.tolist() == [[True], [True]]


def test_a_later_cohort_without_a_modality_has_absent_tokens(cohort, needs, slides, make_cohort):
    inputs = Inputs.learn(cohort, needs(("histology", "omics", "clinical", "blood"), "pathways", "hallmark"))
    reader = inputs.reader(make_cohort(slides.table.iloc[:0], 0))
    bag = reader.bag(["P1", "P2"])
    assert {name: tokens.mask.any().item() for name, tokens in bag.modalities.items()} == {
        "histology": False,
        "omics": False,
        "clinical": True,
        "blood": False,
    }
    assert bag["histology"].values.shape == (2, 1, 3)
    assert bag["omics"].values.shape == (2, 2, 3)
    assert "4 patients have no histology" in reader.notes
    assert "2 columns are absent from blood (iron, salt): set to 0" in reader.notes


def test_the_order_of_modalities_is_the_models(cohort, needs):
    assert list(Inputs.learn(cohort, needs(("omics", "histology"))).reader(cohort).bag(["P1"])) == ["omics", "histology"]


def test_inputs_come_back_from_json(cohort, needs):
    everything = needs(("histology", "omics", "clinical", "blood"), "pathways", "hallmark")
    inputs = Inputs.learn(cohort, everything, InputsConfig(omics_kinds=("rna",), n_patches=7))
    again = Inputs.from_state(json.loads(json.dumps(inputs.state(), sort_keys=True)))
    assert again.state() == inputs.state()
    assert again.config == inputs.config
    assert (again.shape, again.encoder) == (inputs.shape, "uni")
    before, after = (maker.reader(cohort).bag(cohort.patients) for maker in (inputs, again))
    assert all(torch.equal(before[name].values, after[name].values) for name in before)


def test_other_patients_than_those_of_training_change_nothing(cohort, needs, slides):
    everything = needs(("histology", "omics", "clinical", "blood"), "pathways", "hallmark")
    changed = {name: frame.copy() for name, frame in cohort.tables.items()}
    for frame in changed.values():
        frame.loc[~frame.index.isin(["P1", "P2"])] = 99
    other = slides.cohort(tables=changed, gene_sets=SETS)
    states = [Inputs.learn(each.subset(["P1", "P2"]), everything).state() for each in (cohort, other)]
    assert states[0] == states[1]


def test_what_was_left_out_is_noted(cohort, needs):
    inputs = Inputs.learn(cohort, needs(("omics", "blood"), "pathways", "hallmark"))
    assert "1 gene sets have no measured gene (nowhere): left out" in inputs.notes
    assert "blood column 'salt' is constant in training: set to 0" in inputs.notes
    assert "1 patients have no rna: set to 0" in inputs.notes


def test_constant_genes_are_noted(cohort, needs):
    inputs = Inputs.learn(cohort.subset(["P1"]), needs(("omics",)))
    assert "2 genes are constant in training (G1, G2): set to 0" in inputs.notes


def test_the_recipe_may_name_other_gene_sets_than_the_model(cohort, needs, slides):
    other = slides.cohort(tables=cohort.tables, gene_sets={"functional": {"one": ("G1",)}})
    inputs = Inputs.learn(other, needs(("omics",), "pathways", "hallmark"), InputsConfig(gene_set="functional"))
    assert inputs.omics.schema.pathways == ("one",)


def test_gene_sets_that_were_not_given_are_named_with_the_remedy(cohort, needs):
    with pytest.raises(ValueError, match=r"gene sets 'functional', which were not given \(given: hallmark\).*--gene-sets functional=FILE"):
        Inputs.learn(cohort, needs(("omics",), "pathways", "functional"))


def test_a_modality_that_nobody_has_makes_the_model_not_applicable(cohort, needs, make_cohort, slides):
    no_slides = make_cohort(slides.table.iloc[:0], 0, {"rna": cohort.tables["rna"]})
    with pytest.raises(
        MissingModality, match=r"reads histology, which none of the 4 training patients of small has \(they have clinical, omics\)"
    ):
        Inputs.learn(no_slides, needs(("histology", "omics")))


def test_omics_without_a_value_make_the_model_not_applicable(cohort, needs, slides):
    empty = slides.cohort(tables={"rna": cohort.tables["rna"] * NAN})
    with pytest.raises(MissingModality, match="the model reads rna, which none of the 4 training patients"):
        Inputs.learn(empty, needs(("omics",)))


def test_constant_covariates_make_the_model_not_applicable(cohort, needs):
    with pytest.raises(MissingModality, match=r"every covariate of small \(.*age.*\) is constant in training: nothing to learn from"):
        Inputs.learn(cohort.subset(["P1"]), needs(("clinical",)))


def test_a_dropped_covariate_is_noted(cohort, needs):
    notes = Inputs.learn(cohort, needs(("clinical",))).notes
    assert any("clinical column 'sex' is constant in training: left out" in note for note in notes)


def test_features_of_another_width_than_in_training_are_refused(cohort, needs, write_slide, make_cohort, tmp_path):
    path = write_slide(tmp_path, "E", np.ones((2, 5)))
    later = make_cohort(pd.DataFrame({"slide_id": ["E"], "patient_id": ["P1"], "path": [str(path)]}), 5)
    with pytest.raises(ValueError, match="the patch features of small are 5 wide, those of training 3: extract them with the encoder"):
        Inputs.learn(cohort, needs(("histology",))).reader(later)


def test_features_of_another_encoder_than_in_training_are_refused(cohort, needs, write_slide, make_cohort, tmp_path):
    path = write_slide(tmp_path, "E", np.ones((2, 3)), encoder="resnet50")
    later = make_cohort(pd.DataFrame({"slide_id": ["E"], "patient_id": ["P1"], "path": [str(path)]}), 3)
    with pytest.raises(ValueError, match="are of the encoder 'resnet50', those of training of 'uni': extract"):
        Inputs.learn(cohort, needs(("histology",))).reader(later)


def test_bags_that_cannot_be_are_refused(cohort, needs):
    reader = Inputs.learn(cohort, needs(("histology",))).reader(cohort)
    with pytest.raises(ValueError, match="a bag of no patients was asked for; name at least one"):
        reader.bag([])
    with pytest.raises(ValueError, match=r"2 patients are not in the reader's cohort \(P8, P9\): make a reader of the cohort"):
        reader.bag(["P1", "P8", "P9"])
    with pytest.raises(ValueError, match="a subsample of patches takes both n_patches and a generator"):
        reader.bag(["P1"], n_patches=3)
    with pytest.raises(ValueError, match="n_patches is 0; it must be at least 1"):
        reader.bag(["P1"], n_patches=0, generator=np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"n_patches": 0}, {"omics_kinds": ()}, {"n_patch": 3}])
def test_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        InputsConfig(**wrong)


def test_the_needs_of_the_models_are_needs(cohort):
    assert Inputs.learn(cohort, models.Needs(("clinical", "blood"))).modalities == ("clinical", "blood")
