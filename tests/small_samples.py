"""Small models that prefer some characters, and what they write."""

from typing import Any

import torch

from charrnn.config import ModelConfig, SamplingConfig
from charrnn.model.forward import Forward
from charrnn.model.network import CharRNN
from charrnn.sampling.generate import generate
from charrnn.text.vocabulary import Piece, Vocabulary

ABC = Vocabulary.of_text("abc")
LETTERS = Vocabulary.of_text("\n abcdefghij")
BYTES = Vocabulary.of_bytes()


def model_of(vocabulary: Vocabulary, **options: Any) -> Forward:
    """Returns a model that prefers some characters clearly."""
    config = ModelConfig(len(vocabulary), vocabulary.unit, **{"hidden_size": 12, **options})
    model = CharRNN(config)
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.normal_(std=0.8)
        for layer in model.layers:
            layer.b.normal_(std=0.2)
    return model.in_numpy()


def written(model: Forward, vocabulary: Vocabulary, prompt: Piece = "", **options: Any) -> Any:
    config = SamplingConfig(**{"length": 60, "seed": 3, **options})
    return vocabulary.to_piece("").join(generate(model, vocabulary, prompt, config))


def config(**options: Any) -> SamplingConfig:
    return SamplingConfig(**{"temperature": 1.0, **options})
