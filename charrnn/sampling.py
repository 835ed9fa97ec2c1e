"""Probabilities to characters.

Prompts are read by the fast pass; then the network steps, and draws, in NumPy on the CPU. Sample i
of seed s draws from a random stream of its own, that of seed s + i: it is the same, made alone or
side by side with others (but for rounding, which may decide a draw in a million).

Shapes: B samples side by side, V vocabulary, L layers, H hidden.
"""

import codecs
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import Nonlinearity, OnUnknown, SamplingConfig
from charrnn.model import CharRNN
from charrnn.vocabulary import Ids, Vocabulary

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

F_OF_ARRAYS: dict[Nonlinearity, Callable[..., Array]] = {
    "tanh": np.tanh,
    "relu": functools.partial(np.maximum, np.float32(0)),
}
NOTHING = contextlib.nullcontext()

NEAR = 4096
"""Characters of a prompt's end that are read at first, and of a prompt that is read whole."""
WARM_UP = 256
ALIKE = 1e-5
"""Two states are the same if no number differs by more."""


def probabilities(logits: Floats, config: SamplingConfig) -> Floats:
    """Returns what each symbol is drawn with, after all of the decoding's options.

    They apply in the order of the field: temperature, top-k, top-p, min-p; each sees what the ones
    before it left, renormalised. Source: Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p).

    Args:
        logits: (B, V).
        config: temperature, top_k, top_p, min_p.

    Returns:
        Probabilities, (B, V), each row summing to 1.
    """
    p = _weights(logits, config)
    normalised: Floats = p / p.sum(-1, keepdims=True)
    return normalised


def _weights(logits: Floats, config: SamplingConfig) -> Floats:
    """Returns what the probabilities are proportional to; arguments as there."""
    if config.temperature == 0 or config.top_k == 1:
        certain = np.zeros_like(logits)
        np.put_along_axis(certain, logits.argmax(-1, keepdims=True), 1.0, axis=-1)
        return certain
    p = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    with np.errstate(over="ignore") if config.temperature < 1e-3 else NOTHING:
        p /= config.temperature  # near 0, all but the best are at -inf
    np.exp(p, out=p)
    if not (config.top_k or config.top_p < 1 or config.min_p):
        return p
    order = np.argsort(-p, axis=-1, kind="stable")
    if config.top_k:
        np.put_along_axis(p, order[..., config.top_k :], 0.0, axis=-1)
    p /= p.sum(-1, keepdims=True)
    if config.top_p < 1:
        descending = np.take_along_axis(p, order, axis=-1)
        before = descending.cumsum(-1) - descending  # mass of the more probable ones
        np.put_along_axis(p, order, np.where(before < config.top_p, descending, 0.0), axis=-1)
    p[p < config.min_p * p.max(-1, keepdims=True)] = 0.0
    return p


def draw(logits: Floats, config: SamplingConfig, points: Floats) -> list[int]:
    """Draws a symbol for each sample.

    Args:
        logits: (B, V).
        config: the options.
        points: random numbers from 0 to below 1, (B,).

    Returns:
        Their ids, B of them.
    """
    cumulative = _weights(logits, config).cumsum(-1)
    last = cumulative.shape[-1] - 1
    if len(cumulative) == 1:  # the same, faster
        row = cumulative[0]
        return [min(int(row.searchsorted(points[0] * row[last], side="right")), last)]
    drawn = (cumulative <= points[:, None] * cumulative[:, -1:]).sum(-1)
    return [min(symbol, last) for symbol in drawn.tolist()]


