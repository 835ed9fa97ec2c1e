"""A trained model in Python: it writes, scores, predicts, and shows its hidden states.

Shapes: n symbols of a text, L layers, H hidden.
"""

import codecs
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from charrnn.config import RUNS, ModelConfig, OnUnknown, SamplingConfig, check
from charrnn.errors import OptionError
from charrnn.fields import settings_of
from charrnn.interface.threads import one_thread_a_product
from charrnn.likely import did_you_mean, likely
from charrnn.model.forward import require_finite
from charrnn.sampling.decoding import weights
from charrnn.sampling.generate import generate
from charrnn.sampling.prompts import prompt_states
from charrnn.scoring.reports import Score, char_nats, score
from charrnn.scoring.scorer import Scorer
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.folder import find_models
from charrnn.store.mixing import Loaded, as_one, load_all
from charrnn.store.runs import Run, all_runs

Prompted = Literal["error", "skip"]


class SamplingSettings(TypedDict, total=False):
    """How a text is drawn, by the defaults of ``charrnn sample``; None: not set."""

    length: int | None  # symbols after the prompt; 0, for a stream only, is without end
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    stop: str | Sequence[str] | None  # a text before which the sample ends, or several
    seed: int | None  # the same one draws the same text; None draws one


class Model:
    """A trained model; nothing changes it, and several threads may use it at once.

    Texts are strings. A model of bytes reads and writes them as UTF-8; a byte that is no UTF-8 is a
    lone surrogate there (Python's ``surrogateescape``). Windows line ends are read as they stand.

    Attributes:
        symbols: the symbol of each id: a character, or a byte as a number.
        members: the models of a mixture; else the model itself, alone.
    """

    def __init__(self, loaded: Loaded) -> None:
        """Takes what models' files hold; use :func:`load`."""
        self._network, self._vocabulary = loaded.model, loaded.vocabulary
        self._trained_chars, self._files = loaded.trained_chars, loaded.members
        self.symbols = loaded.vocabulary.symbols
        self.members: tuple[Model, ...] = (self,)
        if len(loaded.members) > 1:
            self.members = tuple(Model(as_one([member])) for member in loaded.members)

    @property
    def _file(self) -> Checkpoint:
        """What the only model's file holds."""
        if len(self._files) > 1:
            raise OptionError(
                f"a mixture of {len(self._files)} models: ask one of them, such as .members[0]"
            )
        return self._files[0]

    @property
    def path(self) -> Path:
        """The file that it was read from; of a mixture, ask a member for this and the following."""
        return self._file.path

    @property
    def config(self) -> ModelConfig:
        """Its shape, and what a symbol is, a character or a byte."""
        return self._file.model.config

    @property
    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters by name, as in the file; nobody can write to them."""
        views = {name: weight.view() for name, weight in self._file.model.weights.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    @property
    def provenance(self) -> dict[str, Any]:
        """What the file tells of its training, JSON values."""
        return self._file.provenance

    def __fspath__(self) -> str:
        return str(self.path.absolute())

    def __repr__(self) -> str:
        shapes = (f"{str(member.path)!r}: {member.config.shape}" for member in self.members)
        return f"<charrnn model {' and '.join(shapes)}, {len(self.symbols)} symbols>"

    def stream(
        self,
        prompt: str = "",
        on_unknown: Prompted = "error",
        **settings: Unpack[SamplingSettings],
    ) -> Iterator[str]:
        """Yields a text that continues a prompt, without the prompt, piece by piece as it is made.

        Args:
            prompt: what is continued; an empty one begins a text.
            on_unknown: whether characters of the prompt that the model does not know are an error,
                or left out.
            settings: how it is drawn.

        Raises:
            UnknownCharacterError: The prompt holds unknown characters; raised at once.
            OptionError: A setting is out of range.
        """
        if unknown := settings.keys() - SamplingSettings.__annotations__.keys():
            meant = likely(min(unknown), SamplingSettings.__annotations__)
            remedy = did_you_mean(meant, "leave it out")
            raise TypeError(f"sampling has no setting {min(unknown)!r}: {remedy}")
        stop = settings.get("stop") or ()
        options = settings_of(SamplingConfig, {**settings, "stop": None})
        options.setdefault("seed", int.from_bytes(os.urandom(4)))
        config = SamplingConfig(**options, stop=(stop,) if isinstance(stop, str) else tuple(stop))
        check({"on_unknown": on_unknown})
        with one_thread_a_product():  # reading the prompt; one symbol is no product of matrices
            pieces = generate(self._network, self._vocabulary, _string(prompt), config, on_unknown)
        return _as_text(pieces)

    def sample(
        self,
        prompt: str = "",
        on_unknown: Prompted = "error",
        **settings: Unpack[SamplingSettings],
    ) -> str:
        """Returns a text that continues a prompt; arguments and errors as for :meth:`stream`."""
        if settings.get("length") == 0:
            raise OptionError("length: 0 is without end: use stream, or name a length")
        return "".join(self.stream(prompt, on_unknown, **settings))

    @one_thread_a_product()
    def score(
        self,
        text: str,
        on_unknown: OnUnknown = "charge",
        *,
        exact: bool = False,
        adapt: bool = False,
    ) -> Score:
        """Scores a text: every symbol once, the first one included, given all before it.

        Args:
            text: the text.
            on_unknown: whether unknown characters are charged what a sound model would charge, an
                error, or left out.
            exact: whether it is read in one pass, and not in streams side by side.
            adapt: whether a copy of the model learns from each segment once it is scored, by torch.

        Returns:
            Its sums and means: ``bits_per_char``, ``bits_per_byte``, ``perplexity`` ...

        Raises:
            UnknownCharacterError: It holds unknown characters, and they are an error.
            NothingToScoreError: It is empty.
        """
        scorer = self._scorer(on_unknown, exact=exact, adapt=adapt)
        return score(scorer, [_string(text)], scorer.start)[0]

    @one_thread_a_product()
    def surprise(
        self,
        text: str,
        on_unknown: OnUnknown = "charge",
        *,
        exact: bool = False,
        adapt: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Returns the surprise of each symbol, -log2 of its probability given all before it.

        Arguments and errors are those of :meth:`score`, whose ``bits_per_char`` is the mean.

        Returns:
            Bits, (n,): of each character, or of each byte of UTF-8 if the unit is the byte; NaN
            for a character that is left out.
        """
        scorer = self._scorer(on_unknown, exact=exact, adapt=adapt)
        return char_nats(scorer, _string(text), scorer.start) / math.log(2)

    @one_thread_a_product()
    def states(self, text: str, on_unknown: OnUnknown = "error") -> npt.NDArray[np.float32]:
        """Returns the hidden states of all layers after each symbol of a text.

        Args:
            text: the text, read from where texts start.
            on_unknown: whether unknown characters are an error, or otherwise left out.

        Returns:
            h_t, (n, L, H): the t-th is the state after reading t + 1 symbols.

        Raises:
            UnknownCharacterError: It holds unknown characters, and they are an error.
            OptionError: It is a mixture.
        """
        scorer = self._scorer(on_unknown)
        model = self._file.model
        states, _ = model.states(scorer.encode(_string(text)).ids[:, None], scorer.start)
        return np.ascontiguousarray(states[:, :, 0, : model.config.hidden_size])

    @one_thread_a_product()
    def next(
        self, text: str = "", on_unknown: Prompted = "error", *, temperature: float = 1.0
    ) -> dict[str | int, float]:
        """Returns the probability of each symbol that may follow a text, the highest first.

        Raises:
            UnknownCharacterError: The text holds unknown characters, and they are an error.
            OptionError: The temperature is out of range.
        """
        check({"on_unknown": on_unknown})
        config = SamplingConfig(temperature=temperature)
        ids = self._vocabulary.encode(_string(text), on_unknown)
        state = prompt_states(self._network, self._vocabulary, [ids])
        logits = require_finite(self._network.logits(state[-1, 0]))
        p = weights(logits.astype(np.float64), config)
        p /= p.sum()
        order = np.argsort(-p, kind="stable")
        return {self.symbols[i]: float(p[i]) for i in order}

    def _scorer(self, on_unknown: OnUnknown, exact: bool = False, adapt: bool = False) -> Scorer:
        check({"on_unknown": on_unknown})
        options: dict[str, Any] = {"on_unknown": on_unknown, "exact": exact}
        options["trained_chars"] = self._trained_chars
        if not adapt:
            return Scorer(self._network, self._vocabulary, **options)
        from charrnn.training.adapting import AdaptingScorer  # loads torch

        return AdaptingScorer([file.model for file in self._files], self._vocabulary, **options)


