"""Probabilities to characters.

Prompts are read by the fast pass; then the network steps, and draws, in NumPy on the CPU. Sample i
of seed s draws from a random stream of its own, that of seed s + i: it is the same, made alone or
side by side with others (but for rounding, which may decide a draw in a million).

Shapes: B samples side by side, V vocabulary, L layers, H hidden.
"""

import codecs
from collections.abc import Iterator, Sequence

from charrnn.config import OnUnknown, SamplingConfig
from charrnn.model.network import CharRNN
from charrnn.model.stepper import Stepper
from charrnn.sampling.decoding import Points, _seeds, draw
from charrnn.sampling.prompts import prompt_state, prompt_states
from charrnn.text.vocabulary import Vocabulary


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
