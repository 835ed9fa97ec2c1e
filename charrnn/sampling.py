"""Probabilities to characters.

The network steps on plain tensors without autograd; the draw is NumPy's, on the CPU. Sample i of
seed s draws from a random stream of its own, (s, i): how many samples are made side by side does
not change what is drawn for any of them.

Shapes: B samples side by side, V vocabulary, H hidden.
"""

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cell import F_IN_PLACE
from charrnn.config import OnUnknown, SamplingConfig
from charrnn.model import CharRNN
from charrnn.vocabulary import Ids, Vocabulary

Floats = npt.NDArray[np.float64]


def probabilities(logits: Floats, config: SamplingConfig) -> Floats:
    """Returns what each symbol is drawn with, after all of the decoding's options.

    They apply in the order of the field: temperature, top-k, top-p, min-p; each sees what the ones
    before it left, renormalised. Source: Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p).

    Args:
        logits: (V,).
        config: temperature, top_k, top_p, min_p.

    Returns:
        Probabilities, (V,), summing to 1.
    """
    if config.temperature == 0 or config.top_k == 1:
        certain = np.zeros_like(logits)
        certain[logits.argmax()] = 1.0
        return certain
    with np.errstate(over="ignore"):  # at a temperature near 0, all but the best are at -inf
        p: Floats = np.exp((logits - logits.max()) / config.temperature)
    if 0 < config.top_k < len(p):
        p[np.argsort(-p, kind="stable")[config.top_k :]] = 0.0
    p /= p.sum()
    if config.top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]  # mass of the more probable ones
        p[order[before >= config.top_p]] = 0.0
        p /= p.sum()
    if config.min_p > 0:
        p[p < config.min_p * p.max()] = 0.0
        p /= p.sum()
    return p


def draw(logits: Floats, config: SamplingConfig, random: np.random.Generator) -> int:
    """Returns the id of one symbol, drawn; logits are (V,)."""
    cumulative = np.cumsum(probabilities(logits, config))
    point = random.random() * cumulative[-1]
    drawn = int(np.searchsorted(cumulative, point, side="right"))
    return min(drawn, len(cumulative) - 1)


class Stepper:
    """Runs B samples side by side, one character at a time, without autograd."""

    def __init__(self, model: CharRNN, state: Tensor) -> None:
        """Takes the weights as they are now; later training does not change a sample.

        Args:
            model: the network.
            state: where to start, (L, B, H).
        """
        with torch.inference_mode():
            self._layers = []
            for layer in model.layers:
                weights = [p.detach().cpu().clone() for p in layer.parameters()]
                self._layers.append((weights[0], weights[1], weights[2]))
            first = self._layers[0]
            self._columns = (first[0].T + first[2]).contiguous()  # (V, H): W_x x_t + b of each id
            self._W_y, self._b_y = (p.detach().cpu().clone() for p in model.output.parameters())
            self._f_ = F_IN_PLACE[model.config.nonlinearity]
            single = state.shape[1] == 1
            self._hs = [h[0].clone() if single else h.clone() for h in state.cpu()]
            self._single = single

    @property
    def state(self) -> Tensor:
        """The state of all layers, (L, B, H)."""
        return torch.stack([h[None] if self._single else h for h in self._hs])

    def logits(self) -> Floats:
        """Returns what the state says of the next character, (B, V)."""
        with torch.inference_mode():
            h = self._hs[-1]
            if self._single:
                return torch.addmv(self._b_y, self._W_y, h)[None].numpy().astype(np.float64)
            return torch.addmm(self._b_y, h, self._W_y.T).numpy().astype(np.float64)

    def read(self, ids: Sequence[int]) -> None:
        """Reads one character in each sample."""
        with torch.inference_mode():
            if self._single:
                below = self._columns[ids[0]]
                for i, (W_x, W_h, b) in enumerate(self._layers):
                    a = below if i == 0 else torch.addmv(b, W_x, below)
                    below = self._hs[i] = self._f_(torch.addmv(a, W_h, self._hs[i]))
                return
            below = self._columns[torch.tensor(ids)]
            for i, (W_x, W_h, b) in enumerate(self._layers):
                a = below if i == 0 else torch.addmm(b, below, W_x.T)
                below = self._hs[i] = self._f_(torch.addmm(a, self._hs[i], W_h.T))


