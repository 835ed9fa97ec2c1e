"""``charrnn sample``."""

import itertools
import math
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from charrnn.cli.options import (
    _DRAW,
    _OUT,
    _S,
    _TEXT,
    ModelOption,
    OnUnknownOption,
    RunsOption,
    ThreadsOption,
    _argument,
    _count,
    _load,
    _on_unknown,
    _option,
    _pick,
)
from charrnn.cli.shell import _named_errors, _set_threads, _stdin_bytes, _write
from charrnn.config import OnUnknown, SamplingConfig
from charrnn.display.console import note
from charrnn.display.progress import SamplingProgress
from charrnn.display.scores import sample_json
from charrnn.errors import CorpusError, OptionError, UnknownCharacterError

if TYPE_CHECKING:
    from charrnn.store.checkpoint import Checkpoint

SAMPLES_AT_ONCE = 256
"""Samples that are made side by side; of more prompts the first are out before the last begin."""


@_named_errors
def sample(
    model: ModelOption = None,
    runs: RunsOption = Path("runs"),
    prompt: Annotated[
        str | None,
        _option("prompt", "Text to go on from; [bold]-[/bold] reads standard input.", _TEXT),
    ] = None,
    prompts: Annotated[
        str | None,
        _option(
            "prompts",
            "File of prompts, one a line, each gone on from; [bold]-[/bold]: standard input.",
            _TEXT,
        ),
    ] = None,
    on_unknown: OnUnknownOption = "error",
    length: Annotated[
        int | None,
        _option("length", "Characters to write; 0: endless.", _TEXT, _S.length, parser=_count),
    ] = None,
    stop: Annotated[
        list[str] | None, _option("stop", "End before this text; may be given again.", _TEXT)
    ] = None,
    temperature: Annotated[
        float | None,
        _option(
            "temperature",
            "Below 1 more cautious, above bolder; 0: the most probable.",
            _DRAW,
            _S.temperature,
        ),
    ] = None,
    top_k: Annotated[
        int | None, _option("top-k", "Draw from the k most probable; 0: all.", _DRAW, _S.top_k)
    ] = None,
    top_p: Annotated[
        float | None,
        _option("top-p", "Draw from the fewest that reach probability p.", _DRAW, _S.top_p),
    ] = None,
    min_p: Annotated[
        float | None,
        _option("min-p", "Draw from those p times as probable as the best.", _DRAW, _S.min_p),
    ] = None,
    seed: Annotated[
        int | None, _option("seed", "Of the draws; the same text again.", _DRAW, "drawn, and said")
    ] = None,
    count: Annotated[
        int | None, _option("count", "Samples to write of each prompt.", _OUT, _S.count)
    ] = None,
    separator: Annotated[
        str,
        _option(
            "separator",
            "Between samples; with --prompts after each.",
            _OUT,
            "a newline",
            metavar="TEXT",
            show_default=False,
        ),
    ] = "\n",
    no_echo: Annotated[bool, _option("no-echo", "Do not print the prompt.", _OUT)] = False,
    as_json: Annotated[
        bool, _option("json", "A line of JSON for each sample: text, seed, settings, bits.", _OUT)
    ] = False,
    threads: ThreadsOption = None,
) -> None:
    """Write text that goes on from a prompt; standard output gets the text alone.

    Examples: charrnn sample --prompt "I had"; charrnn sample --length 0 | head -c 1000
    """
    given = {key: value for key, value in locals().items() if value is not None}
    given |= {"stop": tuple(map(_argument, stop or ()))}
    given |= {"seed": secrets.randbits(32) if seed is None else seed}
    config = SamplingConfig(**_pick(SamplingConfig, given))
    unknown = _on_unknown(on_unknown)
    if prompt is not None and prompts is not None:
        raise OptionError("--prompt and --prompts: give one of them")
    if config.length == 0 and (as_json or prompts is not None):
        raise OptionError("--length 0: an endless sample is no JSON, and has no second one")
    texts = _prompts(prompt or "", prompts)
    _set_threads(threads)
    loaded = _load(runs, model)
    skipped = _check_prompts(loaded, texts, unknown, numbered=prompts is not None)
    # nothing is said before the prompts are known to be good
    if model is None:
        note(f"model {loaded.path}")
    if seed is None and config.temperature > 0:
        note(f"seed {config.seed}")
    if skipped:
        note(f"unknown characters of the prompt left out: {skipped}")
    if as_json:
        _write_json(loaded, texts, config, unknown)
    elif prompts is not None:
        end = _argument(separator)
        for text, sample, _ in _samples(loaded, texts, config, unknown):
            _write(sample + end if no_echo else text + sample + end)
    else:
        _write_samples(loaded, texts[0], config, unknown, _argument(separator), echo=not no_echo)


