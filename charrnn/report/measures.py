"""What is measured of a model for a page: a passage, its hidden units, a context curve, samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.config import SamplingConfig
from charrnn.errors import CharrnnError, NothingToScoreError, OverflowedError
from charrnn.model.forward import Array, Forward, Predictor
from charrnn.model.mixture import Mixture
from charrnn.report.units import (
    MOST_LAYERS,
    MOST_UNITS,
    LayerUnits,
    correlations,
    layer_units,
    shown_layers,
    text_length,
)
from charrnn.sampling.generate import generate
from charrnn.scoring.context import ContextScore, context_curve
from charrnn.scoring.passage import Passage, read_passage
from charrnn.scoring.scorer import Scorer
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.mixing import Loaded
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

MOST_CHARS = 2000  # of a passage
# of its pictures, half a byte each at most: so a page stays below 1 MB
MOST_PICTURE_NUMBERS = 750_000
TEMPERATURES = (0.5, 0.8, 1.0, 1.2)
SAMPLE_LENGTH, SAMPLE_SEED = 300, 1
# multiplications that a context curve may take, and the positions that it has at least and at most
CONTEXT_WORK, FEWEST_POSITIONS, MOST_POSITIONS = 5 * 10**10, 50, 1000
SHORTEST, LONGEST = 64, 256  # characters of context that it measures up to

Stage = Callable[[str], None]  # called with what is done next


@dataclass(frozen=True)
class Measures:
    """What is measured; a part that cannot be is None or empty, and a note says why."""

    passage: Passage | None
    text_name: str  # what the passage is
    layers: Sequence[LayerUnits] = ()
    context: Sequence[ContextScore] = ()
    samples: Sequence[tuple[float, Piece]] = ()  # temperature and text
    notes: Sequence[str] = ()


def passage_length(network: Predictor) -> int:
    """Returns how many characters of a text a page shows."""
    layers = min(network.config.num_layers, MOST_LAYERS)
    units = min(network.config.hidden_size, MOST_UNITS)
    return min(MOST_CHARS, MOST_PICTURE_NUMBERS // (layers * units))


def wanted_length(network: Predictor) -> int:
    """Returns how many characters of a text are read for a page."""
    return max(passage_length(network), text_length(network))


def measure(
    model: Checkpoint | Loaded,
    text: Piece,
    text_name: str,
    stage: Stage = lambda name: None,
    *,
    context_work: int = CONTEXT_WORK,
) -> Measures:
    """Measures a model by a text; what is not possible is left out, and noted.

    Args:
        model: the model; of a mixture, the units that are shown are its first member's.
        text: a text that it was not trained on, if there is one; only its beginning is read.
        text_name: what it is.
        stage: called with what is done next.
        context_work: multiplications that the context curve may take, more or less; 0: none.
    """
    network, vocabulary, notes = model.model, model.vocabulary, list[str]()
    first = network.members[0] if isinstance(network, Mixture) else network
    assert isinstance(first, Forward)
    scorer = Scorer(
        network, vocabulary, on_unknown="charge", trained_chars=model.trained_chars, exact=True
    )
    passage, layers, curve = None, list[LayerUnits](), list[ContextScore]()
    text = vocabulary.to_piece(text, "charge")[: wanted_length(network)]
    ids = scorer.encode(text).ids
    try:
        stage("reading the passage")
        passage = read_passage(scorer, network, text[: passage_length(network)])
        if len(ids):
            followed = ids[: text_length(network)]
            r = correlations(first, followed, vocabulary.decode(followed))
            layers = [
                layer_units(_states(passage, first), r, layer)
                for layer in shown_layers(first.config.num_layers)
            ]
            if first is not network:
                notes.append("the hidden units are those of the first member")
        if context_work:
            stage("measuring the context curve")
            curve = _context(network, ids, context_work)
    except (OverflowedError, NothingToScoreError) as error:
        notes.append(str(error))
    stage("writing samples")
    return Measures(passage, text_name, layers, curve, samples(network, vocabulary), notes)


def _states(passage: Passage, first: Forward) -> Array:
    """Returns the states of a passage, (n, L, H); of a mixture, those of its first member."""
    layers, size = first.config.num_layers, first.config.state_size
    flat = passage.states.reshape(len(passage.states), -1)
    states = flat[:, : layers * size].reshape(-1, layers, size)
    return states[..., : first.config.hidden_size]


def _context(network: Predictor, ids: Ids, work: int) -> list[ContextScore]:
    """Returns a context curve; of a large model with fewer positions, and at last shorter."""
    config = network.config
    for_each = config.parameter_count() - config.gates * config.vocab_size * config.hidden_size
    for_each *= len(network.members) if isinstance(network, Mixture) else 1
    # of contexts that double, all together read twice the longest
    positions = work // (2 * LONGEST * for_each)
    positions = max(FEWEST_POSITIONS, min(MOST_POSITIONS, positions))
    longest = max(SHORTEST, min(LONGEST, work // (2 * positions * for_each)))
    return context_curve(network, ids, positions, longest=longest)


def samples(network: Predictor, vocabulary: Vocabulary) -> list[tuple[float, Piece]]:
    """Returns a text at each temperature; none of a model that overflows."""
    try:
        return [(t, sample(network, vocabulary, t, SAMPLE_LENGTH)) for t in TEMPERATURES]
    except CharrnnError:
        return []


def sample(network: Predictor, vocabulary: Vocabulary, temperature: float, length: int) -> Piece:
    """Returns what ``charrnn sample`` writes with these settings and without a prompt.

    Raises:
        OverflowedError: The model predicts nothing.
    """
    config = SamplingConfig(temperature=temperature, length=length, seed=SAMPLE_SEED)
    pieces: Any = generate(network, vocabulary, "", config)
    return vocabulary.to_piece("").join(pieces)
