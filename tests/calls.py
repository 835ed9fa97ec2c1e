"""Calls of the command line, within this process."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from typer.main import get_command
from typer.testing import CliRunner, Result

from charrnn.cli.app import app

SMALL = ("--hidden-size", "8", "--num-layers", "1")
TINY = (*SMALL, "--steps", "5")


def call(*args: object, stdin: str | bytes | None = None, **env: str) -> Result:
    """Runs ``charrnn`` with some arguments."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, env=env)


def succeed(*args: object, stdin: str | bytes | None = None, **env: str) -> Result:
    """Runs ``charrnn``, which must do what it was asked for."""
    result = call(*args, stdin=stdin, **env)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result


def fail(*args: object, stdin: str | bytes | None = None, code: int = 1) -> str:
    """Runs ``charrnn``, which must end with one line on standard error; returns it."""
    result = call(*args, stdin=stdin)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("charrnn: ")
    assert result.stderr.count("\n") == 1, result.stderr
    here = re.sub("train (on (its )?bytes )?with --unit byte", "", result.stderr)
    offered = set(re.findall(r"--[a-z][a-z-]*", here))
    assert offered <= options(str(args[0])), "an error offers options that the command lacks"
    return result.stderr


def options(command: str) -> set[str]:
    """Returns the options of a command."""
    group: Any = get_command(app)
    names = {name for param in group.commands[command].params for name in param.opts}
    return names | {"--help"}


def shown_defaults(command: str) -> dict[str, str]:
    """Returns each option's default as ``--help`` prints it."""
    text = call(command, "--help", COLUMNS="400", TERMINAL_WIDTH="400").stdout
    rows = re.findall(r"--([a-z-]+) .*\[default: (.*?)\]", text)
    return {option.replace("-", "_"): default for option, default in rows}


def contents(runs: Path) -> list[Path]:
    """Returns the paths of all that a folder of runs holds."""
    return sorted(runs.rglob("*"))


def metadata(model: Path, key: str) -> Any:
    """Returns a JSON value of a model file's metadata."""
    with safe_open(model, framework="np") as file:
        return json.loads(file.metadata()[key])
