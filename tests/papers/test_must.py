"""MUST's equations of complete patients, evaluated with loops in float64, against the model's code."""

import math
from itertools import combinations

import pytest
import torch

from prognos.models.must import MUST, MUSTConfig
from prognos.nn.multihead import MultiHeadAttention
from prognos.nn.must import LowRankProjector, NystromPool
from prognos.risk.discrete import likelihood_loss, quantile_cuts
from prognos.types import InputShape
from tests.papers.must_by_hand import (
    MAIN,
    N_PATCHES,
    SURVIVAL,
    THREE,
    TWO,
    WARM_UP,
    attention,
    bag,
    bin_of,
    cosine,
    cost,
    dot,
    encoded,
    hazards,
    made_up,
    mean,
    minus,
    norm,
    nystrom,
    phi,
    plus,
    projected,
    read,
    risk,
    tiny,
    warm_phi,
)

GROUPS = (2, 3, 1)


def rows_of(whole, modality: str, i: int) -> list[list[float]]:
    """What the stream of one patient is given, without padding."""
    values = whole[modality].values[i].tolist()
    if modality == "histology":
        return values[: N_PATCHES[i]]
    return [row[:size] for row, size in zip(values, GROUPS, strict=True)] if modality == "omics" else values


def by_loops(model, whole, i: int) -> tuple[dict, dict, dict]:
    """g, u^ and c^ of patient i, by modality and by pair, from the equations alone."""
    out = {m: encoded(model, m, rows_of(whole, m, i)) for m in model.modalities}
    specific = {m: minus(u, projected(model, u)) for m, (_, u, _) in out.items()}
    tokens = {m: updated for m, (_, _, updated) in out.items()}
    found = {(n, m): projected(model, read(model, n, m, tokens)) for n in out for m in out if n != m}
    return {m: g for m, (g, _, _) in out.items()}, specific, found


# Time and likelihood


@torch.no_grad()
def test_the_bins_hold_equal_numbers_of_uncensored_patients():
    time = torch.tensor([3.0, 30.0, 8.0, 1.0, 90.0, 14.0, 5.0, 60.0, 500.0, 900.0], dtype=torch.float64)
    event = torch.tensor([True] * 8 + [False] * 2)
    cuts = quantile_cuts(time, event, 4)
    assert MUSTConfig().n_bins == 4
    assert [int((torch.searchsorted(cuts, time[event], right=True) == k).sum()) for k in range(4)] == [2, 2, 2, 2]


@torch.no_grad()
def test_eq_5_and_6_are_the_likelihood_of_the_interval_of_each_patient():
    model = tiny()
    prediction = model(bag())
    logits = prediction.hazard_logits.tolist()
    expected = [cost(model, logits[i], float(SURVIVAL.time[i]), bool(SURVIVAL.event[i])) for i in range(4)]
    assert float(model.head.loss(prediction, SURVIVAL)) == pytest.approx(sum(expected) / 4, rel=1e-6)
    assert prediction.risk.tolist() == pytest.approx([risk(row) for row in logits], rel=1e-6)


@torch.no_grad()
def test_eq_6_as_printed_does_not_penalise_early_hazards_of_an_event_and_stops_early_for_the_censored():
    """Eq. 4-5 count bins from 1 and k = max{k: tau_k <= t} from 0; without S(k-1) an event is free to be expected at once."""
    logits = torch.tensor([[3.0, 0.5, 0.0, 0.0]], dtype=torch.float64)
    h = hazards(logits[0].tolist())
    k = torch.tensor([2])
    event, censored = (float(likelihood_loss(logits, k, torch.tensor([kind]))) for kind in (True, False))
    printed_event, printed_censored = -math.log(h[2]), -math.log(math.prod(1 - x for x in h[:2]))
    assert event - printed_event == pytest.approx(-math.log((1 - h[0]) * (1 - h[1])), rel=1e-9)
    assert event - printed_event > 3
    assert censored - printed_censored == pytest.approx(-math.log(1 - h[2]), rel=1e-9)


# What is read


@torch.no_grad()
def test_the_needs_are_functional_groups_and_whatever_tables_are_named():
    needs = MUST.needs_of(MUSTConfig(modalities=THREE))
    assert (needs.modalities, needs.omics, needs.gene_set, needs.complete) == (THREE, "pathways", "functional", False)


