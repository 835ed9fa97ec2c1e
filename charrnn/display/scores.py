"""Scores, samples, curves as tables or JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.config import SamplingConfig
from charrnn.display.console import LN_2, escaped, printable

if TYPE_CHECKING:
    from charrnn.sampling.generate import Sample
    from charrnn.scoring.context import ContextScore
    from charrnn.scoring.reports import CharScore, Score
    from charrnn.text.chunks import Piece

Scores = Sequence[tuple[str, "Score"]]
"""The name and the score of each text."""


def score_table(scores: Scores, model: str, *, one_pass: bool) -> str:
    """Returns one text's score as lines of name and figure; several as a row each, and the total.

    Args:
        scores: of one text or several.
        model: path of the model.
        one_pass: whether each text ran in one pass.
    """
    total = _total(scores)
    speed = f"{total.seconds:.1f} s, {total.chars_per_second:,.0f} characters/s"
    speed += ", one pass" if one_pass else ", parallel streams"
    if len(scores) > 1:
        return f"{_rows(scores, total)}\n{speed}\nmodel {model}"
    rows = [
        ("bits per character", f"{total.bits_per_char:.4f}"),
        ("bits per byte", f"{total.bits_per_byte:.4f}"),
        ("nats per character", f"{total.nats_per_char:.4f}"),
        ("perplexity", f"{total.perplexity:.3f}"),
        ("characters", f"{total.chars:,}"),
        ("bytes", f"{total.bytes:,}"),
        ("unknown characters", f"{total.unknown_chars:,}"),
        ("time", speed),
        ("model", model),
    ]
    return "\n".join(f"{name:<20}{figure}" for name, figure in rows)


def _total(scores: Scores) -> "Score":
    first, *others = (score for _, score in scores)
    return sum(others, start=first)


def score_so_far(score: "Score") -> str:
    """Returns what a bar shows of a score that is not complete yet."""
    bits = f"  {score.bits_per_char:.3f} bits/char" if score.chars else ""
    return f"{score.chars:,} characters  {score.chars_per_second:,.0f} chars/s{bits}"


def _rows(scores: Scores, total: "Score") -> str:
    heads = ["bits/char", "bits/byte", "nats/char", "perplexity", "characters", "bytes", "unknown"]
    lines = ["  ".join(f"{head:>10}" for head in heads) + "  source"]
    for name, score in [*scores, ("total", total)]:
        figures = [score.bits_per_char, score.bits_per_byte, score.nats_per_char]
        cells = [*(f"{figure:.4f}" for figure in figures), f"{score.perplexity:.3f}"]
        cells += [f"{count:,}" for count in (score.chars, score.bytes, score.unknown_chars)]
        lines.append("  ".join(f"{cell:>10}" for cell in cells) + f"  {printable(name)}")
    return "\n".join(lines)


def score_json(scores: Scores, model: str, *, one_pass: bool) -> str:
    """Returns the total as one JSON object; if there are several texts, each is in ``sources``."""
    figures = _figures(_total(scores)) | {"model": model, "one_pass": one_pass}
    if len(scores) > 1:
        figures["sources"] = [{"source": name} | _figures(score) for name, score in scores]
    return json.dumps(figures)


def _figures(score: "Score") -> dict[str, Any]:
    return {
        "chars": score.chars,
        "bytes": score.bytes,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "unknown_chars": score.unknown_chars,
        "seconds": round(score.seconds, 3),
        "chars_per_second": round(score.chars_per_second),
    }


def sample_json(
    sample: "Sample", bits_per_char: float | None, config: SamplingConfig, model: str
) -> str:
    """Returns a sample as a line of JSON.

    Args:
        sample: its prompt, text and seed.
        bits_per_char: of the text after the prompt, under the model; None if it is empty.
        config: how it was drawn.
        model: path of the model.
    """
    fields = {"prompt": sample.prompt, "text": sample.text, "bits_per_char": bits_per_char}
    settings = {key: value for key, value in asdict(config).items() if key != "count"}
    # with its own seed, one sample alone is the same again
    return json.dumps(fields | {"model": model} | settings | {"seed": sample.seed}) + "\n"


def context_table(curve: Sequence["ContextScore"], enough: int) -> str:
    """Returns a context curve as a table with bars.

    Args:
        curve: its points.
        enough: the shortest context that comes near the best.
    """
    highest = max(point.bits_per_char for point in curve) or 1.0
    lines = ["context  bits/char  std error"]
    for point in curve:
        bar = "#" * round(40 * point.bits_per_char / highest)
        figures = f"{point.bits_per_char:>9.4f}  {point.standard_error:>9.4f}"
        lines.append(f"{point.context:>7}  {figures}  {bar}")
    lines.append(f"within 1 % of its best from a context of {enough} on")
    return "\n".join(lines)


def context_json(curve: Sequence["ContextScore"], enough: int) -> str:
    """Returns a context curve as one JSON object; arguments as :func:`context_table`."""
    return json.dumps({"within_1_percent": enough, "curve": [asdict(point) for point in curve]})


def line_rows(rows: Sequence[tuple[float, "Piece"]], *, as_json: bool) -> bytes:
    """Returns lines' scores: bits per character, a tab and the unchanged line; or JSON."""
    return b"".join(_line_row(bits, line, as_json) for bits, line in rows)


def _line_row(bits_per_char: float, line: "Piece", as_json: bool) -> bytes:
    if as_json:
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        bits = None if math.isnan(bits_per_char) else bits_per_char
        return json.dumps({"bits_per_char": bits, "line": text}).encode() + b"\n"
    data = line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape")
    return b"%.4f\t%s\n" % (bits_per_char, data)


def char_rows(scores: Sequence["CharScore"], *, as_json: bool) -> str:
    """Returns characters' scores as lines of tab-separated fields, escaped; or of JSON."""
    row = _char_json if as_json else _char_row
    return "".join(f"{row(score)}\n" for score in scores)


def _char_json(score: "CharScore") -> str:
    return json.dumps(
        {
            "offset": score.offset,
            "char": score.symbol,
            "bits": score.nats / LN_2,
            "rank": score.rank,
            "most_probable": score.most_probable,
        }
    )


def _char_row(score: "CharScore") -> str:
    bits = score.nats / LN_2
    symbols = (escaped(score.symbol), escaped(score.most_probable))
    return f"{score.offset}\t{symbols[0]}\t{bits:.4f}\t{score.rank}\t{symbols[1]}"
