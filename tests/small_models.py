"""Small models, for the tests of all that reads one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from charrnn.config import ModelConfig
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint, load
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.start import Request, start


def model_of(vocabulary: Vocabulary, **options: Any) -> CharRNN:
    """Returns a model that is often wrong, and sure of it."""
    config = ModelConfig(len(vocabulary), vocabulary.unit, **{"hidden_size": 8, **options})
    model = CharRNN(config).eval()
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.normal_()
    return model


def constant_model(vocabulary: Vocabulary, b_y: Iterable[float]) -> CharRNN:
    """Returns a model that gives the same probabilities whatever it reads."""
    model = CharRNN(ModelConfig(len(vocabulary), hidden_size=1, num_layers=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output.b_y.copy_(torch.tensor(list(b_y)))
    return model


def trained_on(text: str, folder: Path) -> Checkpoint:
    """Returns a model that has read a text twice."""
    (folder / "text").write_text(text)
    training = {"batch_size": 8, "seq_len": 32, "epochs": 2.0, "eval_every": 10**6}
    request = Request([str(folder / "text")], folder, training=training, model={"hidden_size": 32})
    *_, finished = start(request).events()
    return load(finished.model_path)
