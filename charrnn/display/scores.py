"""Scores of texts, samples, curves as tables or JSON."""

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.config import UNIT_NAMES, SamplingConfig, Unit
from charrnn.display.console import exact_bytes, printable

if TYPE_CHECKING:
    from charrnn.sampling.generate import Sample
    from charrnn.scoring.context import ContextScore
    from charrnn.scoring.reports import Score
    from charrnn.text.vocabulary import Piece

Scores = Sequence[tuple[str, "Score"]]
"""The name and the score of each text."""


def _figures(unit: Unit) -> list[tuple[str, str, str, str]]:
    """Returns of each figure of a score: attribute, name of its line, head of its column, format.

    A byte model's figures per character are those per byte, and come once.
    """
    name = UNIT_NAMES[unit]
    figures = [
        ("bits_per_char", f"bits per {name}", f"bits/{unit}", ".4f"),
        ("bits_per_byte", "bits per byte", "bits/byte", ".4f"),
        ("nats_per_char", f"nats per {name}", f"nats/{unit}", ".4f"),
        ("perplexity", "perplexity", "perplexity", ".3f"),
        ("chars", f"{name}s", f"{name}s", ","),
        ("bytes", "bytes", "bytes", ","),
        ("unknown_chars", f"unknown {name}s", "unknown", ","),
    ]
    return list({line: (key, line, head, form) for key, line, head, form in figures}.values())


def score_table(
    scores: Scores,
    models: Sequence[str],
    unit: Unit,
    *,
    one_pass: bool,
    as_it_was: float | None = None,
) -> str:
    """Returns one text's score as lines of name and figure; several as a row each, and the total.

    Args:
        scores: of the texts.
        models: their paths.
        unit: what a symbol is.
        one_pass: whether no parallel streams were scored.
        as_it_was: if the model has adapted, what it would have scored without, nats.
    """
    total, figures = _total(scores), _figures(unit)
    speed = f"{total.seconds:.1f} s, {total.chars_per_second:,.0f} {UNIT_NAMES[unit]}s/s"
    speed += ", one pass" if one_pass else ", parallel streams"
    if len(scores) > 1:
        lines = ["  ".join(f"{head:>10}" for _, _, head, _ in figures) + "  source"]
        for name, score in [*scores, ("total", total)]:
            cells = (f"{getattr(score, key):>10{form}}" for key, _, _, form in figures)
            lines.append("  ".join(cells) + f"  {printable(name)}")
        if total.unknown_nats:
            lines.append(f"unknown {UNIT_NAMES[unit]}s{_charge(total)}")
        if as_it_was is not None:
            lines.append(f"adapted; as it was {_bits_as_it_was(total, as_it_was):.4f} bits/{unit}")
        return "\n".join([*lines, speed, *(f"model {model}" for model in models)])
    rows = [(line, f"{getattr(total, key):{form}}") for key, line, _, form in figures]
    rows[-1] = (rows[-1][0], rows[-1][1] + _charge(total))
    if as_it_was is not None:
        rows.append(("without adapting", f"{_bits_as_it_was(total, as_it_was):.4f}"))
    rows += [("time", speed), *(("model", model) for model in models)]
    return "\n".join(f"{line:<20}{figure}" for line, figure in rows)


def _charge(score: "Score") -> str:
    """Returns in words what unknown characters are charged, if they are."""
    if not score.unknown_nats:
        return ""
    return f", charged {score.unknown_nats / math.log(2) / score.unknown_chars:.2f} bits each"


def _total(scores: Scores) -> "Score":
    first, *others = (score for _, score in scores)
    return sum(others, start=first)


def score_so_far(score: "Score", unit: Unit) -> str:
    """Returns what a bar shows of a score that is not complete yet."""
    bits = f"  {score.bits_per_char:.3f} bits/{unit}" if score.chars else ""
    return f"{score.chars:,} {UNIT_NAMES[unit]}s  {score.chars_per_second:,.0f} {unit}s/s{bits}"


def score_json(
    scores: Scores, models: Sequence[str], *, one_pass: bool, as_it_was: float | None = None
) -> str:
    """Returns the total as one JSON object; if there are several texts, each is in ``sources``.

    Arguments are those of :func:`score_table`.
    """
    total = _total(scores)
    fields = _json_fields(total) | {"model": _one_or_all(models), "one_pass": one_pass}
    if as_it_was is not None:
        fields |= {"adapted": True, "bits_per_char_as_it_was": _bits_as_it_was(total, as_it_was)}
    if len(scores) > 1:
        fields["sources"] = [{"source": name} | _json_fields(score) for name, score in scores]
    return json.dumps(fields)


def _bits_as_it_was(total: "Score", nats: float) -> float:
    return (nats + total.unknown_nats) / math.log(2) / total.chars


def _one_or_all(models: Sequence[str]) -> str | list[str]:
    return models[0] if len(models) == 1 else list(models)


def _json_fields(score: "Score") -> dict[str, Any]:
    return {
        "chars": score.chars,
        "bytes": score.bytes,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "unknown_chars": score.unknown_chars,
        "unknown_bits": score.unknown_nats / math.log(2),
        "seconds": round(score.seconds, 3),
        "chars_per_second": round(score.chars_per_second),
    }


def sample_json(
    sample: "Sample", bits_per_char: float | None, config: SamplingConfig, models: Sequence[str]
) -> str:
    """Returns a sample as a line of JSON; ``bits_per_char`` are those after the prompt, if any."""
    encoding, (prompt, text, *stop) = _encoded(sample.prompt, sample.text, *config.stop)
    fields = {"prompt": prompt, "text": text, "encoding": encoding, "bits_per_char": bits_per_char}
    settings = {key: value for key, value in asdict(config).items() if key != "count"}
    # its own seed, with which this sample alone can be drawn again
    own = {"stop": stop, "seed": sample.seed}
    return json.dumps(fields | {"model": _one_or_all(models)} | settings | own) + "\n"


def _encoded(*texts: "Piece") -> tuple[str, list[str]]:
    """Returns the encoding of texts in JSON, and the texts: in base64 if one is not UTF-8."""
    data = [exact_bytes(text) for text in texts]
    try:
        return "utf-8", [one.decode() for one in data]
    except UnicodeDecodeError:
        return "base64", [b64encode(one).decode() for one in data]


def context_table(curve: Sequence["ContextScore"], enough: int, unit: Unit) -> str:
    """Returns a context curve as a table with bars; ``enough`` is the context that suffices."""
    highest = max(point.bits_per_char for point in curve) or 1.0
    lines = [f"context  bits/{unit}  std error"]
    for point in curve:
        share = point.bits_per_char / highest
        bar = "#" * round(40 * share) if math.isfinite(share) else ""
        figures = f"{point.bits_per_char:>9.4f}  {point.standard_error:>9.4f}"
        lines.append(f"{point.context:>7}  {figures}  {bar}")
    return "\n".join([*lines, f"within 1 % of its best from a context of {enough} on"])


def context_json(curve: Sequence["ContextScore"], enough: int) -> str:
    """Returns a context curve as one JSON object."""
    return json.dumps({"within_1_percent": enough, "curve": [asdict(point) for point in curve]})
