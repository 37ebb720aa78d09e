"""What fusion does with pairs that one modality orders rightly."""

import numpy as np
import pandas as pd
import pytest

from prognos.study.fusion_audit import fusion_audit


def predictions(risks: dict[str, list[float]]) -> pd.DataFrame:
    """Four patients of one fold, with events at 1, 2 and 3 and one censored at 4: six comparable pairs."""
    parts = []
    for model, risk in risks.items():
        table = pd.DataFrame({"patient_id": list("abcd"), "time": [1.0, 2, 3, 4], "event": [True, True, True, False], "risk": risk})
        parts.append(table.assign(model=model, variant="base", cohort="made-up", seed=1, fold=0, missing="none"))
    return pd.concat(parts, ignore_index=True)


def test_pairs_are_counted_by_who_is_right_and_by_what_fusion_makes_of_them():
    # omics is right where a is first; histology where d is last; the fused model in every pair but (a, b)
    table = fusion_audit(predictions({"snn": [4, 1, 2, 3], "abmil": [1, 2, 3, 0], "tta": [3.0, 3.5, 2, 1]}), replicates=20).set_index(
        "right_of_parts"
    )
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    omics, histology, fused = ([risk[i] > risk[j] for i, j in pairs] for risk in ([4, 1, 2, 3], [1, 2, 3, 0], [3.0, 3.5, 2, 1]))
    for kind, wanted in (
        ("both", (True, True)),
        ("only omics", (True, False)),
        ("only histology", (False, True)),
        ("neither", (False, False)),
    ):
        of_kind = [right for o, h, right in zip(omics, histology, fused, strict=True) if (o, h) == wanted]
        assert table.share[kind] == pytest.approx(len(of_kind) / 6)
        assert table.fused_right[kind] == pytest.approx(np.mean(of_kind))
    assert table.share.sum() == pytest.approx(1)
    assert set(table.omics_model) == {"snn"}
    assert set(table.histology_model) == {"abmil"}


def test_a_kind_of_pair_that_does_not_occur_has_no_share_that_is_right():
    same = [4.0, 3, 2, 1]
    table = fusion_audit(predictions({"snn": same, "abmil": same, "tta": same}), replicates=0).set_index("right_of_parts")
    assert table.share["both"] == 1
    assert np.isnan(table.fused_right["only omics"])


def test_without_a_model_of_each_modality_alone_there_is_no_audit():
    assert fusion_audit(predictions({"snn": [4, 3, 2, 1], "tta": [4, 3, 2, 1]})).empty
