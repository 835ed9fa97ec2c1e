"""Contestants that make the same training step, and the race in which they take turns."""

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig, Precision, TrainingConfig
from charrnn.model.network import CharRNN
from charrnn.text.batches import Batch, Position
from charrnn.training.learner import Learner
from charrnn.training.workers import Workers, worker_count

V = 65
THREADS = torch.get_num_threads()  # of torch by default, before anybody sets another number
Run = Callable[[], object]


class Shape(NamedTuple):
    """A model and its batches: H x L, B, T."""

    hidden_size: int
    num_layers: int
    batch_size: int
    seq_len: int

    def __str__(self) -> str:
        return f"{self.hidden_size} x {self.num_layers}, {self.batch_size}, {self.seq_len}"

    @property
    def chars(self) -> int:
        """Characters of one step."""
        return self.batch_size * self.seq_len

    def product_flops(self, symbols: int = V) -> int:
        """Returns floating-point operations of the matrix products of one training step.

        A product and its two gradients cost 6 for each weight and character; layer 1's W_x is a
        look-up.
        """
        H, L = self.hidden_size, self.num_layers
        return (6 * H**2 * (2 * L - 1) + 6 * H * symbols) * self.chars


class TorchRNN(nn.Module):
    """The same network from torch's parts; reads one-hot vectors, or an embedding."""

    def __init__(self, hidden_size: int, num_layers: int, *, one_hot: bool) -> None:
        super().__init__()
        self.embedding = None if one_hot else nn.Embedding(V, hidden_size)
        self.rnn = nn.RNN(V if one_hot else hidden_size, hidden_size, num_layers)
        self.output = nn.Linear(hidden_size, V)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        one_hot = nn.functional.one_hot
        inputs = one_hot(x, V).float() if self.embedding is None else self.embedding(x)
        h, state = self.rnn(inputs, state)
        return self.output(h), state


@contextmanager
def charrnn_step(
    shape: Shape, symbols: int = V, workers: int | None = None, precision: Precision = "fp32"
) -> Iterator[Run]:
    """Lends charrnn's training step, as ``charrnn train`` makes it: by several workers."""
    H, L, B, T = shape
    model = ModelConfig(symbols, hidden_size=H, num_layers=L)
    config = TrainingConfig(batch_size=B, seq_len=T, workers=workers, precision=precision)
    text = np.random.default_rng(0).integers(symbols, size=(T + 1, B))
    batch = Batch(text[:-1], text[1:], starts_block=False, after=Position())
    with Workers(worker_count(model, config)) as team:
        learner = Learner(CharRNN(model), config, team)
        yield with_threads(1, lambda: learner.update(batch, 1e-3))


def with_threads(threads: int, run: Run) -> Run:
    """Returns a contestant whose products in torch have so many threads."""

    def run_so() -> None:
        torch.set_num_threads(threads)
        run()

    return run_so


@contextmanager
def busy_program() -> Iterator[None]:
    """Runs a program beside that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as program:
        try:
            yield
        finally:
            program.kill()


def torch_step(shape: Shape, *, one_hot: bool) -> Run:
    """Returns the training step of torch's own RNN, with as many threads as torch likes.

    It makes one whole update: forward, loss, backward, clip, AdamW.
    """
    model = TorchRNN(shape.hidden_size, shape.num_layers, one_hot=one_hot)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    x, y = torch.randint(0, V, (2, shape.seq_len, shape.batch_size))
    state = torch.zeros(shape.num_layers, shape.batch_size, shape.hidden_size)

    def step() -> None:
        logits, _ = model(x, state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return with_threads(THREADS, step)


def has_jax() -> bool:
    """Returns whether JAX is installed; charrnn does not need it."""
    return importlib.util.find_spec("jax") is not None


def jax_step(shape: Shape) -> Run:
    """Returns the training step in JAX: `lax.scan` over time, the whole step compiled by `jit`."""
    import jax
    import jax.numpy as jnp

    H, L, B, T = shape
    keys = iter(jax.random.split(jax.random.key(0), 3 * L + 2))

    def draw(*size: int) -> Any:
        return jax.random.normal(next(keys), size) * H**-0.5

    layers = [{"W_x": draw(V if i == 0 else H, H), "W_h": draw(H, H)} for i in range(L)]
    weights = {"layers": layers, "b": jnp.zeros((L, H)), "W_y": draw(H, V), "b_y": jnp.zeros(V)}
    x, y = jax.random.randint(jax.random.key(1), (2, T, B), 0, V)

    def loss(weights: Any) -> Any:
        h = x
        for i, layer in enumerate(weights["layers"]):
            inputs = (layer["W_x"][h] if i == 0 else h @ layer["W_x"]) + weights["b"][i]

            def tick(h: Any, a: Any, W_h: Any = layer["W_h"]) -> Any:
                h = jnp.tanh(a + h @ W_h)
                return h, h

            _, h = jax.lax.scan(tick, jnp.zeros((B, H)), inputs)
        logits = jax.nn.log_softmax(h @ weights["W_y"] + weights["b_y"])
        return -jnp.take_along_axis(logits, y[..., None], axis=-1).mean()

    @jax.jit
    def update(weights: Any, m: Any, v: Any, step: Any) -> Any:
        gradient = jax.grad(loss)(weights)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
        gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / norm), gradient)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)

        def adamw(w: Any, m: Any, v: Any) -> Any:
            m, v = m / (1 - 0.9**step), v / (1 - 0.999**step)
            return w - 1e-3 * (m / (jnp.sqrt(v) + 1e-8) + 0.01 * w)

        return jax.tree.map(adamw, weights, m, v), m, v, step + 1

    zeros = jax.tree.map(jnp.zeros_like, weights)
    now = [weights, zeros, zeros, 1.0]

    def step() -> None:
        now[:] = jax.block_until_ready(update(*now))

    return step


def medians_s(contestants: list[Run], rounds: int) -> list[float]:
    """Returns each contestant's median time, seconds; all take turns in each round.

    A turn is two runs, of which the second counts: threads of the contestant before still spin for
    a while, waiting for work, and caches are cold.
    """
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for run, taken in zip(contestants, times, strict=True):
            run()
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
