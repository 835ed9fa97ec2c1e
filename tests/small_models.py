"""Small models, for the tests of all that reads one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import ModelConfig
from charrnn.model.forward import Forward
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint, load
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.start import Request, start


def model_of(vocabulary: Vocabulary, **options: Any) -> Forward:
    """Returns a model that is often wrong, and sure of it."""
    config = ModelConfig(len(vocabulary), vocabulary.unit, **{"hidden_size": 8, **options})
    model = CharRNN(config)
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.normal_()
    return model.in_numpy()


def constant_model(vocabulary: Vocabulary, b_y: Iterable[float]) -> Forward:
    """Returns a model that gives the same probabilities whatever it reads."""
    config = ModelConfig(len(vocabulary), hidden_size=1, num_layers=1)
    shapes = config.parameter_shapes()
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights["output.b_y"][:] = list(b_y)
    return Forward(config, weights)


def trained_on(text: str, folder: Path) -> Checkpoint:
    """Returns a model that has read a text twice."""
    (folder / "text").write_text(text)
    training = {"batch_size": 8, "seq_len": 32, "epochs": 2.0, "eval_every": 10**6}
    request = Request([str(folder / "text")], folder, training=training, model={"hidden_size": 32})
    *_, finished = start(request).events()
    return load(finished.model_path)
