"""Which text a page shows: the run's validation text, one that is named, or a sample."""

from dataclasses import dataclass

from charrnn.errors import CharrnnError, CorpusError, NothingToScoreError
from charrnn.report.measures import sample, wanted_length
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.mixing import Loaded
from charrnn.store.runs import Run
from charrnn.text.chunks import Reader
from charrnn.text.compressed import plain_blocks
from charrnn.text.dataset import Dataset, Watch
from charrnn.text.origin import Origin
from charrnn.text.sources import STDIN, shown, standard_input_blocks
from charrnn.text.vocabulary import Piece

VALIDATION = "the beginning of the validation text"
TRAINING = "the beginning of the training text, as nothing was held out"
SAMPLE = "a sample of the model itself"
MOST_BYTES = 4  # of a character


@dataclass(frozen=True)
class ShownText:
    """A text, and what it is."""

    text: Piece
    name: str
    notes: tuple[str, ...] = ()


def named_text(source: str, model: Checkpoint | Loaded) -> ShownText:
    """Returns the beginning of a file of plain text, or of standard input.

    Raises:
        CorpusError: It cannot be read, or is empty.
    """
    blocks = standard_input_blocks() if source == STDIN else plain_blocks(source)
    data, wanted = b"", wanted_length(model.model)
    for block in blocks:
        data += block
        if len(data) > MOST_BYTES * (wanted + 1):
            break
    if not data:
        raise NothingToScoreError(f"{shown(source)}: it is empty: name another --text")
    name = f"the beginning of {shown(source)}"
    if model.vocabulary.unit == "byte":
        return ShownText(data[:wanted], name)
    # an invalid byte is one more unknown character
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if model.newlines == "keep" or "\r\n" not in text[:wanted]:
        return ShownText(text[:wanted], name)
    text = text.replace("\r\n", "\n")
    return ShownText(text[:wanted], name, ("Windows line ends are read as newlines",))


def text_of_run(run: Run, model: Checkpoint | Loaded, watch: Watch) -> ShownText:
    """Returns the beginning of a run's validation text; if it is gone, a sample of the model.

    ``watch`` is called while the text is read, which is compared with what it was in training.
    """
    try:
        dataset = Dataset.reopen(_origin(run), model.vocabulary, run.path, watch)
        try:
            count = wanted_length(model.model)
            if len(ids := dataset.validation(count)):
                return ShownText(model.vocabulary.decode(ids), VALIDATION)
            ids = Reader(dataset.read()).read(count)
            return ShownText(model.vocabulary.decode(ids), TRAINING)
        finally:
            dataset.close()
    except CharrnnError as error:
        return sample_text(model, f"its text is not shown: {error}; --text names another one")


def _origin(run: Run) -> Origin:
    if not run.training_state:
        raise CorpusError("a model alone does not tell where its text is")
    try:
        return Origin.read(run.training_state)
    except (TypeError, ValueError, CharrnnError) as error:
        raise CorpusError(f"the run does not tell where its text is: {error}") from None


def sample_text(model: Checkpoint | Loaded, *notes: str) -> ShownText:
    """Returns a sample of a model, of the length that a page shows."""
    try:
        text = sample(model.model, model.vocabulary, 0.8, wanted_length(model.model))
    except CharrnnError:
        text = model.vocabulary.to_piece("")
    return ShownText(text, SAMPLE, notes)
