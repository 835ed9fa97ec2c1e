"""The ranks of ``charrnn train`` that torchrun starts: the first one is it, the others follow."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from charrnn.cli.shell import named_errors
from charrnn.cli.threads import set_threads
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TrainingError
from charrnn.training.launch import Launch, launch
from charrnn.training.workers import Workers, may_have_helpers, saved_workers, worker_count


def follows() -> bool:
    """Returns whether this process is a rank of ``train`` that does what the first one says."""
    try:
        return sys.argv[1:2] == ["train"] and launch().follows
    except TrainingError:  # `train` says so
        return False


def follow() -> None:
    """Follows the first rank, prints nothing, and ends; the options are the first rank's matter."""
    if {"-h", "--help"} & set(sys.argv):
        raise SystemExit(0)
    try:
        with named_errors("train with more ranks, or a smaller --hidden-size"):
            set_threads(None)
            silence_torch()
            from charrnn.training.follower import follow

            raise SystemExit(follow(launch()))
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None


def silence_torch() -> None:
    """Keeps torch from reporting connections: what matters is an error of ours."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is loaded


def check_ranks(started: Launch, training: Mapping[str, Any]) -> None:
    """Raises OptionError if a setting does not go with the number of ranks."""
    if started.size > 1 and training.get("workers") is not None:
        raise OptionError(
            f"--workers: there are {started.size} ranks, one worker each: leave --workers out"
        )
    if started.size > 1 and training.get("members", 1) > 1:
        raise OptionError(
            f"--members: {started.size} ranks train one model: leave --members out, or torchrun"
        )
    if started.size == 1 and training.get("average_every", 1) > 1:
        raise OptionError("--average-every: this is the only rank: start several with torchrun")


def team(
    started: Launch, model: Mapping[str, Any], training: Mapping[str, Any], *, resumed: Path | None
) -> Workers:
    """Returns what trains: all ranks, or this process with as many helpers as it will need.

    Helpers first: they load torch while this process does. A training file that is ``resumed`` says
    how many they are; else the text is taken to be large, with as many symbols as most.

    Raises:
        TrainingError: The ranks do not find each other, or the system refuses helpers.
    """
    config = TrainingConfig(**training)
    if started.size > 1:
        silence_torch()
        from charrnn.training.meeting import join

        ranks = join(started)
        ranks.threads = config.threads or 1
        return ranks
    count = 1
    if not resumed:
        count = worker_count(ModelConfig(**{"vocab_size": 100, **model}), config)
    elif may_have_helpers(config):
        count = config.workers or saved_workers(resumed)
    return Workers(count, config.threads or 1)
