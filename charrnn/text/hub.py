"""Datasets of the Hugging Face Hub."""

import logging
import os
import threading
from typing import TYPE_CHECKING, cast

from charrnn.errors import CorpusError, reason
from charrnn.text.formats import HUB_PREFIX

if TYPE_CHECKING:
    from datasets import IterableDataset

ANSWER_SECONDS = 5.0  # the time that the Hub has to say whether a dataset can be had


def open_hub(source: str, split: str) -> "IterableDataset":
    """Opens a dataset of the Hub, or a folder laid out as one, as a stream of rows.

    Raises:
        CorpusError: It cannot be opened.
    """
    import datasets
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # errors are ours to print
    name, _, config = source.removeprefix(HUB_PREFIX).partition(":")
    offline = datasets.config.HF_HUB_OFFLINE
    refusal = "" if offline or os.path.isdir(name) else _refusal(name)
    try:
        # datasets would ask such a Hub for half a minute before it looks into its cache
        datasets.config.HF_HUB_OFFLINE = offline or bool(refusal)
        rows = datasets.load_dataset(name, config or None, split=split, streaming=True)
    except Exception as error:
        # datasets documents no exception tree; whatever it is, the user needs one line
        remedy = "check the name and the network, and HF_TOKEN if it is private"
        if not refusal:
            refusal = reason(error).rstrip(".")
            remedy = "check the name (hf:NAME or hf:NAME:CONFIGURATION), --split and the network"
        raise CorpusError(f"{source}: cannot be opened: {refusal}: {remedy}") from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    return cast("IterableDataset", rows)


def _refusal(name: str) -> str:
    """Asks the Hub for a dataset, once; returns why it cannot be had, nothing if it can."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    refusal = f"no answer of the Hub in {ANSWER_SECONDS:g} s"

    def ask() -> None:
        nonlocal refusal
        try:
            HfApi().dataset_info(name, expand=["sha"])
            refusal = ""
        except HFValidationError:
            refusal = ""  # a path, or a bucket's: datasets knows what to do with it
        except Exception as error:
            refusal = f"no answer of the Hub ({reason(error).rstrip('.')})"
            if (response := getattr(error, "response", None)) is not None:
                refusal = f"the Hub answers {response.status_code} {response.reason_phrase}"

    # in a thread, as the look-up of the Hub's address has no timeout
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return refusal
