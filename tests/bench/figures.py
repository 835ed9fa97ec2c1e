"""One function for each table of the benchmark; each returns rows of named figures."""

import csv
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet
import torch

from charrnn.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig
from charrnn.model.forward import Forward
from charrnn.model.network import CharRNN
from charrnn.model.precision import has_bfloat16
from charrnn.model.streams import Streams
from charrnn.sampling.generate import generate, generate_batch
from charrnn.scoring.lines import LineScorer
from charrnn.scoring.scorer import Scorer
from charrnn.system import core_count
from charrnn.text.batches import Batches
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.survey import survey
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.start import Request, start
from tests.bench.race import (
    THREADS,
    Run,
    Shape,
    TorchRNN,
    V,
    busy_program,
    charrnn_step,
    has_jax,
    jax_step,
    medians_s,
    torch_step,
    with_threads,
)

Row = dict[str, str | int | float]

COFFEE = Path(__file__).parents[2] / "data" / "coffee.txt"
SHAPES = [
    Shape(128, 2, 50, 50),
    Shape(256, 2, 32, 64),
    Shape(512, 1, 64, 128),
    Shape(512, 2, 64, 128),
    Shape(1024, 1, 64, 128),
]
USUAL = Shape(256, 2, 32, 64)
SIDE_BY_SIDE = 64


def training(rounds: int) -> list[Row]:
    """A whole training step against torch's own RNN, and against JAX if it is installed."""
    rows: list[Row] = []
    square = torch.randn(2048, 2048)
    for shape in SHAPES:
        with ExitStack() as steps:
            contestants: list[Run] = [
                with_threads(THREADS, lambda: torch.mm(square, square)),
                steps.enter_context(charrnn_step(shape)),
                torch_step(shape, one_hot=True),
                torch_step(shape, one_hot=False),
            ]
            if has_bfloat16():
                contestants.append(steps.enter_context(charrnn_step(shape, precision="bf16")))
            if has_jax():
                contestants.append(jax_step(shape))
            mm_s, ours_s, one_hot_s, embedding_s, *more_s = medians_s(contestants, rounds)
        peak = 2 * len(square) ** 3 / mm_s
        row: Row = {
            "hidden x layers, batch, T": str(shape),
            "chars_per_second": round(shape.chars / ours_s),
            "times_torch_one_hot": round(one_hot_s / ours_s, 2),
            "times_torch_embedding": round(embedding_s / ours_s, 2),
            "bf16_times_fp32": round(ours_s / more_s.pop(0), 2) if has_bfloat16() else "not here",
            "percent_of_gemm_peak": round(100 * shape.product_flops() / ours_s / peak),
            "gemm_peak_gflops": round(peak / 1e9),
        }
        if more_s:
            row["times_jax"] = round(more_s[0] / ours_s, 2)
        rows.append(row)
    return rows