def _prompts(prompt: str, prompts: str | None) -> list[str]:
    """Returns the one prompt, or those of a file, one a line."""
    if prompts is None:
        data = _stdin_bytes() if prompt == "-" else os.fsencode(prompt)
        return [data.decode("utf-8", "surrogateescape")]
    try:
        data = _stdin_bytes() if prompts == "-" else Path(prompts).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{prompts}: cannot be read: {reason}: check the path") from None
    lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _check_prompts(
    loaded: "Checkpoint", prompts: list[str], unknown: OnUnknown, *, numbered: bool
) -> int:
    """Returns how many unknown characters of the prompts are left out.

    Raises:
        UnknownCharacterError: None may be; says which prompt it is, where they are numbered.
    """
    skipped = 0
    for number, prompt in enumerate(prompts, start=1):
        try:
            ids = loaded.vocabulary.encode(prompt, unknown)
        except UnknownCharacterError as error:
            where = f"prompt {number}: " if numbered else ""
            raise UnknownCharacterError(f"{where}{error}") from None
        skipped += len(prompt) - len(ids) if loaded.vocabulary.unit == "char" else 0
    return skipped


def _samples(
    loaded: "Checkpoint", prompts: list[str], config: SamplingConfig, unknown: OnUnknown
) -> Iterator[tuple[str, str, int]]:
    """Yields each sample's prompt, text and seed; so many are made side by side."""
    from charrnn.sampling.decoding import sample_seed
    from charrnn.sampling.generate import generate_batch

    assert config.seed is not None
    each = (prompt for prompt in prompts for _ in range(config.count))
    seed = config.seed
    while group := list(itertools.islice(each, SAMPLES_AT_ONCE)):
        settings = replace(config, seed=seed)
        texts = generate_batch(loaded.model, loaded.vocabulary, group, settings, unknown)
        yield from zip(group, texts, (sample_seed(seed, i) for i in range(len(group))), strict=True)
        seed = sample_seed(seed, len(group))


def _write_samples(
    loaded: "Checkpoint",
    prompt: str,
    config: SamplingConfig,
    unknown: OnUnknown,
    between: str,
    *,
    echo: bool,
) -> None:
    """Writes samples of one prompt; one alone as it is made."""
    from charrnn.sampling.generate import generate

    before = prompt if echo else ""
    _write(before)
    last = before
    if config.count == 1:
        with SamplingProgress(config.length) as progress:
            for piece in generate(loaded.model, loaded.vocabulary, prompt, config, unknown):
                _write(piece)
                progress.written(len(piece))
                last = piece
    else:
        for number, (_, text, _) in enumerate(_samples(loaded, [prompt], config, unknown)):
            last = between + before + text if number else text
            _write(last)
    if sys.stdout.isatty() and not last.endswith("\n"):
        _write("\n")  # the shell's prompt should not stand behind the text


def _write_json(
    loaded: "Checkpoint", prompts: list[str], config: SamplingConfig, unknown: OnUnknown
) -> None:
    """Writes a line for each sample, with the bits per character of its text."""
    from charrnn.scoring.scorer import Scorer

    scorer, read = Scorer(loaded.model, loaded.vocabulary), None
    for prompt, text, seed in _samples(loaded, prompts, config, unknown):
        before, ids = (loaded.vocabulary.encode(t, unknown) for t in (prompt, text))
        if prompt != read:
            scorer.restart()
            if len(before):
                scorer.nats(before)
            read, state = prompt, scorer.state
        scorer.state = state
        bits = float(scorer.nats(ids).mean(dtype=float)) / math.log(2) if len(ids) else None
        settings = replace(config, seed=seed)
        _write(sample_json(prompt, text, bits, settings, str(loaded.path)))