@torch.no_grad()
def test_any_number_of_gene_groups_is_read():
    shape = InputShape(d_patch=4, pathway_features=(1, 2, 3, 4, 5, 6))
    model = MUST(MUSTConfig(d_model=8, rank=3, heads=2, landmarks=4), shape)
    assert len(model.streams["omics"].embed.first_weight) == 6


@torch.no_grad()
def test_bins_of_the_warm_up_are_those_of_the_head():
    model = tiny()
    assert torch.equal(model.warm_head.cuts, model.head.cuts)
    by_hand = [bin_of(model, t) for t in SURVIVAL.time.tolist()]
    assert by_hand == torch.searchsorted(model.head.cuts, SURVIVAL.time, right=True).tolist()


# Encoders


@torch.no_grad()
@pytest.mark.parametrize("i", range(4))
def test_the_pathology_encoder_is_transmil_with_a_class_token_and_the_genomic_one_self_attention_with_one(i):
    model, whole = tiny(), bag()
    for m in TWO:
        g, u, tokens = encoded(model, m, rows_of(whole, m, i))
        found = model.streams[m](model._rows(whole, m, [i])[0])
        assert found.whole.tolist() == pytest.approx(g, rel=1e-8, abs=1e-10)
        assert found.specific.tolist() == pytest.approx(u, rel=1e-8, abs=1e-10)
        assert found.tokens.flatten().tolist() == pytest.approx([v for row in tokens for v in row], rel=1e-8, abs=1e-10)
        assert model.streams[m].whole(model._rows(whole, m, [i])[0]).tolist() == pytest.approx(g, rel=1e-8, abs=1e-10)


@torch.no_grad()
def test_a_further_table_is_one_group():
    model, whole = tiny(modalities=THREE), bag(THREE)
    g, _, tokens = encoded(model, "blood", rows_of(whole, "blood", 2))
    assert len(tokens) == 1
    assert model.streams["blood"](model._rows(whole, "blood", [2])[0]).whole.tolist() == pytest.approx(g, rel=1e-8)


@torch.no_grad()
def test_as_printed_u_p_comes_from_one_more_nystrom_layer_over_the_class_token_and_the_updated_tokens():
    model = tiny(specific="nystrom")
    pool = model.streams["histology"].specific
    assert isinstance(pool, NystromPool)
    _, _, tokens = encoded(tiny(), "histology", rows_of(bag(), "histology", 0))
    expected = norm(pool.norm, nystrom(pool.layer, [pool.class_token.tolist(), *tokens])[0])
    assert pool(torch.tensor(tokens, dtype=torch.float64)).tolist() == pytest.approx(expected, rel=1e-8)


@torch.no_grad()
@pytest.mark.parametrize(("n_queries", "n_keys"), [(2, 3), (3, 40)])
def test_eq_7_attends_from_one_modality_to_the_other(n_queries, n_keys):
    """Also where keys are many, and the same numbers are computed in another order."""
    torch.manual_seed(1)
    block = MultiHeadAttention(8, 2).double()
    queries, context = torch.randn(n_queries, 8, dtype=torch.float64), torch.randn(n_keys, 8, dtype=torch.float64)
    expected = attention(block, queries.tolist(), context.tolist())
    for found, row in zip(block(queries, context).tolist(), expected, strict=True):
        assert found == pytest.approx(row, rel=1e-9)


@torch.no_grad()
def test_what_omics_read_in_histology_has_the_omics_tokens_as_queries():
    model, whole = tiny(), bag()
    tokens = {m: encoded(model, m, rows_of(whole, m, 0))[2] for m in TWO}
    for n, m in (("omics", "histology"), ("histology", "omics")):
        found = model.cross[f"{n}<-{m}"](*(torch.tensor(tokens[x], dtype=torch.float64) for x in (n, m)))
        assert found.tolist() == pytest.approx(read(model, n, m, tokens), rel=1e-8)


# Decomposition


@torch.no_grad()
def test_eq_8_projects_onto_a_subspace_of_rank_r():
    torch.manual_seed(2)
    projector = LowRankProjector(8, 3).double()
    with torch.no_grad():
        projector.basis.mul_(3.0).add_(torch.randn(8, 3))
    basis = projector._basis().tolist()
    p = [[dot(basis[i], basis[j]) for j in range(8)] for i in range(8)]
    v = torch.randn(5, 8, dtype=torch.float64)
    for row, found in zip(v.tolist(), projector(v).tolist(), strict=True):
        assert found == pytest.approx([dot(p[i], row) for i in range(8)], rel=1e-9, abs=1e-12)
    matrix = projector(torch.eye(8, dtype=torch.float64))
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-12)  # P P = P
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert float(matrix.trace()) == pytest.approx(3)
    assert float(projector.penalty()) == pytest.approx(0, abs=1e-20)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["free", "soft"])
