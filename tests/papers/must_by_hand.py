"""A tiny MUST in float64, a bag for it, and its blocks as loops over lists, shared by the tests of its equations."""

import math

import torch

from prognos.models.must import MUST, MUSTConfig
from prognos.nn.must import Components
from prognos.types import Bag, InputShape, Progress, Survival, Tokens

Row = list[float]
SHAPE = InputShape(d_patch=4, pathway_features=(2, 3, 1), tables={"blood": 2})
SURVIVAL = Survival(torch.tensor([5.0, 2.0, 9.0, 4.0], dtype=torch.float64), torch.tensor([True, True, False, True]))
PATIENTS = ("a", "b", "c", "d")
N_PATCHES = (3, 2, 4, 1)
TWO, THREE = ("histology", "omics"), ("histology", "omics", "blood")
MAIN = Progress(step=3, steps_per_epoch=2, epoch=1, epochs=5, stage="main")
WARM_UP = Progress(step=3, steps_per_epoch=2, epoch=1, epochs=5, stage="warm-up")
SMALL = {"d_model": 8, "rank": 3, "heads": 2, "landmarks": 16, "dropout": 0.0, "sampling_steps": 5}
SMALL |= {"denoiser_layers": 2, "denoiser_hidden": 16, "generator_steps": 20, "generator_batch": 8}


def tiny(**settings) -> MUST:
    """D = 8, r = 3, two heads, nothing approximated (as many landmarks as tokens), no dropout; every weight away from its start."""
    torch.manual_seed(0)
    model = MUST(MUSTConfig(**{**SMALL, **settings}), SHAPE).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.learn(Fold(model.modalities))
    return model.eval()


def bag(modalities=TWO, lacking: dict[str, str] | None = None) -> Bag:
    """Four patients: 3, 2, 4 and 1 patches; groups of 2, 3 and 1 measurements; a table of 2; without what they are said to lack."""
    generator = torch.Generator().manual_seed(1)
    draw = {"dtype": torch.float64, "generator": generator}
    mask = torch.arange(4) < torch.tensor(N_PATCHES)[:, None]
    histology = Tokens(torch.randn(4, 4, 4, **draw) * mask[:, :, None], mask)
    padding = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    omics = Tokens(torch.randn(4, 3, 3, **draw) * padding, torch.ones(4, 3, dtype=torch.bool))
    blood = Tokens(torch.randn(4, 1, 2, **draw), torch.ones(4, 1, dtype=torch.bool))
    whole = Bag(PATIENTS, {m: {"histology": histology, "omics": omics, "blood": blood}[m] for m in modalities})
    for m, who in (lacking or {}).items():
        whole = whole.without(m, patients=torch.tensor([patient in who for patient in PATIENTS]))
    return whole


def one(whole: Bag, i: int) -> Bag:
    """Patient `i` alone."""
    return Bag((whole.patients[i],), {m: Tokens(t.values[i : i + 1], t.mask[i : i + 1]) for m, t in whole.modalities.items()})


class Fold:
    """The four patients as a training fold."""

    sites = ("",) * 4

    def __init__(self, modalities=TWO, lacking: dict[str, str] | None = None):
        self.whole, self.patients, self.survival = bag(modalities, lacking), PATIENTS, SURVIVAL

    def bags(self, batch_size: int = 1):
        """One by one."""
        yield from (one(self.whole, i) for i in range(4))

    def tokens(self, modality: str):
        """Never asked for here."""
        raise NotImplementedError


def made_up(modalities=TWO, lacking: dict[str, str] | None = None, d: int = 8) -> Components:
    """Components of four patients drawn at random; 0 where a patient lacks a modality."""
    generator = torch.Generator().manual_seed(3)
    present = {m: torch.tensor([patient not in (lacking or {}).get(m, "") for patient in PATIENTS]) for m in modalities}

    def draw(*needed: str) -> torch.Tensor:
        has = torch.stack([present[m] for m in needed]).all(dim=0)
        return torch.randn(4, d, generator=generator, dtype=torch.float64) * has[:, None]

    pairs = [(n, m) for n in modalities for m in modalities if n != m]
    return Components(present, {m: draw(m) for m in modalities}, {m: draw(m) for m in modalities}, {pair: draw(*pair) for pair in pairs})


# Loops


