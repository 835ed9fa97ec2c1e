"""Prompts to text.

Sample i of seed s draws from a random stream of its own, that of seed s + i: made alone or side by
side with others, it is the same (but for rounding, which may change one draw in a million).

Shapes: B samples side by side, L layers, S of a layer's state.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from charrnn.config import OnUnknown, SamplingConfig
from charrnn.model.forward import Array, Predictor
from charrnn.model.parallel import Ended, divide, in_threads
from charrnn.sampling.decoding import Points, draw, draw_one, sample_seeds
from charrnn.sampling.prompts import prompt_states
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

SIDE_BY_SIDE = 256  # samples made at once; with more, the first are returned before the last begin
WORTH_A_THREAD = 2**21  # multiplications of a step's product


class TextAssembler:
    """Symbols to text, but nothing of a stop text.

    Symbols that may become a stop text are held back until that is decided. After a stop text
    ``stopped`` is true, and nothing is added.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        self._symbols = vocabulary.symbols
        self._stop: list[Any] = [vocabulary.to_piece(text) for text in stop]
        self._held = vocabulary.to_piece("")
        self.stopped = False

    def add(self, symbol: int) -> Piece:
        """Takes one more id; returns the text that is now certain."""
        last = self._symbols[symbol]
        made = last if isinstance(last, str) else bytes([last])
        if self.stopped:
            return made[:0]
        if not self._stop:
            return made
        text = cast(Any, self._held) + made
        starts = [start for stop in self._stop if (start := text.find(stop)) >= 0]
        if starts:
            self.stopped, self._held = True, made[:0]
            certain = min(starts)
        else:
            # where the longest end of the text starts that a stop text begins with; "" always does
            certain = next(
                i
                for i in range(len(text) + 1)
                if any(stop.startswith(text[i:]) for stop in self._stop)
            )
            self._held = text[certain:]
        return cast(Piece, text[:certain])

    def finish(self) -> Piece:
        """Returns what was held back, at the end of the text."""
        return self._held


def generate(
    model: Predictor,
    vocabulary: Vocabulary,
    prompt: Piece,
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> Iterator[Piece]:
    """Reads a prompt, and returns the text after it, piece by piece as it is made.

    ``config.seed`` must be set, ``config.count`` is ignored.

    Raises:
        UnknownCharacterError: The prompt holds unknown characters; raised before the first text.
    """
    state = prompt_states(model, vocabulary, [vocabulary.encode(prompt, on_unknown)])
    return _continue(model, state, vocabulary, config)


def _continue(
    model: Predictor, state: Array, vocabulary: Vocabulary, config: SamplingConfig
) -> Iterator[Piece]:
    points = Points(sample_seeds(config, 1))
    assembler = TextAssembler(vocabulary, config.stop)
    h = list(state[:, 0])  # of each layer, (S,)
    logits = model.logits(h[-1])
    for _ in range(config.length) if config.length else itertools.count():
        symbol = draw_one(logits, config, points.next()[0])
        if text := assembler.add(symbol):
            yield text
        if assembler.stopped:
            return
        logits, h = model.step(symbol, h)
    if text := assembler.finish():
        yield text


def generate_batch(
    model: Predictor,
    vocabulary: Vocabulary,
    prompts: Sequence[Piece],
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> list[Piece]:
    """Returns a text after each of B > 0 prompts, made side by side; some prompts may be the same.

    The i-th text is what :func:`generate` makes of its prompt with seed + i; arguments and errors
    are the same, but ``config.length`` must be above 0.
    """
    columns = {prompt: column for column, prompt in enumerate(dict.fromkeys(prompts))}
    ids = [vocabulary.encode(prompt, on_unknown) for prompt in columns]
    states = prompt_states(model, vocabulary, ids)[:, [columns[prompt] for prompt in prompts]]
    seeds = sample_seeds(config, len(prompts))

    def work(part: slice, ended: Ended) -> list[Piece]:
        points = Points(seeds[part])
        return _continue_all(model, states[:, part], vocabulary, config, points, ended)

    # below this, two threads mostly wait for each other's turn in Python
    products = model.config.gates * model.config.hidden_size**2
    fewest = max(model.fewest_streams, WORTH_A_THREAD // products)
    parts = divide(len(prompts), fewest, model.most_streams)
    return list(itertools.chain(*in_threads(work, parts)))


def _continue_all(
    model: Predictor,
    state: Array,
    vocabulary: Vocabulary,
    config: SamplingConfig,
    points: Points,
    ended: Ended,
) -> list[Piece]:
    """Returns the text of each sample, made side by side."""
    drawn: list[Ids] = []  # of samples without stop texts, which are decoded at the end
    assemblers = [TextAssembler(vocabulary, config.stop) for _ in range(state.shape[1])]
    texts: list[list[Any]] = [[] for _ in assemblers]
    unfinished = list(range(len(texts)))  # samples, in the order of the state's columns
    h = list(state)  # of each layer, (B, S)
    logits = model.logits(h[-1])
    for _ in range(config.length):
        symbols = draw(logits, config, points.next())
        if config.stop:
            for sample, symbol in zip(unfinished, symbols.tolist(), strict=True):
                texts[sample].append(assemblers[sample].add(symbol))
            rows = [row for row, sample in enumerate(unfinished) if not assemblers[sample].stopped]
            if not rows:
                break
            if len(rows) < len(unfinished):
                unfinished = [unfinished[row] for row in rows]
                symbols, h = symbols[rows], [of_layer[rows] for of_layer in h]
                points.keep(rows)
        else:
            drawn.append(symbols)
        if ended():
            break
        logits, h = model.step(symbols, h)
    if drawn:
        return [vocabulary.decode(ids) for ids in np.stack(drawn, axis=1)]
    for text, assembler in zip(texts, assemblers, strict=True):
        text.append(assembler.finish())
    return [text[0][:0].join(text) for text in texts]


@dataclass(frozen=True)
class Sample:
    """A text that a model made; characters, or bytes if its unit is the byte."""

    prompt: Piece
    text: Piece  # after the prompt
    seed: int  # makes this sample alone


def samples(
    model: Predictor,
    vocabulary: Vocabulary,
    prompts: Sequence[Piece],
    config: SamplingConfig,
    on_unknown: OnUnknown = "error",
) -> Iterator[Sample]:
    """Yields ``config.count`` samples of each prompt, in order, each with a seed of its own.

    Other arguments and errors are those of :func:`generate_batch`.
    """
    pieces = (vocabulary.to_piece(prompt, on_unknown) for prompt in prompts)
    prompt_of_each = (piece for piece in pieces for _ in range(config.count))
    while group := list(itertools.islice(prompt_of_each, SIDE_BY_SIDE)):
        *seeds, next_seed = sample_seeds(config, len(group) + 1)
        texts = generate_batch(model, vocabulary, group, config, on_unknown)
        yield from map(Sample, group, texts, seeds)
        config = replace(config, seed=next_seed)
