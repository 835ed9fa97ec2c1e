"""``charrnn sample``: continues prompts."""

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli import options
from charrnn.cli.shell import named_errors, set_threads, stdin_bytes, write
from charrnn.cli.values import RUNS, set_options
from charrnn.config import OnUnknown, SamplingConfig
from charrnn.display.console import note
from charrnn.display.scores import sample_json
from charrnn.errors import CorpusError, OptionError, reason
from charrnn.store.folder import find_run

if TYPE_CHECKING:
    from charrnn.store.checkpoint import Checkpoint


@named_errors("close other programs, or name a smaller --model")
def sample(
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
    model: options.Model = None,
    runs: options.Runs = RUNS,
    threads: options.Threads = None,
) -> None:
    """Continue a prompt; standard output gets the text alone.

    Examples: charrnn sample --prompt "I had"; charrnn sample --length 0 | head -c 1000
    """
    draws = set_options(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    amount = set_options(length=length, count=count)
    config = SamplingConfig(
        **draws,
        **amount,
        stop=tuple(stop or ()),
        seed=secrets.randbits(32) if seed is None else seed,
    )
    if prompt is not None and prompts is not None:
        raise OptionError("--prompt and --prompts: give one of them")
    if config.length == 0 and (as_json or prompts is not None):
        raise OptionError("--length 0: an endless sample is no JSON, and has no second one")
    texts = [_one_prompt(prompt or "")] if prompts is None else _prompts(prompts)
    set_threads(threads)
    from charrnn.sampling.generate import samples
    from charrnn.sampling.prompts import check_prompts
    from charrnn.store import checkpoint

    loaded = checkpoint.load(find_run(runs, model))
    skipped = check_prompts(loaded.vocabulary, texts, on_unknown, numbered=prompts is not None)
    # the notes come once the prompts are known to be good
    if model is None:
        note(f"model {loaded.path}")
    if seed is None and config.temperature > 0:
        note(f"seed {config.seed}")
    if skipped:
        note(f"unknown characters of the prompt left out: {skipped}")
    separator = "\n" if separator is None else separator
    if as_json:
        _write_json(loaded, texts, config, on_unknown)
    elif prompts is not None:
        for one in samples(loaded.model, loaded.vocabulary, texts, config, on_unknown):
            write(("" if no_echo else one.prompt) + one.text + separator)
    else:
        _write_samples(loaded, texts[0], config, on_unknown, separator, echo=not no_echo)


def _one_prompt(prompt: str) -> str:
    return stdin_bytes().decode("utf-8", "surrogateescape") if prompt == "-" else prompt


def _prompts(file: str) -> list[str]:
    """Returns a file's prompts, one a line."""
    try:
        data = stdin_bytes() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{file}: cannot be read: {reason(error)}: check the path") from None
    lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _write_samples(
    loaded: "Checkpoint",
    prompt: str,
    config: SamplingConfig,
    on_unknown: OnUnknown,
    separator: str,
    *,
    echo: bool,
) -> None:
    """Writes samples of one prompt; a single one as it is made."""
    from charrnn.sampling.generate import generate, samples

    shown = prompt if echo else ""
    write(shown)
    last = shown
    if config.count == 1:
        for piece in generate(loaded.model, loaded.vocabulary, prompt, config, on_unknown):
            write(last := piece)
    else:
        many = samples(loaded.model, loaded.vocabulary, [prompt], config, on_unknown)
        for number, one in enumerate(many):
            write(last := separator + shown + one.text if number else one.text)
    if sys.stdout.isatty() and not last.endswith("\n"):
        write("\n")  # so that the shell's prompt starts a line


def _write_json(
    loaded: "Checkpoint", prompts: list[str], config: SamplingConfig, on_unknown: OnUnknown
) -> None:
    """Writes a line for each sample, with the bits per character of its text."""
    from charrnn.sampling.generate import samples
    from charrnn.scoring.reports import continuation_bits
    from charrnn.scoring.scorer import Scorer

    every = samples(loaded.model, loaded.vocabulary, prompts, config, on_unknown)
    scorer = Scorer(loaded.model, loaded.vocabulary)
    for one, bits in continuation_bits(scorer, every, on_unknown):
        write(sample_json(one, bits, config, str(loaded.path)))
