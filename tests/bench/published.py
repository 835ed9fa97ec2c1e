"""Texts that the field measures on, how they are cut, and what was published of them.

The texts themselves are not here: their owners give them, and a hash, or the size, recognises them.
"""

import math
from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class KnownFile:
    """A file of a known text."""

    name: str  # that it usually has; it may have any other
    size: int  # bytes
    md5: str | None  # None: its size alone recognises it


@dataclass(frozen=True)
class Published:
    """A figure that somebody published."""

    model: str
    nats: float  # nats/char, of the test text
    source: str
    parameters: int | None = None  # None: not given, or of another kind

    @classmethod
    def in_bits(cls, model: str, bits: float, source: str) -> "Published":
        """Converts a figure that was published in bits per character."""
        return cls(model, bits * math.log(2), source)


@dataclass(frozen=True)
class KnownText:
    """A text, its customary parts, and what is known of it.

    Attributes:
        files: one to be cut, or three: train, valid, test.
        cuts: where the one file is cut, in symbols: the ends of its training and of its validation
            text; two equal ones mean that what validates is also the test.
        source: where it comes from.
        published: what others measured on its test text.
        budgets: parameters of models that were published, to be trained at the same sizes.
        unit: what a symbol is.
        leading_space: whether each line's first character, a space, is none of the text.
    """

    name: str
    files: tuple[KnownFile, ...]
    source: str
    published: tuple[Published, ...]
    cuts: tuple[float, float] | None = None  # shares of the whole
    budgets: tuple[int, ...] = ()
    unit: Literal["char", "byte"] = "char"
    leading_space: bool = False


KARPATHY = "Karpathy, Johnson, Fei-Fei 2015, the best of one to three layers"

KNOWN = (
    KnownText(
        "tiny Shakespeare",
        (KnownFile("tinyshakespeare.txt", 1_115_394, "6fb458f1232090904fb40fe944165e91"),),
        "github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt",
        (
            Published("small Transformer, GPU", 1.4697, "nanoGPT's README; random windows of 256"),
            Published(
                "small Transformer, GPU", 1.4510, "nanoGPT's code in 2026; random windows of 256"
            ),
        ),
        cuts=(0.9, 0.9),
    ),
    KnownText(
        "War and Peace",
        (KnownFile("warpeace_input.txt", 3_258_246, None),),
        "cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",
        (
            Published("RNN", 1.396, KARPATHY, 44_567),
            Published("GRU", 1.373, KARPATHY, 44_567),
            Published("LSTM", 1.442, KARPATHY, 44_567),
            Published("RNN", 1.277, KARPATHY, 121_815),
            Published("GRU", 1.226, KARPATHY, 121_815),
            Published("LSTM", 1.227, KARPATHY, 121_815),
            Published("RNN", 1.239, KARPATHY, 374_615),
            Published("GRU", 1.138, KARPATHY, 374_615),
            Published("LSTM", 1.137, KARPATHY, 374_615),
        ),
        cuts=(0.8, 0.9),
        budgets=(44_567, 121_815, 374_615),
    ),
    KnownText(
        "Penn Treebank",
        (
            KnownFile("ptb.train.txt", 5_101_618, "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
            KnownFile("ptb.valid.txt", 399_782, "aa0affc06ff7c36e977d7cd49e3839bf"),
            KnownFile("ptb.test.txt", 449_945, "8b80168b89c18661a38ef683c0dc3721"),
        ),
        "Mikolov's simple-examples.tgz, data/ptb.train.txt, .valid, .test",
        (
            Published.in_bits("RNN", 1.48, "Bai, Kolter, Koltun 2018"),
            Published.in_bits("GRU", 1.37, "Bai, Kolter, Koltun 2018"),
            Published.in_bits("LSTM", 1.36, "Bai, Kolter, Koltun 2018"),
            Published.in_bits("RNN", 1.42, "Mikolov et al. 2012"),
            Published.in_bits("nnRNN", 1.40, "Kerg et al. 2019"),
            Published.in_bits("MI-RNN", 1.39, "Wu et al. 2016"),
        ),
        leading_space=True,
    ),
    KnownText(
        "text8",
        (KnownFile("text8", 100_000_000, "3bea1919949baf155f99411df5fada7e"),),
        "mattmahoney.net/dc/text8.zip",
        (),
        cuts=(0.9, 0.95),
    ),
    KnownText(
        "enwik8",
        (KnownFile("enwik8", 100_000_000, "a1fa5ffddb56f4953e226637dabbb36a"),),
        "mattmahoney.net/dc/enwik8.zip",
        (),
        cuts=(0.9, 0.95),
        unit="byte",
    ),
)