def dot(a: Row, b: Row) -> float:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def plus(*rows: Row) -> Row:
    """Sum of vectors."""
    return [sum(entries) for entries in zip(*rows, strict=True)]


def minus(a: Row, b: Row) -> Row:
    """a - b."""
    return [x - y for x, y in zip(a, b, strict=True)]


def mean(rows: list[Row]) -> Row:
    """Mean of vectors."""
    return [total / len(rows) for total in plus(*rows)]


def cosine(a: Row, b: Row) -> float:
    """Cosine of the angle between two vectors."""
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def linear(layer, row: Row) -> Row:
    """Matrix times vector, plus the bias where there is one."""
    out = [dot(weights, row) for weights in layer.weight.tolist()]
    return out if layer.bias is None else plus(out, layer.bias.tolist())


def norm(layer, row: Row) -> Row:
    """Layer norm."""
    middle = sum(row) / len(row)
    sd = math.sqrt(sum((v - middle) ** 2 for v in row) / len(row) + 1e-5)
    return [w * (v - middle) / sd + b for v, w, b in zip(row, layer.weight.tolist(), layer.bias.tolist(), strict=True)]


def attention(block, queries: list[Row], context: list[Row]) -> list[Row]:
    """softmax(Q W_Q (K W_K)^T / sqrt(d_k)) V W_V head by head (Eq. 7), and the layer after it."""
    return [
        linear(block.output, row)
        for row in heads_joined(block, *([linear(w, r) for r in rows] for w, rows in parts(block, queries, context)))
    ]


def parts(block, queries: list[Row], context: list[Row]) -> list[tuple]:
    """The three projections, each with what it projects."""
    return [(block.query, queries), (block.key, context), (block.value, context)]


def heads_joined(block, query: list[Row], key: list[Row], value: list[Row]) -> list[Row]:
    """Softmax attention of each head, side by side."""
    width, out = len(query[0]) // block.heads, []
    for q in query:
        row: Row = []
        for head in range(block.heads):
            here = slice(head * width, (head + 1) * width)
            scores = [math.exp(dot(q[here], k[here]) / math.sqrt(width)) for k in key]
            row += [sum(s * v[d] for s, v in zip(scores, value, strict=True)) / sum(scores) for d in range(here.start, here.stop)]
        out.append(row)
    return out


def class_pool(pool, tokens: list[Row]) -> Row:
    """Self-attention over [CLS; tokens], read at the class token."""
    own = pool.class_token.tolist()
    context = [norm(pool.norm, row) for row in [own, *tokens]]
    return norm(pool.final, plus(own, attention(pool.look, context[:1], context)[0]))


