"""Measures speed as ratios against torch's own RNN, run beside it: ``make bench``.

Every figure is a median of rounds in which all contestants take turns, so that a machine whose
speed drifts is unfair to none. ``--json`` prints the figures as JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig, SamplingConfig
from charrnn.evaluation import Scorer
from charrnn.model import CharRNN
from charrnn.sampling import generate
from charrnn.vocabulary import Vocabulary

V = 65
# H, L, B, T
SHAPES = [
    (128, 2, 50, 50),
    (256, 2, 32, 64),
    (512, 1, 64, 128),
    (512, 2, 64, 128),
    (1024, 1, 64, 128),
]


class TorchRNN(nn.Module):
    """The same network from torch's parts; reads one-hot vectors, or an embedding."""

    def __init__(self, hidden_size: int, num_layers: int, *, one_hot: bool) -> None:
        super().__init__()
        self.embedding = None if one_hot else nn.Embedding(V, hidden_size)
        self.rnn = nn.RNN(V if one_hot else hidden_size, hidden_size, num_layers)
        self.output = nn.Linear(hidden_size, V)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        one_hot = nn.functional.one_hot
        given = one_hot(x, V).float() if self.embedding is None else self.embedding(x)
        h, state = self.rnn(given, state)
        return self.output(h), state


def train_step(model: nn.Module, shape: tuple[int, int, int, int]) -> Callable[[], None]:
    """Returns a function that makes one whole update: forward, loss, backward, clip, AdamW."""
    hidden_size, num_layers, batch_size, seq_len = shape
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    x, y = torch.randint(0, V, (2, seq_len, batch_size))
    state = torch.zeros(num_layers, batch_size, hidden_size)

    def step() -> None:
        logits, _ = model(x, state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def medians_s(contestants: list[Callable[[], None]], rounds: int) -> list[float]:
    """Returns each contestant's median time, seconds; all take turns in each round."""
    times: list[list[float]] = [[] for _ in contestants]
    for round_number in range(rounds + 1):
        for run, taken in zip(contestants, times, strict=True):
            start = time.perf_counter()
            run()
            if round_number:  # the first is warm-up
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def product_flops(hidden_size: int, num_layers: int) -> int:
    """Returns floating-point operations of the matrix products for one character of training.

    A product and its two gradients cost 6 for each weight; layer 1's W_x is a look-up.
    """
    return 6 * hidden_size**2 * (2 * num_layers - 1) + 6 * hidden_size * V


def bench_training(rounds: int) -> list[dict[str, object]]:
    rows = []
    square = torch.randn(2048, 2048)
    for shape in SHAPES:
        hidden_size, num_layers, batch_size, seq_len = shape
        ours = CharRNN(ModelConfig(V, hidden_size=hidden_size, num_layers=num_layers))
        others = [TorchRNN(hidden_size, num_layers, one_hot=kind) for kind in (True, False)]
        steps = [train_step(model, shape) for model in (ours, *others)]
        contestants = [*steps, lambda: torch.mm(square, square)]
        ours_s, one_hot_s, embedding_s, mm_s = medians_s(contestants, rounds)
        peak = 2 * len(square) ** 3 / mm_s
        share = product_flops(hidden_size, num_layers) * batch_size * seq_len / ours_s / peak
        rows.append(
            {
                "hidden x layers, batch, T": "{} x {}, {}, {}".format(*shape),
                "chars_per_second": round(batch_size * seq_len / ours_s),
                "times_torch_one_hot": round(one_hot_s / ours_s, 2),
                "times_torch_embedding": round(embedding_s / ours_s, 2),
                "percent_of_gemm_peak": round(100 * share),
                "gemm_peak_gflops": round(peak / 1e9),
            }
        )
    return rows


def bench_sampling(rounds: int, chars: int = 300) -> dict[str, object]:
    model = CharRNN(ModelConfig(V)).eval()
    other = TorchRNN(256, 2, one_hot=False).eval()
    vocabulary = Vocabulary("char", [chr(40 + i) for i in range(V)])
    config = SamplingConfig(temperature=1.0, length=chars, seed=0)

    def ours() -> None:
        for _ in generate(model, vocabulary, "", config):
            pass

    def stepping() -> None:
        with torch.inference_mode():
            x, state = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(2, 1, 256)
            for _ in range(chars):
                logits, state = other(x, state)
                x = torch.multinomial(logits[0].softmax(-1), 1)

    ours_s, stepping_s = medians_s([ours, stepping], rounds)
    return {
        "chars_per_second": round(chars / ours_s),
        "times_stepping_torch": round(stepping_s / ours_s, 2),
    }


def bench_evaluation(rounds: int, chars: int = 100_000) -> dict[str, object]:
    model = CharRNN(ModelConfig(V)).eval()
    vocabulary = Vocabulary("char", [chr(40 + i) for i in range(V)])
    ids = np.random.default_rng(0).integers(0, V, chars).astype(np.uint8)

    def ours() -> None:
        Scorer(model, vocabulary).nats(ids)

    (taken,) = medians_s([ours], rounds)
    return {"chars_per_second": round(chars / taken)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="rounds per figure")
    options = parser.parse_args()
    figures = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "training": bench_training(options.rounds),
        "sampling 256 x 2": bench_sampling(options.rounds),
        "evaluation 256 x 2": bench_evaluation(max(3, options.rounds // 3)),
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        rows = value if isinstance(value, list) else [value]
        print(name)
        for row in rows:
            print("   ", row)


if __name__ == "__main__":
    main()