class Points:
    """Random numbers from 0 to below 1 for samples side by side, from a stream each."""

    BLOCK = 256

    def __init__(self, seeds: Iterable[int]) -> None:
        """Starts the streams.

        Args:
            seeds: B of them, one for each sample.
        """
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        self._blocks = np.zeros((len(self._streams), 0))
        self._at = 0

    def next(self) -> Floats:
        """Returns the next number of each stream, (B,)."""
        if self._at == self._blocks.shape[1]:
            self._blocks = np.stack([stream.random(self.BLOCK) for stream in self._streams])
            self._at = 0
        self._at += 1
        return self._blocks[:, self._at - 1]

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with some of the samples only."""
        self._streams = [self._streams[row] for row in rows]
        self._blocks = self._blocks[rows]


class Stepper:
    """Runs B samples side by side, one character at a time, in NumPy: its calls cost the least.

    A layer above the first reads h of the layer below and its own h_{t-1} in one product, with
    [W_x W_h]; the two stand side by side in one array for that.
    """

    def __init__(self, model: CharRNN, state: Tensor) -> None:
        """Takes the weights as they are now; later training does not change a sample.

        Args:
            model: the network.
            state: where to start, (L, B, H).
        """
        weights = [[_array(p) for p in layer.parameters()] for layer in model.layers]
        (W_x, W_h, b), *upper = weights
        self._columns = np.ascontiguousarray(W_x.T + b)  # (V, H): W_x x_t + b of each id
        self._Ws = [W_h, *(np.concatenate([W_x, W_h], axis=1) for W_x, W_h, _ in upper)]
        self._bs = [b for _, _, b in upper]
        W_y, self._b_y = (_array(p) for p in model.output.parameters())
        self._W_yT = np.ascontiguousarray(W_y.T)
        self._f = F_OF_ARRAYS[model.config.nonlinearity]
        # one alone is a product with a vector, which is faster
        self._alone = state.shape[1] == 1
        if not self._alone:
            self._Ws = [np.ascontiguousarray(W.T) for W in self._Ws]
        self._place(_array(state))

    def _place(self, state: Array) -> None:
        """Lays the state out: what each product reads, (B, H) or (B, 2 H), and where h stands."""
        H = state.shape[2]
        both = (np.concatenate(layers, axis=1) for layers in itertools.pairwise(state))
        read_by = [state[0].copy(), *both]
        self._hs = [array[:, -H:] for array in read_by]
        a = np.empty_like(state[0])
        if self._alone:
            read_by, self._a = [array[0] for array in read_by], a[0]
        else:
            self._a = a
        # by layer: W, what it reads, where its h stands, where the next layer reads it, its b
        hs = [array[..., -H:] for array in read_by]
        reads_h = [*(array[..., :H] for array in read_by[1:]), None]
        self._steps = list(zip(self._Ws, read_by, hs, reads_h, [None, *self._bs], strict=True))

    @property
    def state(self) -> Tensor:
        """The state of all layers, (L, B, H)."""
        return torch.from_numpy(np.stack(self._hs))

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with some of the samples only."""
        self._place(np.stack([h[rows] for h in self._hs]))

    def logits(self) -> Floats:
        """Returns what the state says of the next character, (B, V)."""
        logits: Array = np.dot(self._hs[-1], self._W_yT)
        logits += self._b_y
        return logits.astype(np.float64)

    def read(self, ids: Sequence[int]) -> None:
        """Reads one character in each sample."""
        a, f, alone = self._a, self._f, self._alone
        column = self._columns[ids[0] if alone else ids]
        for W, read, h, reads_h, b in self._steps:
            if alone:
                np.dot(W, read, out=a)
            else:
                np.dot(read, W, out=a)
            a += column if b is None else b
            f(a, out=h)
            if reads_h is not None:
                reads_h[...] = h


def _array(tensor: Tensor) -> Array:
    """Returns a copy of a tensor's numbers."""
    return np.array(tensor.detach().cpu().numpy())


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
        if not self._stop:
            return text
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
    """Returns the state after reading a prompt, (L, 1, H), from where every text starts.

    What is long past is forgotten: of a long prompt only the end is read, twice, from two different
    states. Where both come to the same, it is the state after the whole; else more is read.
    """
    start, n = model.start_state(1, vocabulary.newline_id), NEAR
    with torch.inference_mode():
        while n + WARM_UP < len(ids):
            far = _read(model, ids[-n - WARM_UP : -n, None], model.zero_state(1))
            end = np.repeat(ids[-n:, None], 2, axis=1)
            state = _read(model, end, torch.cat([start, far], dim=1))
            if bool(((state[:, 0] - state[:, 1]).abs() < ALIKE).all()):
                return state[:, 1:]
            n *= 4
        return _read(model, ids[:, None], start)


