"""TransMIL's encoder, lean against plain: CPU time and memory of the class token's vector, one thread.

    python benchmarks/nystrom.py [--tokens 10000 50000] [--d-model 256] [--landmarks 128] [--rounds 3]

Evaluation and training (forward and backward, gradient of the tokens too). The plain side writes every matrix down: tokens by
landmarks, their softmax and its product with the pseudo-inverse, each token's row in the last layer, three convolutions; it runs
with torch as it comes. Ours runs with the settings that prognos applies; "equal" is the plain form under those. TransMIL itself has
--d-model 512 --landmarks 256. Each side has a process of its own for each size and takes its turn with the others; the median of
the rounds counts, and the largest resident size above what the process had before its first call. Before anything is timed,
the vectors, and the gradients of three tokens, are compared.
"""

import argparse
import math
import resource
import statistics
import time
from typing import Any

from sides import Side, answer_each, apply_settings

HEADS, ITERATIONS, SEED = 8, 6, 0
SIDES = ("stock", "equal", "ours")
TASKS = ("evaluation", "training")
TOLERANCE = 1e-5


def plain_attention(attention: Any, tokens: Any) -> Any:
    """Nystrom attention as anyone would write it."""
    import torch
    from torch.nn.functional import conv2d, pad

    n, d_model = tokens.shape
    landmarks, width = attention.landmarks, d_model // HEADS
    length = math.ceil(n / landmarks)
    query, key, value = (part.view(n, HEADS, width).transpose(0, 1) for part in attention.query_key_value(tokens).chunk(3, dim=1))
    query = query * width**-0.5
    count = math.ceil(n / length)
    sizes = tokens.new_full((count, 1), length)
    sizes[0] = n - (count - 1) * length
    landmark_query, landmark_key = (
        pad(part, (0, 0, count * length - n, 0)).view(HEADS, count, length, width).sum(dim=2) / sizes for part in (query, key)
    )
    to_landmarks = torch.softmax(query @ landmark_key.transpose(1, 2), dim=2)
    between = torch.softmax(landmark_query @ landmark_key.transpose(1, 2), dim=2)
    to_tokens = torch.softmax(landmark_query @ key.transpose(1, 2), dim=2)
    inverse = between.transpose(1, 2) / (between.sum(dim=2).max() * between.sum(dim=1).max())
    identity = torch.eye(count)
    for _ in range(ITERATIONS):
        product = between @ inverse
        inverse = 0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
    found = (to_landmarks @ inverse) @ (to_tokens @ value)
    kernel = attention.taps[:, None, :, None]
    found = found + conv2d(value[None], kernel, padding=(kernel.shape[2] // 2, 0), groups=HEADS)[0]
    return attention.output(found.transpose(0, 1).reshape(n, d_model))


def plain_position(position: Any, tokens: Any) -> Any:
    """PPEG as anyone would write it."""
    import torch

    n = len(tokens) - 1
    side = math.ceil(math.sqrt(n))
    square = torch.cat([tokens[1:], tokens[1 : side * side - n + 1]]).T.reshape(1, -1, side, side)
    square = square + position.seven(square) + position.five(square) + position.three(square)
    return torch.cat([tokens[:1], square.flatten(2)[0].T[:n]])


def plain_vector(encoder: Any, tokens: Any) -> Any:
    """The class token's vector: every row of every layer, then the first."""
    import torch

    rows = torch.cat([encoder.class_token[None], tokens])
    rows = rows + plain_attention(encoder.before.attention, encoder.before.norm(rows))
    rows = plain_position(encoder.position, rows)
    rows = rows + plain_attention(encoder.after.attention, encoder.after.norm(rows))
    return encoder.norm(rows)[0]


def serve(side: str, n: int, d_model: int, landmarks: int) -> None:
    """Answer questions from the parent process, one line of JSON each, until it has no more."""
    apply_settings(stock=side == "stock")
    import torch

    from prognos.nn.transmil import TransMILEncoder

    torch.manual_seed(SEED)
    encoder = TransMILEncoder(d_model, heads=HEADS, landmarks=landmarks)
    tokens = torch.randn(n, d_model, requires_grad=True)
    direction = torch.randn(d_model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def vector() -> Any:
        return encoder.first(tokens) if side == "ours" else plain_vector(encoder, tokens)

    def answer(question: str) -> dict[str, Any]:
        start = time.process_time()
        if question == "training":
            encoder.zero_grad()
            tokens.grad = None
            (vector() * direction).sum().backward()
            values = tokens.grad[:3].flatten().tolist()
        else:
            with torch.inference_mode():
                values = vector().tolist()
        seconds = time.process_time() - start
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
        return {"seconds": seconds, "peak": peak, "values": values}

    answer_each(answer)


def measured(task: str, n: int, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float], float]:
    """Median CPU seconds and peak megabytes of each side, and how far their values are apart; a process for each, taking turns."""
    sizes = ["--tokens", str(n), "--d-model", str(options.d_model), "--landmarks", str(options.landmarks)]
    sides = {name: Side(__file__, name, sizes) for name in SIDES}
    answers: dict[str, list[dict[str, Any]]] = {name: [side.ask(task)] for name, side in sides.items()}
    plain, lean = answers["stock"][0]["values"], answers["ours"][0]["values"]
    scale = max(map(abs, plain))
    apart = max(abs(a - b) for a, b in zip(plain, lean, strict=True)) / scale
    assert apart <= TOLERANCE, f"{task} of {n} tokens: the lean values are {apart:.1e} from the plain ones"
    for _ in range(options.rounds):
        for name, side in sides.items():
            answers[name].append(side.ask(task))
    for side in sides.values():
        side.end()
    seconds = {name: statistics.median(answer["seconds"] for answer in given[1:] or given) for name, given in answers.items()}
    return seconds, {name: given[-1]["peak"] for name, given in answers.items()}, apart


def compare(options: argparse.Namespace) -> None:
    """Print the table."""
    print(f"d_model {options.d_model}, {HEADS} heads, {options.landmarks} landmarks")
    print(f"CPU seconds, one thread, median of {options.rounds} rounds")
    print(" tokens task        plain  equal   ours  ratio  (equal) | peak MB plain   ours  ratio | values apart")
    for n in options.tokens:
        for task in TASKS:
            seconds, peak, apart = measured(task, n, options)
            print(
                f"{n:>7} {task:<10} {seconds['stock']:>6.2f} {seconds['equal']:>6.2f} {seconds['ours']:>6.2f} "
                f"{seconds['stock'] / seconds['ours']:>5.1f}x {seconds['equal'] / seconds['ours']:>7.1f}x | "
                f"{peak['stock']:>13.0f} {peak['ours']:>6.0f} {peak['stock'] / peak['ours']:>5.1f}x | {apart:.0e}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--landmarks", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side, arguments.tokens[0], arguments.d_model, arguments.landmarks)
    else:
        compare(arguments)
