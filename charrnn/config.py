"""Every setting, its default and its range, in one place.

Four frozen dataclasses: what the model is, where its text comes from, how it is trained, how it is
sampled. The command line, the documentation and the tests read the defaults here. No torch.

A field ``hidden_size`` is the option ``--hidden-size``. A value out of range raises
:class:`~charrnn.errors.OptionError`, which names the option, the value and the range.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from charrnn.errors import OptionError

Unit = Literal["char", "byte"]
UNIT_NAMES: dict[Unit, str] = {"char": "character", "byte": "byte"}  # in messages
Cell = Literal["rnn", "gru", "lstm"]
# matrices that W_x and W_h stack, and numbers of a state for each unit: an LSTM's h and c
GATES: dict[Cell, int] = {"rnn": 1, "gru": 3, "lstm": 4}
STATE_PARTS: dict[Cell, int] = {"rnn": 1, "gru": 1, "lstm": 2}
Nonlinearity = Literal["tanh", "relu"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["qhadamw", "adamw"]
OnUnknown = Literal["charge", "error", "skip"]
EncodingErrors = Literal["strict", "replace", "surrogateescape"]
Format = Literal["text", "jsonl", "json", "csv", "tsv"]
Newlines = Literal["lf", "keep"]
Quotes = Literal["csv", "text"]
HoldOut = Literal["tail", "lines"]

RUNS = Path("runs")  # the folder of all runs, unless the user names another
# what a run's folder holds, and marks it as one
MODEL_FILE = "model.safetensors"  # its best model; of several members, the first one's
TRAINING_FILE = "training.safetensors"  # its last save
REPORT_FILE = "report.html"  # of --report
MEMBER_FILE = re.compile(r"model-\d+\.safetensors", re.ASCII)  # of the other members
KEPT_FILE = re.compile(r"model-step-\d+(-\d+)?\.safetensors", re.ASCII)  # of --keep-every
COPY_FILE = re.compile(r"\d*stdin(\.\w+)+", re.ASCII)  # a source that can be read only once

# a training without any limit ends after this many epochs, and at least this many steps
DEFAULT_EPOCHS = 20
DEFAULT_MIN_STEPS = 3000
ENOUGH_EPOCHS = 40  # beyond this many, a model only overfits

Range = tuple[Callable[[Any], bool], str]  # whether a value is in range; the range in words


def _one_of(choices: Any) -> Range:
    return lambda value: value in get_args(choices), "one of " + ", ".join(get_args(choices))


MOST = 10**15  # of anything that is counted, and of seconds: floats stay exact
_SIZE: Range = (lambda n: 1 <= n <= 2**16, "1 to 65536")
_ONE_OR_MORE: Range = (lambda n: 1 <= n <= MOST, "1 to 1e15")
_ABOVE_0: Range = (lambda x: 0 < x <= MOST, "above 0 and at most 1e15")
_SHARE: Range = (lambda x: 0 <= x <= 1, "0 to 1")
LIMITS = ("epochs", "steps", "max_time")
MOST_MEMBERS = 16  # models that one training trains

# by field name, which means the same in every dataclass below
_RANGES: dict[str, Range] = {
    "vocab_size": (lambda n: 2 <= n <= 0x110000, "2 to 1114112"),
    "unit": _one_of(Unit),
    "on_unknown": _one_of(OnUnknown),
    "hidden_size": _SIZE,
    "num_layers": (lambda n: 1 <= n <= 64, "1 to 64"),
    "cell": _one_of(Cell),
    "nonlinearity": _one_of(Nonlinearity),
    "dropout": (lambda p: 0 <= p < 1, "at least 0 and below 1"),
    "encoding_errors": _one_of(EncodingErrors),
    "format": _one_of(Format),
    "newlines": _one_of(Newlines),
    "quotes": _one_of(Quotes),
    "delimiter": (lambda c: len(c) == 1 and c not in '"\r\n', "one character, but no quote"),
    "min_count": _ONE_OR_MORE,
    "vocabulary_from": _ONE_OR_MORE,
    "val_fraction": (lambda x: 0 <= x <= 0.9, "0 to 0.9"),
    "hold_out": _one_of(HoldOut),
    "block_chars": (lambda n: n >= 1024, "1024 or more"),
    "batch_size": _SIZE,
    "seq_len": _SIZE,
    "learning_rate": (lambda x: 0 < x <= 1e30, "above 0 and at most 1e30"),
    "final_learning_rate": _SHARE,
    "warmup": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "grad_clip": (lambda x: 0 <= x <= 1e30, "0 (no clipping) to 1e30"),
    "weight_decay": (lambda x: 0 <= x <= 1e30, "0 to 1e30"),
    **dict.fromkeys(LIMITS, _ABOVE_0),
    "patience": (lambda n: 0 <= n <= MOST, "0 (never stop early) to 1e15"),
    "eval_every": _ONE_OR_MORE,
    "max_val_chars": _ONE_OR_MORE,
    "save_every": _ONE_OR_MORE,
    "keep_every": _ONE_OR_MORE,
    "save_every_s": _ABOVE_0,
    "members": (lambda n: 1 <= n <= MOST_MEMBERS, f"1 to {MOST_MEMBERS}"),
    "seed": (lambda n: 0 <= n < 2**63, "0 to 2**63 - 1"),
    "precision": _one_of(Precision),
    "optimizer": _one_of(Optimizer),
    "workers": (lambda n: 1 <= n <= 1024, "1 to 1024"),
    "average_every": (lambda n: 1 <= n <= 1000, "1 to 1000"),
    "threads": (lambda n: 1 <= n <= 1024, "1 to 1024"),
    "temperature": (lambda x: 0 <= x < math.inf, "0 (most probable) or more"),
    "top_k": (lambda n: 0 <= n <= MOST, "0 (all) to 1e15"),
    "top_p": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "min_p": _SHARE,
    "length": (lambda n: 0 <= n <= MOST, "0 (endless) to 1e15"),
    "count": _SIZE,
}


def member_file(number: int, file: str = MODEL_FILE) -> str:
    """Returns the file of a member, from 1 up: ``model.safetensors``, ``model-2.safetensors``."""
    return file if number == 1 else f"-{number}.".join(file.rsplit(".", 1))


def option_name(field: str) -> str:
    """Returns the option that sets a field."""
    if field == "hold_out":
        return "--split"
    return "--" + field.removesuffix("_s").replace("_", "-")


def check(values: Mapping[str, Any]) -> None:
    """Checks settings, of one dataclass or of several.

    Args:
        values: by field name; None is a setting that is not set.

    Raises:
        OptionError: A value is out of range, the encoding is unknown, or two settings exclude
            each other.
    """
    for name, value in values.items():
        in_range, words = _RANGES.get(name, (None, ""))
        if value is not None and in_range is not None and not in_range(value):
            shown = value if str(value).isprintable() and value != "" else repr(value)
            raise OptionError(f"{option_name(name)}: {shown} is out of range; it must be {words}")
    limits = [option_name(name) for name in LIMITS if values.get(name) is not None]
    if len(limits) > 1:
        raise OptionError(f"{' and '.join(limits)}: give one of them, not {len(limits)}")
    if values.get("hold_out") == "lines" and values.get("val_fraction") == 0:
        raise OptionError("--split lines and --val-fraction 0: give one of them")
    if values.get("nonlinearity") == "relu" and values.get("cell") not in (None, "rnn"):
        raise OptionError(
            f"--cell {values['cell']} and --nonlinearity relu: its gates have functions of their "
            "own: leave --nonlinearity out"
        )
    encoding = values.get("encoding")
    try:
        "".encode("utf-8" if encoding is None else encoding)
    except (LookupError, ValueError):
        raise OptionError(
            f"--encoding: {encoding!r} is not an encoding that Python knows; "
            "try utf-8, utf-16, latin-1 or cp1252"
        ) from None


class _Checked:
    def __post_init__(self) -> None:
        check(vars(self))


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """What the model is: enough to build it and to name its tensors' shapes."""

    vocab_size: int  # V, the number of symbols
    unit: Unit = "char"  # what a symbol is, a character or a byte
    hidden_size: int = 256  # H, numbers in each layer's hidden state
    num_layers: int = 3  # L, layers of the equation, each reading the one below
    cell: Cell = "rnn"  # the equation of a layer: the plain one, or one with gates
    nonlinearity: Nonlinearity = "tanh"  # the f of the plain equation
    dropout: float = 0.0  # share of each layer's outputs that is set to zero in training

    @property
    def gates(self) -> int:
        """How many matrices W_x and W_h stack, G; 1 without gates."""
        return GATES[self.cell]

    @property
    def state_size(self) -> int:
        """Numbers of a layer's state, S: its h; of an LSTM, h and then c."""
        return STATE_PARTS[self.cell] * self.hidden_size

    @property
    def shape(self) -> str:
        """Units, layers, and the cell if it has gates, as messages have them: "192 x 2 lstm"."""
        cell = "" if self.cell == "rnn" else f" {self.cell}"
        return f"{self.hidden_size} x {self.num_layers}{cell}"

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns each parameter's shape, by the name that it has in a model's file."""
        v, h = self.vocab_size, self.hidden_size
        stacked = self.gates * h
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(self.num_layers):
            shapes[f"layers.{i}.W_x"] = (stacked, v if i == 0 else h)
            shapes[f"layers.{i}.W_h"] = (stacked, h)
            shapes[f"layers.{i}.b"] = (stacked,)
        return shapes | {"output.W_y": (v, h), "output.b_y": (v,)}

    def parameter_count(self) -> int:
        """Returns the number of trained numbers."""
        return sum(map(math.prod, self.parameter_shapes().values()))


@dataclass(frozen=True)
class DataConfig(_Checked):
    """How text is read and cut."""

    unit: Unit = "char"  # what a symbol is, a character or a byte
    format: Format | None = None  # of every file; None: as the ending of its name says
    encoding: str = "utf-8"  # of plain text, JSON and CSV
    # invalid bytes are an error, become U+FFFD, or a character outside every vocabulary
    encoding_errors: EncodingErrors = "strict"
    newlines: Newlines = "lf"  # what a Windows line end is read as; keep: as it stands
    column: str | None = None  # the text column of a table; None takes the only one
    delimiter: str | None = None  # between the cells of CSV; None: the one that fits
    no_header: bool = False  # whether the first row of CSV is text, too
    quotes: Quotes | None = None  # whether quotes in CSV are its own, or text; None: see csv_rows
    separator: str = "\n"  # ends each row of a table
    split: str = "train"  # the part of a dataset of the Hub
    skip_damaged: bool = False  # leave out what cannot be read, instead of stopping
    min_count: int = 1  # characters that are seen less often are unknown to the model
    vocabulary_from: int | None = None  # only the first N characters make the vocabulary
    val_fraction: float = 0.1  # share of the text kept for validation
    hold_out: HoldOut = "tail"  # which part that is; lines: every tenth line, or as the share says
    block_chars: int = 2**24  # characters held in memory at once

    def train_chars(self, chars: int) -> int:
        """Returns how many of a text's ``chars`` characters train; the rest, its tail, validates.

        A fraction above 0 leaves at least 2 characters for validation.
        """
        split = int((1 - self.val_fraction) * chars)
        return min(split, chars - 2) if self.val_fraction else chars


@dataclass(frozen=True)
class TrainingConfig(_Checked):
    """How a model is trained."""

    batch_size: int = 32  # B, streams of text read side by side
    seq_len: int = 64  # T, characters between two updates; gradients reach no further back
    learning_rate: float = 4e-3  # the peak of the schedule
    final_learning_rate: float = 0.2  # the schedule's end, as a share of the peak
    warmup: float = 0.02  # share of the training over which the rate rises to its peak
    grad_clip: float = 1.0  # the gradient's norm is cut to this; 0 leaves it
    optimizer: Optimizer = "qhadamw"  # how a gradient changes the weights
    weight_decay: float = 0.01  # of matrices only
    epochs: float | None = None  # end after this many passes over the text
    steps: int | None = None  # end after this many updates
    max_time: float | None = None  # end after this many seconds
    patience: int = 10  # end after this many evaluations without a better one; 0 never does
    eval_every: int | None = None  # steps between evaluations; None: by the size of the texts
    max_val_chars: int = 2**20  # characters that an evaluation scores, from the start
    save_every: int | None = None  # steps between saves; None saves by the clock
    save_every_s: float = 30.0  # seconds between saves by the clock
    keep_every: int | None = None  # steps between models that are kept beside the best one
    seed: int = 0  # of the initial weights and of dropout
    members: int = 1  # models, of this seed and the next ones, that train at once; used as one
    workers: int | None = None  # processes that train; None: one a core, as far as it pays
    average_every: int = 1  # updates that each rank makes alone before ranks average their weights
    threads: int | None = None  # of each product; None: one, and one a core for scoring
    device: str = "cpu"  # where to train, in torch's words
    precision: Precision = "auto"  # of states and products in training; auto: fp32

    def kept(self) -> dict[str, Any]:
        """Returns the settings as files keep them: of one model, as before there were members."""
        return {k: v for k, v in asdict(self).items() if k != "members" or self.members > 1}


@dataclass(frozen=True)
class SamplingConfig(_Checked):
    """How characters are drawn from the model's probabilities."""

    temperature: float = 0.8  # divides the logits; below 1 more cautious, 0: the most probable
    top_k: int = 0  # keep the k most probable; 0 keeps all
    top_p: float = 1.0  # keep the fewest most probable that reach probability p; 1 keeps all
    min_p: float = 0.0  # keep those at least p times as probable as the most probable
    length: int = 500  # characters to write after the prompt; 0 writes without end
    stop: tuple[str, ...] = ()  # texts that end a sample; they are not printed
    count: int = 1  # samples to write
    seed: int | None = None  # of the draws; None draws one

    def __post_init__(self) -> None:
        """Checks every field, and that an endless sample is the only one."""
        super().__post_init__()
        if "" in self.stop:
            raise OptionError("--stop: '' is out of range; it must be text that is not empty")
        if self.length == 0 and self.count > 1:
            raise OptionError("--count: an endless sample (--length 0) has no second one")