class TextAssembler:
    """Symbols to text: whole UTF-8 characters only, and nothing of a stop text.

    What could still become a stop text is held back until it is clear.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        """Starts an empty text.

        Args:
            vocabulary: of the ids to come.
            stop: texts that end it.
        """
        self._vocabulary, self._stop = vocabulary, tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def add(self, symbol: int) -> str:
        """Takes one more symbol; returns the text that is now certain."""
        if self._vocabulary.unit == "byte":
            return self._release(self._decoder.decode(bytes([symbol])))
        return self._release(str(self._vocabulary.symbols[symbol]))

    def finish(self) -> str:
        """Returns what was held back, at the end of the text."""
        rest = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return rest + held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Returns how many of the text's last characters may begin a stop text."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def prompt_state(model: CharRNN, vocabulary: Vocabulary, ids: Ids) -> Tensor:
    """Returns the state after reading a prompt, (L, 1, H), from where every text starts."""
    state = model.start_state(1, vocabulary.newline_id)
    with torch.inference_mode():
        for start in range(0, len(ids), 2**14):
            x = torch.from_numpy(ids[start : start + 2**14].astype(np.int64))[:, None]
            state = model.hidden(x.to(state.device), state)[1]
    return state


def generate(
    model: CharRNN,
    vocabulary: Vocabulary,
    prompt: str,
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> Iterator[str]:
    """Reads a prompt, and returns an iterator over the text that goes on from it.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        prompt: what the sample goes on from; it is not part of the text.
        config: the options; ``seed`` must be set, ``count`` is ignored.
        on_unknown: what to do with characters of the prompt that the model does not know.

    Returns:
        The text, a few characters at a time, as they are made.

    Raises:
        UnknownCharacterError: The prompt holds unknown characters; nothing was made yet.
    """
    state = prompt_state(model, vocabulary, vocabulary.encode(prompt, on_unknown))
    return _write_on(Stepper(model, state), vocabulary, config)


def _write_on(stepper: Stepper, vocabulary: Vocabulary, config: SamplingConfig) -> Iterator[str]:
    random = _random(config, 0)
    assembler = TextAssembler(vocabulary, config.stop)
    made = 0
    while made < config.length or config.length == 0:
        symbol = draw(stepper.logits()[0], config, random)
        if text := assembler.add(symbol):
            yield text
        if assembler.stopped:
            return
        stepper.read([symbol])
        made += 1
    if text := assembler.finish():
        yield text


def generate_batch(
    model: CharRNN,
    vocabulary: Vocabulary,
    prompt: str,
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> list[str]:
    """Returns ``config.count`` samples made side by side; arguments as :func:`generate`."""
    count = config.count
    state = prompt_state(model, vocabulary, vocabulary.encode(prompt, on_unknown))
    stepper = Stepper(model, state.repeat(1, count, 1))
    randoms = [_random(config, i) for i in range(count)]
    assemblers = [TextAssembler(vocabulary, config.stop) for _ in range(count)]
    texts: list[list[str]] = [[] for _ in range(count)]
    for _ in range(config.length):
        logits = stepper.logits()
        symbols = [draw(logits[i], config, randoms[i]) for i in range(count)]
        for i, symbol in enumerate(symbols):
            texts[i].append(assemblers[i].add(symbol))
        if all(assembler.stopped for assembler in assemblers):
            break
        stepper.read(symbols)
    for text, assembler in zip(texts, assemblers, strict=True):
        text.append(assembler.finish())
    return ["".join(text) for text in texts]


def _random(config: SamplingConfig, index: int) -> np.random.Generator:
    assert config.seed is not None, "the caller draws the seed, so that it can name it"
    return np.random.default_rng([config.seed, index])