def _read(model: CharRNN, ids: Ids, state: Tensor) -> Tensor:
    """Returns the state after reading ids, (T, B), from a state, (L, B, H)."""
    for start in range(0, len(ids), 2**12):
        x = torch.from_numpy(ids[start : start + 2**12].astype(np.int64))
        state = model.hidden(x.to(state.device), state)[1]
    return state


def prompt_states(model: CharRNN, vocabulary: Vocabulary, prompts: Sequence[Ids]) -> Tensor:
    """Returns the state after reading each prompt, (L, B, H), read side by side."""
    states: list[Tensor] = [model.zero_state(0)] * len(prompts)
    long = [i for i, ids in enumerate(prompts) if len(ids) > NEAR]
    for i in long:
        states[i] = prompt_state(model, vocabulary, prompts[i])
    left = sorted(set(range(len(prompts))) - set(long), key=lambda i: len(prompts[i]))
    at, state = 0, model.start_state(1, vocabulary.newline_id).repeat(1, len(left), 1)
    with torch.inference_mode():
        while left:
            # all that are left read on to the end of the shortest
            end = len(prompts[left[0]])
            state = _read(model, np.stack([prompts[i][at:end] for i in left], axis=1), state)
            done = sum(len(prompts[i]) == end for i in left)
            for k, i in enumerate(left[:done]):
                states[i] = state[:, k : k + 1]
            at, left, state = end, left[done:], state[:, done:].contiguous()
        return torch.cat(states, dim=1)


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
    points = Points(_seeds(config, 1))
    assembler = TextAssembler(vocabulary, config.stop)
    made = 0
    while made < config.length or config.length == 0:
        symbols = draw(stepper.logits(), config, points.next())
        if text := assembler.add(symbols[0]):
            yield text
        if assembler.stopped:
            return
        stepper.read(symbols)
        made += 1
    if text := assembler.finish():
        yield text


def generate_batch(
    model: CharRNN,
    vocabulary: Vocabulary,
    prompts: Sequence[str],
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> list[str]:
    """Makes a sample of each prompt, side by side.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        prompts: what the samples go on from, B of them; some may be the same.
        config: the options; ``seed`` must be set, ``count`` is ignored.
        on_unknown: what to do with characters of a prompt that the model does not know.

    Returns:
        The texts. The i-th is what :func:`generate` makes of its prompt with seed + i.

    Raises:
        UnknownCharacterError: A prompt holds unknown characters.
    """
    different = list(dict.fromkeys(prompts))
    ids = [vocabulary.encode(prompt, on_unknown) for prompt in different]
    place = {prompt: i for i, prompt in enumerate(different)}
    states = prompt_states(model, vocabulary, ids)[:, [place[prompt] for prompt in prompts]]
    rows = list(range(len(prompts)))  # samples that still go on
    stepper, points = Stepper(model, states), Points(_seeds(config, len(rows)))
    assemblers = [TextAssembler(vocabulary, config.stop) for _ in rows]
    texts: list[list[str]] = [[] for _ in rows]
    for _ in range(config.length):
        symbols = draw(stepper.logits(), config, points.next())
        for row, symbol in zip(rows, symbols, strict=True):
            texts[row].append(assemblers[row].add(symbol))
        on = [k for k, row in enumerate(rows) if not assemblers[row].stopped]
        if len(on) < len(rows):
            rows, symbols = ([old[k] for k in on] for old in (rows, symbols))
            if not rows:
                break
            stepper.keep(on)
            points.keep(on)
        stepper.read(symbols)
    for text, assembler in zip(texts, assemblers, strict=True):
        text.append(assembler.finish())
    return ["".join(text) for text in texts]


def sample_seed(seed: int, index: int) -> int:
    """Returns the seed that makes the index-th sample of a seed alone."""
    return (seed + index) % 2**63


def _seeds(config: SamplingConfig, count: int) -> list[int]:
    assert config.seed is not None, "the caller draws the seed, so that it can name it"
    return [sample_seed(config.seed, i) for i in range(count)]