def nystrom(layer, tokens: list[Row]) -> list[Row]:
    """A Nystrom layer with no fewer landmarks than tokens: softmax attention, a convolution of the values, an identity."""
    block, n, d = layer.attention, len(tokens), len(tokens[0])
    projected = [[dot(w, norm(layer.norm, row)) for w in block.query_key_value.weight.tolist()] for row in tokens]
    query, key, value = ([row[s : s + d] for row in projected] for s in (0, d, 2 * d))
    attended, width, taps = heads_joined(block, query, key, value), d // block.heads, block.taps.tolist()
    for i in range(n):
        for c in range(d):
            for t, tap in enumerate(taps[c // width]):
                j = i + t - len(taps[0]) // 2
                attended[i][c] += tap * value[j][c] if 0 <= j < n else 0.0
    return [plus(token, linear(block.output, row)) for token, row in zip(tokens, attended, strict=True)]


def positions(block, tokens: list[Row]) -> list[Row]:
    """PPEG: the tokens after the class token in a square, each plus three convolutions around it."""
    own, patches = tokens[0], tokens[1:]
    side = math.ceil(math.sqrt(len(patches)))
    square = [*patches, *patches[: side * side - len(patches)]]
    out = [list(row) for row in patches]
    for convolution in (block.seven, block.five, block.three):
        weight, bias, half = convolution.weight.tolist(), convolution.bias.tolist(), convolution.kernel_size[0] // 2
        for i, row in enumerate(out):
            for c in range(len(row)):
                row[c] += bias[c]
                for a in range(2 * half + 1):
                    for b in range(2 * half + 1):
                        y, x = i // side + a - half, i % side + b - half
                        row[c] += weight[c][0][a][b] * square[y * side + x][c] if 0 <= y < side and 0 <= x < side else 0.0
    return [own, *out]


def transmil(encoder, tokens: list[Row]) -> tuple[Row, list[Row]]:
    """Class token, Nystrom layer, PPEG, Nystrom layer, norm: g and the updated tokens."""
    placed = positions(encoder.position, nystrom(encoder.before, [encoder.class_token.tolist(), *tokens]))
    updated = [norm(encoder.norm, row) for row in nystrom(encoder.after, placed)]
    return updated[0], updated[1:]


def elu(row: Row) -> Row:
    """ELU."""
    return [v if v > 0 else math.expm1(v) for v in row]


def group_tokens(encoder, groups: list[Row]) -> list[Row]:
    """A network of two layers for each group."""
    out = []
    for g, row in enumerate(groups):
        first, second = encoder.first_weight[g, : len(row)].tolist(), encoder.second_weight[g].tolist()
        hidden = elu(plus([dot(row, list(column)) for column in zip(*first, strict=True)], encoder.first_bias[g].tolist()))
        out.append(elu(plus([dot(hidden, list(column)) for column in zip(*second, strict=True)], encoder.second_bias[g].tolist())))
    return out


def encoded(model: MUST, modality: str, rows: list[Row]) -> tuple[Row, Row, list[Row]]:
    """g, u and the updated tokens of one patient's modality, by loops."""
    stream = model.streams[modality]
    if modality == "histology":
        patches = [[max(0.0, v) for v in linear(stream.embed.linear, row)] for row in rows]
        whole, tokens = transmil(stream.encoder, patches)
    else:
        before = [stream.global_token.tolist(), *group_tokens(stream.embed, rows)]
        normed = [norm(stream.norm, row) for row in before]
        after = [norm(stream.last, plus(b, a)) for b, a in zip(before, attention(stream.attention, normed, normed), strict=True)]
        whole, tokens = after[0], after[1:]
    return whole, class_pool(stream.specific, tokens), tokens


def read(model: MUST, reader: str, source: str, tokens: dict[str, list[Row]]) -> Row:
    """c_{reader<-source}: Eq. 7, pooled by a class token."""
    block = model.cross[f"{reader}<-{source}"]
    queries, sources = [norm(block.queries, row) for row in tokens[reader]], [norm(block.sources, row) for row in tokens[source]]
    return class_pool(block.pool, attention(block.attention, queries, sources))


def projected(model: MUST, vector: Row) -> Row:
    """P v = sum_k b_k <b_k, v> over the columns of B."""
    columns = list(zip(*model.projector._basis().tolist(), strict=True))
    return plus(*([dot(list(b), vector) * entry for entry in b] for b in columns))


def phi(model: MUST, *parts: Row) -> Row:
    """The hazard logits of Eq. 11 from the parts side by side: Linear, ReLU, Linear."""
    return _two_layers(model.fusion[0], model.head.hazard, parts, len(model.head.cuts) + 1)


def warm_phi(model: MUST, *parts: Row) -> Row:
    """The hazard logits of Eq. 12."""
    return _two_layers(model.warm_fusion[0], model.warm_head.hazard, parts, len(model.warm_head.cuts) + 1)


def _two_layers(first, second, parts, n_bins: int) -> Row:
    together = [entry for part in parts for entry in part]
    return linear(second, [max(0.0, v) for v in linear(first, together)])[:n_bins]


def hazards(logits: Row) -> Row:
    """Sigmoid."""
    return [1 / (1 + math.exp(-x)) for x in logits]


def risk(logits: Row) -> float:
    """-sum_k S(k), with S(k) = prod_{j <= k} (1 - h_j) (Eq. 5)."""
    h = hazards(logits)
    return -sum(math.prod(1 - x for x in h[: k + 1]) for k in range(len(h)))


def bin_of(model: MUST, time: float) -> int:
    """k = max{k: tau_k <= t}, from 0, with tau_0 = 0."""
    return max(k for k, tau in enumerate([0.0, *model.head.cuts.tolist()]) if tau <= time)


def cost(model: MUST, logits: Row, time: float, event: bool) -> float:
    """Eq. 6 with its indices put right: an event costs S before its bin and its hazard, a censored patient S of its bin."""
    h, k = hazards(logits), bin_of(model, time)
    before = math.prod(1 - x for x in h[:k])
    return -math.log(before * h[k]) if event else -math.log(before * (1 - h[k]))
