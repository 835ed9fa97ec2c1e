"""A follower's life: a rank that is not the first does what that one says, and prints nothing."""

import json
import signal

import torch

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.network import CharRNN
from charrnn.training.launch import Launch
from charrnn.training.learner import Diverged, Learner
from charrnn.training.machines import Machines, Order
from charrnn.training.meeting import join
from charrnn.training.ranks import RankShares
from charrnn.training.shares import parameters_in
from charrnn.training.workers import WorkerDied


def follow(launch: Launch) -> int:
    """Joins the others and follows the first rank to its end; returns the exit code.

    Raises:
        TrainingError: The ranks did not find each other.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # ends this process while it waits for the others
    machines = join(launch)
    # from now on it ends with the first rank, which must save
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        obey(machines)
    except WorkerDied:
        return 1  # the first rank, if it could, has said why
    return 0


def obey(machines: Machines) -> None:
    """Does what the first rank says until it says that this is the end.

    Raises:
        WorkerDied: A rank has ended without a word.
    """
    learner: Learner | None = None
    while (order := machines.order()).kind != "end":
        if order.kind == "prepare":
            about = json.loads(machines.receive(int(order.numbers[0])).numpy().tobytes())
            model, config = ModelConfig(**about["model"]), TrainingConfig(**about["training"])
            machines.threads = config.threads or 1
            zeros = parameters_in(model, torch.zeros(model.parameter_count()))
            learner = Learner(CharRNN(model, zeros), config, machines)
            continue
        assert learner is not None and isinstance(learner.shares, RankShares)
        if order.kind == "restore":
            learner.spread(int(order.numbers[0]))
        elif order.kind == "average":
            learner.average_ranks()
        else:
            _update(learner, learner.shares, order)


def _update(learner: Learner, shares: RankShares, order: Order) -> None:
    try:
        learner.update(shares.batch(order), lr=order.numbers[2])
    except Diverged:
        # NaN spreads with the next average, so that the first rank notices, and rolls back
        learner.shares.weights.fill_(torch.nan)
