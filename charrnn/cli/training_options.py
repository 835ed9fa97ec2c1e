"""The options of a training, declared once: what the model is, how it learns, when it stops.

An option that is not set is ``None`` here: the defaults live in :mod:`charrnn.config`.
"""

from typing import Annotated, Any

from charrnn import config
from charrnn.cli.declaring import MODEL, RUN, STOP, TRAINING, counting, flag, naming_run, option
from charrnn.cli.values import seconds, steps_or_seconds
from charrnn.config import ModelConfig, TrainingConfig

M, T = ModelConfig, TrainingConfig

# of a new model

HiddenSize = Annotated[
    int | None,
    counting(
        MODEL,
        "Units of each hidden state.",
        f"{M.hidden_size}; with --max-time, 128 to 384 by text and time",
    ),
]
NumLayers = Annotated[int | None, option(MODEL, "Layers of the equation.", M.num_layers)]
Cell = Annotated[
    config.Cell | None,
    option(MODEL, "What computes h_t: the plain equation, or a cell with gates.", M.cell),
]
Nonlinearity = Annotated[
    config.Nonlinearity | None, option(MODEL, "The equation's f.", M.nonlinearity)
]
Dropout = Annotated[
    float | None,
    option(
        MODEL,
        "Share of each layer's outputs set to 0 in training.",
        f"{M.dropout}; 0.05 to 0.15 if the text is read often",
    ),
]
Members = Annotated[
    int | None,
    option(
        MODEL,
        "Models of different seeds, 1 to 16, that train at once and are used as one.",
        f"{T.members}; 2 or 4 if --max-time allows, unless a size is given",
    ),
]
InitFrom = Annotated[
    str | None, naming_run(MODEL, "Start from this model's weights, and with its shape.")
]
KeepCharacters = Annotated[
    bool, flag(MODEL, "keep-characters", "Keep the characters of --init-from that the text lacks.")
]

# of training

BatchSize = Annotated[
    int | None,
    counting(
        TRAINING,
        "Streams of text read side by side.",
        f"{T.batch_size}; fewer for a small text, 64 if --max-time chooses 384 units",
    ),
]
SeqLen = Annotated[
    int | None,
    counting(
        TRAINING,
        "Characters of a stream per update; gradients reach no further.",
        f"{T.seq_len}; fewer for a small text or a short time",
    ),
]
LearningRate = Annotated[
    float | None,
    option(
        TRAINING,
        "Peak learning rate.",
        f"{T.learning_rate}; 0.003 if at least 6 million characters are read, 0.0015 if a small "
        "text takes dropout 0.15 by then; higher if the hidden size is below 128",
    ),
]
Optimizer = Annotated[
    config.Optimizer | None,
    option(TRAINING, "How a gradient changes the weights; adamw: as torch's.", T.optimizer),
]
GradClip = Annotated[
    float | None, option(TRAINING, "Clip the gradient to this norm; 0: no clipping.", T.grad_clip)
]
WeightDecay = Annotated[
    float | None, option(TRAINING, "The weight decay, of matrices only.", T.weight_decay)
]
TrainingSeed = Annotated[
    int | None, option(TRAINING, "Seed of the initial weights and of dropout.", T.seed)
]
EvalEvery = Annotated[
    int | None,
    counting(TRAINING, "Steps between evaluations.", "by the text's size, or by the clock"),
]
Workers = Annotated[
    int | None,
    counting(TRAINING, "Processes that train, each with its streams.", "one a core, if it pays"),
]
Precision = Annotated[
    config.Precision | None,
    option(TRAINING, "Number format of states and products; auto: fp32.", T.precision),
]
AverageEvery = Annotated[
    int | None,
    counting(
        TRAINING, "With torchrun: updates that a rank makes before an average.", T.average_every
    ),
]
Device = Annotated[str | None, option(TRAINING, "Where to compute: cpu, cuda ...", T.device)]
MaxTime = Annotated[
    float | None,
    option(
        STOP,
        "Stop after this time: 90s, 5m, 1h; chooses what fits.",
        parser=seconds,
        metavar="TIME",
    ),
]
Steps = Annotated[int | None, counting(STOP, "Stop after N updates.")]
MORE_EPOCHS = f"up to {config.ENOUGH_EPOCHS} to reach {config.DEFAULT_MIN_STEPS:,} steps"
Epochs = Annotated[
    float | None,
    option(STOP, "Stop after N passes over the text.", f"{config.DEFAULT_EPOCHS}; {MORE_EPOCHS}"),
]
Patience = Annotated[
    int | None, counting(STOP, "Stop after N evaluations without a new best; 0: never.", T.patience)
]

# of a run

Name = Annotated[str | None, naming_run(RUN, "The run's name.", "the source's")]
Resume = Annotated[
    bool, flag(RUN, "resume", "Resume a run exactly where it stopped; without --name the newest.")
]
SaveEvery = Annotated[
    Any,
    option(
        RUN,
        "Time (30s, 5m) or steps (500) between saves.",
        f"{T.save_every_s:.0f}s",
        parser=steps_or_seconds,
        metavar="TIME|STEPS",
    ),
]
KeepEvery = Annotated[
    int | None,
    counting(RUN, "Steps between models kept in files of their own, model-step-N.safetensors."),
]
Report = Annotated[
    bool,
    flag(RUN, "report", "At evaluations, write report.html into the run's folder: a live page."),
]
Quiet = Annotated[bool, flag(RUN, "quiet", "Print nothing but errors.")]