def test_eq_8_as_printed_is_no_projection_once_b_has_moved(kind):
    torch.manual_seed(2)
    projector = LowRankProjector(8, 3, kind).double()
    with torch.no_grad():
        projector.basis.mul_(1.5)
    matrix = projector(torch.eye(8, dtype=torch.float64))
    assert torch.allclose(matrix, projector.basis @ projector.basis.T)
    assert not torch.allclose(matrix @ matrix, matrix, atol=1e-2)
    columns = list(zip(*projector.basis.tolist(), strict=True))
    expected = sum((dot(list(a), list(b)) - (i == j)) ** 2 for i, a in enumerate(columns) for j, b in enumerate(columns))
    assert float(projector.penalty()) == pytest.approx(expected, rel=1e-9)


@torch.no_grad()
def test_a_soft_projector_pays_for_what_it_lacks_to_orthonormal_columns():
    model = tiny(projector="soft", projector_weight=0.7)
    terms = model.losses(bag(), SURVIVAL, MAIN)
    assert float(terms["projector"]) == pytest.approx(0.7 * float(model.projector.penalty()), rel=1e-9)
    assert "projector" not in tiny(projector="free").losses(bag(), SURVIVAL, MAIN)


@torch.no_grad()
@pytest.mark.parametrize("projector", ["orthogonal", "free"])
def test_eq_9_takes_apart_what_is_shared_and_what_is_not(projector):
    model, whole = tiny(projector=projector), bag()
    parts, evidence = model._components(whole), model(whole).evidence
    for i in range(4):
        g, u, c = by_loops(model, whole, i)
        for m in TWO:
            assert parts.whole[m][i].tolist() == pytest.approx(g[m], rel=1e-8, abs=1e-10)
            assert parts.specific[m][i].tolist() == pytest.approx(u[m], rel=1e-8, abs=1e-10)
            assert evidence["specific"][m][i].tolist() == parts.specific[m][i].tolist()
        for pair in c:
            assert parts.read[pair][i].tolist() == pytest.approx(c[pair], rel=1e-8, abs=1e-10)
            assert evidence["read"]["<-".join(pair)][i].tolist() == parts.read[pair][i].tolist()
        inside = dot(parts.specific["omics"][i].tolist(), parts.read["histology", "omics"][i].tolist())
        assert (abs(inside) < 1e-12) == (projector == "orthogonal")