def load(*models: str | os.PathLike[str], runs: str | os.PathLike[str] | None = None) -> Model:
    """Reads a model; or several, as one that predicts by the mean of their logits.

    Args:
        models: of each, its file, its run's folder or name, or the run; none: the newest run.
        runs: the folder of all runs; by default that of the command line.

    Raises:
        RunNotFoundError: There is none.
        CheckpointError: It is damaged, or no model; or several do not know the same symbols.
        TooLargeError: It needs more memory than there is.
    """
    folder = Path(default_runs() if runs is None else runs)
    # a run is itself, whatever other run has its name
    paths = [
        model.path if isinstance(model, Run) else find_models(folder, [os.fspath(model)])[0]
        for model in models
    ]
    return Model(load_all(paths or find_models(folder, None)))


def runs(folder: str | os.PathLike[str] | None = None) -> list[Run]:
    """Returns the runs of a folder, the newest first; none if there is no such folder.

    Raises:
        RunNotFoundError: The folder cannot be read.
    """
    return all_runs(Path(default_runs() if folder is None else folder))


def default_runs() -> Path:
    """Returns the folder of all runs that the command line takes, if none is named."""
    return Path(os.environ.get("CHARRNN_RUNS") or RUNS)


def _string(text: Any) -> str:
    """Returns a text, if it is one.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is a string, not {type(text).__name__}: {text!r:.100}")
    return text


def _as_text(pieces: Iterator[Any]) -> Iterator[str]:
    """Yields pieces as strings; bytes as whole characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for piece in pieces:
        if text := piece if isinstance(piece, str) else decoder.decode(piece):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest
