"""Which settings mean something for which sources; the others are refused."""

from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from charrnn.config import DataConfig, Format, option_name
from charrnn.errors import OptionError
from charrnn.text.corpus import Corpus
from charrnn.text.formats import kind_of

_AS_CHARACTERS = get_args(Format)
_ROWS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "hub")
# the formats that a setting means something for; all others mean something for all formats
_APPLIES: dict[str, tuple[str, ...]] = {
    "column": _ROWS,
    "separator": _ROWS,
    "delimiter": ("csv", "tsv"),
    "no_header": ("csv", "tsv"),
    "quotes": ("csv", "tsv"),
    "encoding": _AS_CHARACTERS,
    "encoding_errors": (*_AS_CHARACTERS, "parquet", "arrow", "hub"),
    "split": ("hub",),
    "format": _AS_CHARACTERS,
}


def open_all(sources: Sequence[str], config: DataConfig, advice: str) -> list[Corpus]:
    """Returns a corpus of each source; arguments and errors as :class:`Corpus`.

    Raises:
        OptionError: A setting means nothing for any of them.
    """
    corpora = [Corpus([source], config, advice=advice, typed=sources) for source in sources]
    refuse_unused(config, corpora)
    return corpora


def refuse_unused(config: DataConfig, corpora: Sequence[Corpus]) -> None:
    """Checks that every setting that differs from its default means something for a file.

    Raises:
        OptionError: It means nothing for any of them.
    """
    files = [file for corpus in corpora for file in corpus.files]
    kinds = {kind_of(file.path, config.format) for file in files}
    for field in fields(config):
        # surrogateescape is set by a command, not by the user
        if getattr(config, field.name) in (field.default, "surrogateescape"):
            continue
        formats = set(_APPLIES.get(field.name, kinds))
        if config.unit == "byte" and field.name in ("newlines", "min_count"):
            formats = set()  # bytes stay bytes, and are all known
        elif config.unit == "byte" and field.name in ("encoding", "encoding_errors"):
            formats.discard("text")
        if kinds & formats:
            continue
        hint = "leave it out"
        if kinds == {"text"} and config.format is None and "csv" in formats:
            hint += ", or say with --format what the text is: jsonl, csv ..."
        what = "plain text" if kinds == {"text"} else " and ".join(sorted(kinds))
        what = "bytes" if config.unit == "byte" and "text" not in formats else what
        where = files[0].name if len(files) == 1 else f"{len(files)} files"
        option = option_name(field.name)
        raise OptionError(f"{option}: {where}: it means nothing for {what}: {hint}")
