"""``charrnn sample``: continues prompts."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from charrnn.cli import options
from charrnn.cli.shell import end_with_clean_up, named_errors, prompt_bytes, text_output, write
from charrnn.cli.threads import set_threads
from charrnn.cli.values import set_options
from charrnn.cli.waiting import output_bar
from charrnn.config import RUNS, OnUnknown, SamplingConfig
from charrnn.display.console import note
from charrnn.display.progress import Bar
from charrnn.display.scores import sample_json
from charrnn.errors import OptionError
from charrnn.store.folder import find_models
from charrnn.system import quoted

if TYPE_CHECKING:
    from charrnn.sampling.generate import Sample
    from charrnn.store.mixing import Loaded

T = TypeVar("T")


@named_errors("close other programs, or name a smaller --model")
def sample(
    words: options.Words = None,
    prompt: options.Prompt = None,
    length: options.Length = None,
    prompts: options.Prompts = None,
    stop: options.Stop = None,
    on_unknown: options.OnUnknownCharacter = "error",
    temperature: options.Temperature = None,
    seed: options.SampleSeed = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    count: options.SampleCount = None,
    separator: options.SampleSeparator = None,
    no_echo: options.NoEcho = False,
    as_json: options.SampleJson = False,
    newlines: options.ModelNewlines = None,
    model: options.Models = None,
    runs: options.Runs = RUNS,
    threads: options.Threads = None,
) -> None:
    """Continue a prompt; standard output gets the text alone.

    Examples: charrnn sample "I had"; charrnn sample --length 0 | head -c 1000
    """
    settings = set_options(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    settings |= set_options(length=length, count=count, stop=tuple(stop or ()))
    settings |= {"seed": int.from_bytes(os.urandom(4)) if seed is None else seed}
    config = SamplingConfig(**settings)
    prompt = _one_prompt(words, prompt, prompts)
    if config.length == 0 and (as_json or prompts is not None):
        raise OptionError("--length 0: an endless sample is no JSON, and has no second one")
    if prompt == "-":
        prompt = prompt_bytes().decode("utf-8", "surrogateescape")
    texts = [prompt or ""] if prompts is None else _prompts(prompts)
    set_threads(threads)
    from charrnn.sampling.generate import generate, samples
    from charrnn.sampling.prompts import check_prompts
    from charrnn.store.mixing import load_all

    end_with_clean_up()
    with output_bar([], by_lines=as_json) as bar:
        bar.about("loading the model")
        loaded = load_all(find_models(runs, model))
        line_ends = 0  # of Windows
        if loaded.vocabulary.unit == "char" and (newlines or loaded.newlines) == "lf":
            line_ends = sum(text.count("\r\n") for text in texts)
            texts = [text.replace("\r\n", "\n") for text in texts]
        skipped = check_prompts(loaded.vocabulary, texts, on_unknown, numbered=prompts is not None)
        # the notes come once the prompts are known to be good
        if not model:
            note(f"model {loaded.place}")
        if seed is None and config.temperature > 0:
            note(f"seed {config.seed}")
        if line_ends:
            note(f"Windows line ends read as newlines: {line_ends} (--newlines keep keeps them)")
        if skipped:
            note(f"unknown characters of the prompt left out: {skipped}")
        separator = "\n" if separator is None else separator
        bar.about("sampling")
        network, vocabulary = loaded.model, loaded.vocabulary
        drawn = samples(network, vocabulary, texts, config, on_unknown)
        drawn = _watched(drawn, len(texts) * config.count, "samples", bar)
        if as_json:
            _write_json(drawn, loaded, config, on_unknown)
            return
        with text_output() as write_text:
            if prompts is not None:
                for one in drawn:
                    write_text("" if no_echo else one.prompt, one.text, separator)
                return
            shown = "" if no_echo else texts[0]
            write_text(shown)
            if config.count == 1:  # written as it is made
                pieces = generate(network, vocabulary, texts[0], config, on_unknown)
                for piece in _watched(pieces, config.length, f"{vocabulary.unit}s", bar):
                    write_text(piece)
            else:
                for number, one in enumerate(drawn):
                    before = (separator, shown) if number else ()
                    write_text(*before, one.text)


def _watched(made: Iterable[T], total: int, what: str, bar: Bar) -> Iterator[T]:
    """Yields what is made, and shows how many there are of all; of 0, without end."""
    of_all = f" of {total:,}" if total else ""
    for number, one in enumerate(made):
        bar.show("sampling", number, lambda: total or None, f"{number:,}{of_all} {what}")
        yield one


def _one_prompt(words: list[str] | None, prompt: str | None, prompts: str | None) -> str | None:
    """Returns the prompt, an argument or an option, or None.

    Raises:
        OptionError: There are several.
    """
    named = {"PROMPT": words, "--prompt": prompt, "--prompts": prompts}
    if len(names := [name for name, value in named.items() if value is not None]) > 1:
        raise OptionError(f"{' and '.join(names)}: give one of them")
    if words is not None and len(words) > 1:
        whole = " ".join(words)
        whole = "-- " * whole.startswith("-") + quoted(whole)
        raise OptionError(f"PROMPT: a prompt of several words needs quotes: charrnn sample {whole}")
    return prompt if words is None else words[0]


def _write_json(
    drawn: "Iterable[Sample]", loaded: "Loaded", config: SamplingConfig, on_unknown: OnUnknown
) -> None:
    from charrnn.scoring.reports import continuation_bits
    from charrnn.scoring.scorer import Scorer

    scorer = Scorer(loaded.model, loaded.vocabulary, on_unknown=on_unknown)
    for one, bits in continuation_bits(scorer, drawn):
        write(sample_json(one, bits, config, loaded.paths))


def _prompts(file: str) -> list[str]:
    """Returns a file's prompts, one a line."""
    text = prompt_bytes(file).decode("utf-8", "surrogateescape")
    if text.startswith("\ufeff"):
        note(f"byte-order mark left out: {file}")
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