@torch.no_grad()
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_eq_10_and_13_compare_each_global_vector_with_its_two_components(reduction):
    model, parts = tiny(reduction=reduction), made_up()
    total = 0.0
    for m, n in (("histology", "omics"), ("omics", "histology")):
        for i in range(4):
            composed = plus(parts.specific[m][i].tolist(), parts.read[n, m][i].tolist())  # u^_P + c^_{G<-P}
            rest = minus(parts.whole[m][i].tolist(), composed)
            total += dot(rest, rest) / 4 / (8 if reduction == "mean" else 1)
    assert float(model._decomposition(parts)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("decomposed", ["fixed", "free"])
def test_global_vectors_give_way_to_eq_13_where_they_are_free_only(decomposed):
    model, parts = tiny(decomposed=decomposed), made_up()
    for vectors in (parts.whole, parts.specific, parts.read):
        for vector in vectors.values():
            vector.requires_grad_()
    model._decomposition(parts).backward()
    assert all(bool(u.grad.any()) for u in (*parts.specific.values(), *parts.read.values()))
    assert [g.grad is not None for g in parts.whole.values()] == [decomposed == "free"] * 2


@torch.no_grad()
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_eq_14_compares_what_each_reads_in_the_other(reduction):
    model, parts = tiny(reduction=reduction), made_up()
    total = 0.0
    for i in range(4):
        rest = minus(parts.read["histology", "omics"][i].tolist(), parts.read["omics", "histology"][i].tolist())
        total += dot(rest, rest) / 4 / (8 if reduction == "mean" else 1)
    assert float(model._shared_consistency(parts)) == pytest.approx(total, rel=1e-12)


@torch.no_grad()
def test_eq_15_is_three_cosines():
    parts, total = made_up(), 0.0
    for i in range(4):
        p, g = parts.specific["histology"][i].tolist(), parts.specific["omics"][i].tolist()
        c_pg, c_gp = parts.read["histology", "omics"][i].tolist(), parts.read["omics", "histology"][i].tolist()
        total += (abs(cosine(p, g)) + abs(cosine(p, c_pg)) + abs(cosine(g, c_gp))) / 4
    assert float(tiny()._orthogonality(parts)) == pytest.approx(total, rel=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("projector", ["orthogonal", "free"])
def test_two_terms_of_eq_15_are_zero_where_the_projector_is_one(projector):
    model = tiny(projector=projector)
    parts = model._components(bag())
    within = [abs(cosine(parts.specific[m][i].tolist(), parts.read_by(m)[i].tolist())) for m in TWO for i in range(4)]
    between = sum(abs(cosine(parts.specific["histology"][i].tolist(), parts.specific["omics"][i].tolist())) for i in range(4)) / 4
    assert (max(within) < 1e-12) == (projector == "orthogonal")
    assert (float(model._orthogonality(parts)) == pytest.approx(between, rel=1e-9)) == (projector == "orthogonal")


# Head and objectives


@torch.no_grad()
@pytest.mark.parametrize("shared_from", ["mean", "random", "histology", "omics"])
def test_eq_11_puts_the_components_side_by_side(shared_from):
    """c^ is the mean of both readings, or what is read in one modality; `random` is the mean outside training."""
    model, whole = tiny(shared_from=shared_from), bag()
    prediction = model(whole)
    for i in range(4):
        _, u, c = by_loops(model, whole, i)
        read_in = {"histology": c["omics", "histology"], "omics": c["histology", "omics"]}
        shared = read_in.get(shared_from) or mean(list(read_in.values()))
        assert prediction.evidence["shared"][i].tolist() == pytest.approx(shared, rel=1e-8, abs=1e-10)
        expected = phi(model, u["histology"], shared, u["omics"])
        assert prediction.hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
        assert float(prediction.risk[i]) == pytest.approx(risk(expected), rel=1e-6)


@torch.no_grad()
def test_a_random_choice_of_what_is_shared_takes_either_reading_in_training():
    model, parts = tiny(shared_from="random"), made_up()
    readings = [parts.read_in(m) for m in TWO]
    found = [model._shared(parts, MAIN) for _ in range(20)]
    chosen = {next(m for m, reading in zip(TWO, readings, strict=True) if torch.equal(shared, reading)) for shared in found}
    assert chosen == set(TWO)


@torch.no_grad()
def test_what_is_shared_from_a_modality_that_is_not_read_is_refused():
    with pytest.raises(ValueError, match="shared_from is 'blood'; choose mean, random or one of histology, omics"):
        tiny(shared_from="blood")


@torch.no_grad()
@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_eq_12_predicts_from_each_modality_beside_noise(sigma):
    model, whole = tiny(noise=sigma), bag()
    torch.manual_seed(5)
    found = model.losses(whole, SURVIVAL, WARM_UP)
    torch.manual_seed(5)
    total = 0.0
    for m in TWO:
        noise = sigma * torch.randn(4, 8, dtype=torch.float64)
        for i in range(4):
            g, _, _ = encoded(model, m, rows_of(whole, m, i))
            total += cost(model, warm_phi(model, g, noise[i].tolist()), float(SURVIVAL.time[i]), bool(SURVIVAL.event[i])) / 4
    assert list(found) == ["warm_up"]
    assert float(found["warm_up"]) == pytest.approx(total, rel=1e-6)


@torch.no_grad()
def test_in_eq_12_patients_who_lack_a_modality_do_not_count_for_it():
    model = tiny(noise=0.0)
    whole, total = bag(lacking={"omics": "ac", "histology": "d"}), 0.0
    for m, who in (("histology", (0, 1, 2)), ("omics", (1, 3))):
        for i in who:
            g, _, _ = encoded(model, m, rows_of(whole, m, i))
            total += cost(model, warm_phi(model, g, [0.0] * 8), float(SURVIVAL.time[i]), bool(SURVIVAL.event[i])) / len(who)
    assert float(model.losses(whole, SURVIVAL, WARM_UP)["warm_up"]) == pytest.approx(total, rel=1e-6)
    assert float(model.losses(bag().without(*TWO), SURVIVAL, WARM_UP)["warm_up"]) == 0


@torch.no_grad()
def test_eq_16_weighs_the_terms():
    weights = {"decomposition": 0.3, "shared": 0.6, "orthogonality": 0.9}
    model, whole = tiny(**{f"{name}_weight": value for name, value in weights.items()}), bag()
    terms, parts = model.losses(whole, SURVIVAL, MAIN), model._components(whole)
    assert set(terms) == {"survival", *weights}
    assert float(terms["survival"]) == pytest.approx(float(model.head.loss(model(whole), SURVIVAL)))
    assert float(terms["decomposition"]) == pytest.approx(0.3 * float(model._decomposition(parts)))
    assert float(terms["shared"]) == pytest.approx(0.6 * float(model._shared_consistency(parts)))
    assert float(terms["orthogonality"]) == pytest.approx(0.9 * float(model._orthogonality(parts)))
    config = MUSTConfig()
    assert (config.decomposition_weight, config.shared_weight, config.orthogonality_weight) == (1.0, 1.0, 0.5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["decomposition", "shared", "orthogonality"])
def test_a_loss_weight_of_zero_leaves_its_term_out_of_the_gradient(name):
    model = tiny(**{f"{name}_weight": 0.0})
    assert float(model.losses(bag(), SURVIVAL, MAIN)[name]) == 0


# More than two modalities


@torch.no_grad()
def test_with_three_modalities_readings_are_averaged_and_compared_pair_by_pair():
    model, parts = tiny(modalities=THREE), made_up(THREE)
    decomposition = shared = orthogonality = 0.0
    for i in range(4):
        u = {m: parts.specific[m][i].tolist() for m in THREE}
        read_in = {m: mean([parts.read[n, m][i].tolist() for n in THREE if n != m]) for m in THREE}
        read_by = {m: mean([parts.read[m, n][i].tolist() for n in THREE if n != m]) for m in THREE}
        for m in THREE:
            rest = minus(parts.whole[m][i].tolist(), plus(u[m], read_in[m]))
            decomposition += dot(rest, rest) / 8 / 4
            orthogonality += abs(cosine(u[m], read_by[m])) / 4
        for m, n in combinations(THREE, 2):
            rest = minus(read_in[m], read_in[n])
            shared += dot(rest, rest) / 8 / 4
            orthogonality += abs(cosine(u[m], u[n])) / 4
    assert float(model._decomposition(parts)) == pytest.approx(decomposition, rel=1e-9)
    assert float(model._shared_consistency(parts)) == pytest.approx(shared, rel=1e-9)
    assert float(model._orthogonality(parts)) == pytest.approx(orthogonality, rel=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [TWO, THREE])
def test_fig_5_and_10_are_cosines_of_specific_shared_and_global_vectors_and_of_g_with_the_sums_of_eq_10(modalities):
    model, whole = tiny(modalities=modalities), bag(modalities, {"omics": "b"})
    found = model.similarities(model(whole))
    for i, patient in enumerate(whole.patients):
        if patient == "b":  # lacks omics: nothing to compare
            assert all(bool(values[i].isnan()) for values in found.values())
            continue
        g, u, c = by_loops(model, whole, i)
        read_in = {m: mean([c[n, m] for n in modalities if n != m]) for m in modalities}
        expected = {}
        for m, n in combinations(modalities, 2):
            expected[f"specific {m}", f"specific {n}"] = cosine(u[m], u[n])
            expected[f"shared read in {m}", f"shared read in {n}"] = cosine(read_in[m], read_in[n])
            expected[f"global {m}", f"global {n}"] = cosine(g[m], g[n])
        for m in modalities:
            for n in modalities:
                expected[f"global {m}", f"specific + shared {n}"] = cosine(g[m], plus(u[n], read_in[n]))
        assert {pair: float(values[i]) for pair, values in found.items()} == pytest.approx(expected, rel=1e-8, abs=1e-10)


@torch.no_grad()
def test_with_three_modalities_the_head_gets_three_specific_components_and_one_shared():
    model, whole = tiny(modalities=THREE), bag(THREE)
    prediction = model(whole)
    for i in range(4):
        _, u, c = by_loops(model, whole, i)
        shared = mean([mean([c[n, m] for n in THREE if n != m]) for m in THREE])
        expected = phi(model, u["histology"], shared, u["omics"], u["blood"])
        assert prediction.hazard_logits[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
