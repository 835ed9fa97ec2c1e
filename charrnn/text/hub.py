"""Datasets of the Hugging Face Hub."""

from typing import TYPE_CHECKING, cast

from charrnn.errors import CorpusError, reason
from charrnn.text.formats import HUB_PREFIX

if TYPE_CHECKING:
    from datasets import IterableDataset


def open_hub(source: str, split: str) -> "IterableDataset":
    """Opens a dataset of the Hub as a stream of rows.

    Raises:
        CorpusError: It cannot be opened.
    """
    import datasets

    name, _, config = source.removeprefix(HUB_PREFIX).partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split, streaming=True)
    except Exception as error:
        # datasets documents no exception tree; whatever it is, the user needs one line
        raise CorpusError(
            f"{source}: cannot be opened: {reason(error)}: check the name and the network"
        ) from None
    return cast("IterableDataset", rows)