def beside(rounds: int) -> list[Row]:
    """A whole training step beside a program that keeps one core busy."""
    rows: list[Row] = []
    for shape in SHAPES:
        with charrnn_step(shape) as ours:
            others = [torch_step(shape, one_hot=one_hot) for one_hot in (True, False)]
            (idle_s,) = medians_s([ours], rounds)
            with busy_program():
                busy_s, *others_s = medians_s([ours, *others], max(3, rounds // 3))
        rows.append(
            {
                "hidden x layers, batch, T": str(shape),
                "chars_per_second": round(shape.chars / busy_s),
                "share_of_idle": round(idle_s / busy_s, 2),
                "times_torch": round(min(others_s) / busy_s, 2),
            }
        )
    return rows


def command(rounds: int) -> list[Row]:
    """`charrnn train` against its bare step: what loading, logging and drawing cost."""
    symbols = len(set(COFFEE.read_text(encoding="utf-8")))
    steps = 20 * rounds
    bare: list[float] = []
    whole: list[float] = []
    for _ in range(5):  # in turns, and the best of each: the machine's speed drifts
        with charrnn_step(USUAL, symbols) as step:
            bare.append(USUAL.chars / medians_s([step], 10 * rounds)[0])
        whole.append(_speed_of_the_command(steps))
    return [
        {
            "hidden x layers, batch, T": str(USUAL),
            "bare_chars_per_second": round(max(bare)),
            "command_chars_per_second": round(max(whole)),
            "percent_lost": round(100 * (1 - max(whole) / max(bare)), 1),
        }
    ]


def _speed_of_the_command(steps: int) -> float:
    with tempfile.TemporaryDirectory() as runs:
        options = f"--name bench --runs {runs} --steps {steps} --eval-every {steps} --quiet"
        options += f" --hidden-size {USUAL.hidden_size} --num-layers {USUAL.num_layers} --dropout 0"
        _charrnn("train", str(COFFEE), *options.split())
        lines = (Path(runs) / "bench" / "history.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
    speeds = [entry["chars_per_second"] for entry in entries if entry["event"] == "step"]
    return median(speeds[1:])  # the first has the warm-up


def _charrnn(*args: str, stdin: bytes = b"") -> None:
    _python("-m", "charrnn", *args, stdin=stdin)


def _python(*args: str, stdin: bytes = b"") -> None:
    subprocess.run([sys.executable, *args], input=stdin, check=True, capture_output=True)


def saving(rounds: int) -> list[Row]:
    """Saving the whole training, and what share of the time that is at the usual interval."""
    rows: list[Row] = []
    for hidden_size, num_layers in ((128, 3), (256, 3), (1024, 3)):
        shape = {"hidden_size": hidden_size, "num_layers": num_layers}
        with tempfile.TemporaryDirectory() as runs:
            request = Request([str(COFFEE)], Path(runs), training={"steps": 1}, model=shape)
            trainer = start(request)
            *_, _ = trainer.events()
            (taken,) = medians_s([trainer.save], max(3, rounds // 3))
            size = (trainer.folder / "training.safetensors").stat().st_size
        rows.append(
            {
                "hidden x layers": f"{hidden_size} x {num_layers}",
                "megabytes": round(size / 1e6, 1),
                "milliseconds": round(1000 * taken, 1),
                "percent_of_the_time": round(100 * taken / TrainingConfig.save_every_s, 2),
            }
        )
    return rows


def forgetful(hidden_size: int) -> Forward:
    """Returns a model of two layers that forgets, as a trained one does."""
    model = CharRNN(ModelConfig(V, hidden_size=hidden_size, num_layers=2))
    with torch.no_grad():
        for layer in model.layers:
            layer.W_h.mul_(0.5)
    return model.in_numpy()


def sampling(rounds: int, chars: int = 1500) -> list[Row]:
    """One stream of samples against stepping torch's own RNN; many streams; a long prompt."""
    rows: list[Row] = []
    vocabulary = Vocabulary("char", [chr(40 + i) for i in range(V)])
    config = SamplingConfig(temperature=1.0, length=chars, seed=0)
    ids = np.random.default_rng(0).integers(0, V, 2**20).astype(np.uint8)
    for hidden_size in (128, 256, 512):
        model = forgetful(hidden_size)
        other = TorchRNN(hidden_size, 2, one_hot=False).eval()

        def ours(model: Forward = model) -> None:
            for _ in generate(model, vocabulary, "", config):
                pass

        def stepping(other: TorchRNN = other, hidden_size: int = hidden_size) -> None:
            with torch.inference_mode():
                x, state = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(2, 1, hidden_size)
                for _ in range(chars):
                    logits, state = other(x, state)
                    x = torch.multinomial(logits[0].softmax(-1), 1)

        def batch(model: Forward = model) -> None:
            generate_batch(model, vocabulary, [""] * SIDE_BY_SIDE, config)

        def prompt(model: Forward = model) -> None:
            Streams(model).read(ids, model.zero_state(1), model.advance)

        contestants = [ours, stepping, batch, prompt]
        ours_s, stepping_s, batch_s, prompt_s = medians_s(contestants, rounds)
        rows.append(
            {
                "hidden x layers": f"{hidden_size} x 2",
                "chars_per_second": round(chars / ours_s),
                "times_stepping_torch": round(stepping_s / ours_s, 2),
                "64_side_by_side": round(SIDE_BY_SIDE * chars / batch_s),
                "times_one": round(SIDE_BY_SIDE * ours_s / batch_s, 1),
                "prompt_of_1_MB_s": round(prompt_s, 2),
            }
        )
    return rows


def evaluation(rounds: int, chars: int = 2**19, lines: int = 2**13) -> list[Row]:
    """Scoring a text in parallel streams and in one pass, and lines of 80 characters."""
    rows: list[Row] = []
    vocabulary = Vocabulary("char", [chr(40 + i) for i in range(V)])
    ids = np.random.default_rng(0).integers(0, V, chars).astype(np.uint8)
    text = vocabulary.decode(ids[: 80 * lines])
    group = [text[start : start + 80] for start in range(0, len(text), 80)]
    for hidden_size in (256, 512):
        model = forgetful(hidden_size)

        def streams(model: Forward = model) -> None:
            scorer = Scorer(model, vocabulary)
            scorer.nats(ids, scorer.start)

        def one_pass(model: Forward = model) -> None:
            scorer = Scorer(model, vocabulary, exact=True)
            scorer.nats(ids[:20_000], scorer.start)

        def by_line(model: Forward = model) -> None:
            scorer = Scorer(model, vocabulary)
            for _ in LineScorer(scorer).score([group], scorer.start):
                pass

        streams_s, one_pass_s, lines_s = medians_s(
            [streams, one_pass, by_line], max(3, rounds // 5)
        )
        rows.append(
            {
                "hidden x layers": f"{hidden_size} x 2",
                "chars_per_second": round(chars / streams_s),
                "in_one_pass": round(20_000 / one_pass_s),
                "lines_per_second": round(lines / lines_s),
            }
        )
    return rows


def loader(rounds: int, copies: int = 400) -> list[Row]:
    """Plain text in a warm cache: the first pass, then ids in batches."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_bytes(COFFEE.read_bytes() * copies)
        corpus = Corpus([text])
        dataset = Dataset.open([str(text)], DataConfig(), lambda: Path(folder))
        batches = Batches(dataset, USUAL.batch_size, USUAL.seq_len)

        def read() -> None:
            for _ in itertools.islice(batches.batches(), int(batches.steps_per_epoch)):
                pass

        first_s, batches_s = medians_s([lambda: survey(corpus), read], max(3, rounds // 5))
    return [
        {
            "what": "first pass",
            "chars_per_second": round((dataset.train_chars + dataset.val_chars) / first_s),
        },
        {"what": "batches", "chars_per_second": round(dataset.train_chars / batches_s)},
    ]


def tables(rounds: int, copies: int = 100) -> list[Row]:
    """The text of rows, in a warm cache; JSON lines against a bare loop of ``json.loads``."""
    lines = COFFEE.read_text(encoding="utf-8").splitlines() * copies
    rows = [{"n": i, "text": line} for i, line in enumerate(lines)]
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            kind: Path(folder) / f"rows.{kind}" for kind in ("jsonl", "json", "csv", "parquet")
        }
        paths["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths["json"].write_text(json.dumps(rows))
        with paths["csv"].open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), paths["parquet"])

        def read(path: Path) -> Run:
            corpus = Corpus([path], DataConfig(column="text"))
            return lambda: [len(piece) for piece in corpus.pieces()] and None

        def bare() -> None:
            with paths["jsonl"].open() as lines:
                for line in lines:
                    json.loads(line)["text"]

        seconds = medians_s([bare, *map(read, paths.values())], max(3, rounds // 5))
    chars = sum(len(str(row["text"])) + 1 for row in rows)
    return [
        {"what": what, "chars_per_second": round(chars / s), "times_json": round(seconds[0] / s, 2)}
        for what, s in zip(["json.loads, line by line", *paths], seconds, strict=True)
    ]


def start_up(rounds: int) -> list[Row]:
    """How long each command takes to do next to nothing, seconds."""
    with tempfile.TemporaryDirectory() as runs:
        _charrnn("train", str(COFFEE), "--name", "m", "--runs", runs, "--steps", "1", "--quiet")
        model = ("--model", f"{runs}/m/model.safetensors")
        imports = ("numpy, rich, typer, safetensors", "torch")
        commands: dict[str, Run] = {
            f'python -c "import {names}"': lambda names=names: _python("-c", f"import {names}")
            for names in imports
        } | {
            "charrnn --help": lambda: _charrnn("--help"),
            "charrnn sample --length 20": lambda: _charrnn("sample", "--length", "20", *model),
            "echo I had coffee | charrnn eval": lambda: _charrnn(
                "eval", *model, stdin=b"I had coffee\n"
            ),
            "the first line of eval --per-line": lambda: _first_line("eval", "--per-line", *model),
        }
        for workers in (1, 2, 4):
            few = ("--runs", runs, "--steps", "1", "--workers", str(workers))
            commands[f"charrnn train --steps 1 --workers {workers}"] = lambda few=few: _charrnn(
                "train", str(COFFEE), *few
            )
        taken = medians_s(list(commands.values()), max(5, rounds // 3))
    return [
        {"command": name, "seconds": round(s, 2)} for name, s in zip(commands, taken, strict=True)
    ]


def _first_line(*args: str) -> None:
    """Waits for the first line that a command writes, as soon as it was given one."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "charrnn", *args]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"I had coffee\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.kill()


def scaling(rounds: int) -> list[Row]:
    """How speed grows with batch, T, hidden size and workers: steps follow one another."""
    rows: list[Row] = []
    rounds = max(3, rounds // 3)
    powers = [2**i for i in range(9)]
    for what, values, shape_of in (
        ("batch", powers, lambda n: USUAL._replace(batch_size=n)),
        ("T", powers, lambda n: USUAL._replace(seq_len=n)),
        ("hidden", [32, 64, 128, 256, 512, 1024], lambda n: USUAL._replace(hidden_size=n)),
    ):
        rows += _speeds(what, values, map(shape_of, values), rounds)
    for workers in sorted({1, 2, core_count()}):
        rows += _speeds("workers", [workers], [USUAL], rounds, workers)
    return rows


def _speeds(
    what: str,
    values: list[int],
    shapes: Iterable[Shape],
    rounds: int,
    workers: int | None = None,
) -> Iterator[Row]:
    for value, shape in zip(values, shapes, strict=True):
        with charrnn_step(shape, workers=workers) as step:
            (taken,) = medians_s([step], rounds)
        yield {"what": what, "value": value, "chars_per_second": round(shape.chars / taken)}
