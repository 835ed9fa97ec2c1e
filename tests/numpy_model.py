"""A reference reader of model files: NumPy and the format's description, nothing of charrnn."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DTYPES = {"F32": "<f4", "I64": "<i8", "U8": "u1"}


def parse(data: bytes) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Returns the metadata and tensors of a safetensors file's bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        flat = np.frombuffer(body[start:stop], DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return metadata, tensors


def sigmoid(a: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-a)))


@dataclass(frozen=True)
class NumpyModel:
    """The equations, one character at a time, in double precision."""

    metadata: dict[str, str]
    tensors: dict[str, npt.NDArray[Any]]

    @classmethod
    def read(cls, path: Path) -> "NumpyModel":
        return cls(*parse(path.read_bytes()))

    @property
    def config(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.metadata["model_config"])
        return fields

    @property
    def symbols(self) -> list[str] | list[int]:
        symbols: list[str] | list[int] = json.loads(self.metadata["vocabulary"])
        return symbols

    def ids(self, text: str) -> list[int]:
        units = text.encode() if self.config["unit"] == "byte" else text
        of = {symbol: i for i, symbol in enumerate(self.symbols)}
        return [of[unit] for unit in units]

    @property
    def cell(self) -> str:
        return str(self.config.get("cell", "rnn"))

    def zero(self) -> list[Floats]:
        """Returns each layer's state: h, and of an LSTM c behind it."""
        size = self.config["hidden_size"] * (2 if self.cell == "lstm" else 1)
        return [np.zeros(size) for _ in range(self.config["num_layers"])]

    def start(self) -> list[Floats]:
        newline = 10 if self.config["unit"] == "byte" else "\n"
        if newline not in self.symbols:
            return self.zero()
        return self.read_symbol(self.zero(), self.symbols.index(newline))  # type: ignore[arg-type]

    def read_symbol(self, state: list[Floats], symbol: int) -> list[Floats]:
        """Returns each layer's state after a symbol."""
        after, H = [], self.config["hidden_size"]
        x = np.eye(self.config["vocab_size"])[symbol]
        for i, s in enumerate(state):
            W_x, W_h, b = (
                self.tensors[f"layers.{i}.{k}"].astype(float) for k in ("W_x", "W_h", "b")
            )
            after.append(self.cell_of(W_x @ x + b, W_h @ s[:H], s))
            x = after[-1][:H]
        return after

    def cell_of(self, from_below: Floats, from_before: Floats, s: Floats) -> Floats:
        """Returns the state after a step, by W_x x_t + b, W_h h_{t-1} and the state before."""
        if self.cell == "rnn":
            a = from_below + from_before
            return np.tanh(a) if self.config["nonlinearity"] == "tanh" else np.maximum(a, 0)
        if self.cell == "gru":
            (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(from_below, 3), np.split(from_before, 3)
            r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
            return np.asarray((1 - z) * np.tanh(a_n + r * u_n) + z * s)
        i, f, g, o = np.split(from_below + from_before, 4)
        c = sigmoid(f) * np.split(s, 2)[1] + sigmoid(i) * np.tanh(g)
        return np.concatenate([sigmoid(o) * np.tanh(c), c])

    def logits(self, state: list[Floats]) -> Floats:
        W_y, b_y = (self.tensors[f"output.{k}"].astype(float) for k in ("W_y", "b_y"))
        return np.asarray(W_y @ state[-1][: self.config["hidden_size"]] + b_y)

    def logits_after(self, text: str) -> Floats:
        """Returns the model's logits for the character after a text."""
        state = self.start()
        for symbol in self.ids(text):
            state = self.read_symbol(state, symbol)
        return self.logits(state)

    def nats(self, text: str) -> Floats:
        """Returns the surprise of each symbol of a text."""
        state, surprise = self.start(), []
        for symbol in self.ids(text):
            logits = self.logits(state)
            surprise.append(math.log(np.exp(logits - logits.max()).sum()) + logits.max())
            surprise[-1] -= logits[symbol]
            state = self.read_symbol(state, symbol)
        return np.array(surprise)
