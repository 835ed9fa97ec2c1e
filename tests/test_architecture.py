"""The rooms of the house: who imports whom, what is loaded when, and that all is explained."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from charrnn import errors
from charrnn.cli.app import app
from charrnn.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig

PACKAGE = Path(errors.__file__).parent
# each room imports only rooms above it
ROOMS = [
    "errors",
    "config",
    "vocabulary",
    "corpus",
    "survey",
    "batches",
    "kernels",
    "cell",
    "model",
    "optimizer",
    "checkpoint",
    "training",
    "planning",
    "runs",
    "sampling",
    "evaluation",
    "memory",
    "display",
    "cli",
]
# outsiders, and the only rooms that may know them
GUESTS = {
    "rich": {"display", "cli"},
    "typer": {"cli"},
    "datasets": {"corpus"},
    "safetensors": {"checkpoint"},
}
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
CONFIGS: dict[str, tuple[type, ...]] = {
    "train": (TrainingConfig, ModelConfig, DataConfig),
    "sample": (SamplingConfig,),
    "eval": (DataConfig,),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def tree(room: str) -> ast.Module:
    """Returns a room's source, parsed."""
    return ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))


def imports(room: str) -> set[str]:
    """Returns the full names of all that a room imports, wherever in the file."""
    return imported(ast.walk(tree(room)))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Returns the full names of all that some nodes import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(room: str) -> set[str]:
    """Returns the rooms that a room imports."""
    names = (name.split(".") for name in imports(room))
    return {parts[1] for parts in names if parts[0] == "charrnn" and len(parts) > 1}


def test_the_files_are_the_rooms() -> None:
    found = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    assert found == {*ROOMS, "__init__", "__main__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    assert rooms_imported(room) <= set(ROOMS[: ROOMS.index(room)])


def test_the_package_itself_imports_no_room() -> None:
    assert rooms_imported("__init__") == set()
    assert rooms_imported("__main__") == {"cli"}


@pytest.mark.parametrize("guest", GUESTS)
def test_an_outsider_is_known_to_its_rooms_only(guest: str) -> None:
    knowing = {room for room in ROOMS if guest in {name.split(".")[0] for name in imports(room)}}
    assert knowing <= GUESTS[guest]


@pytest.mark.parametrize("room", ["errors", "config", "vocabulary", "corpus", "display", "cli"])
def test_a_room_without_torch(room: str) -> None:
    at_top = [node for node in tree(room).body if isinstance(node, ast.Import | ast.ImportFrom)]
    nodes = ast.walk(tree(room)) if room == "config" else at_top
    assert not {name.split(".")[0] for name in imported(nodes)} & {"torch", "datasets"}


# --- what is loaded when

LOADED = """
import json, sys
from typer.testing import CliRunner
from charrnn.cli.app import app
for args in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, args, input="I had coffee")
    assert result.exit_code == {code}, (args, result.stderr, result.exception)
heavy = ("torch", "datasets", "pyarrow", "pandas")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def loaded(*commands: list[str], code: int = 0) -> list[str]:
    """Returns the large packages that a fresh process has loaded after some commands."""
    program = LOADED.replace("{code}", str(code))
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_help_and_version_load_nothing_large() -> None:
    helps = [[command, "--help"] for command in COMMANDS]
    assert loaded() == []
    assert loaded(["--help"], ["--version"], *helps) == []


def test_wrong_usage_shows_before_anything_large_is_loaded() -> None:
    wrong = ["train", "x", "--hidden-size", "0"], ["sample", "--count", "0"], ["train"]
    assert loaded(*wrong, code=2) == []


def test_sample_and_eval_load_torch_but_not_datasets(story: Path, tmp_path: Path) -> None:
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--steps", "1"]
    train = ["train", str(story), "--runs", str(tmp_path / "runs"), *tiny]
    one = ["--runs", str(tmp_path / "runs")]
    assert loaded(train, ["sample", *one], ["eval", *one], ["eval", *one, str(story)]) == ["torch"]


# --- everything is explained


def public(node: ast.AST, path: str) -> Iterator[tuple[str, str | None]]:
    """Yields the path and the docstring of a definition and of all public ones inside."""
    assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    yield path, ast.get_docstring(node)
    if isinstance(node, ast.Module | ast.ClassDef):
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        for child in node.body:
            if isinstance(child, kinds) and not child.name.startswith("_"):
                yield from public(child, f"{path}.{child.name}")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_every_public_name_has_a_docstring(path: Path) -> None:
    missing = [
        name
        for name, text in public(ast.parse(path.read_text(encoding="utf-8")), path.stem)
        if not text
    ]
    assert missing == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_option_has_help(command: str) -> None:
    assert COMMANDS[command].help
    said = {p.name: (p.help or "").split("[dim]")[0] for p in COMMANDS[command].params}
    missing = [name for name, text in said.items() if not text.strip()]
    assert missing == []
    assert all(p.rich_help_panel for p in COMMANDS[command].params if p.param_type_name == "option")


def shown_defaults(command: str) -> dict[str, str]:
    """Returns what ``--help`` says of each option's default."""
    wide = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    text = CliRunner().invoke(app, [command, "--help"], env=wide).stdout
    rows = re.findall(r"--([a-z-]+) .*\[default: (.*?)\]", text)
    return {option.replace("-", "_"): default for option, default in rows}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_default_that_is_shown_is_the_dataclasses(command: str) -> None:
    options = {param.name for param in COMMANDS[command].params}
    kept = {
        field.name: str(field.default)
        for config in CONFIGS[command]
        for field in fields(config)
        if field.name in options
        and field.default not in (None, (), "\n")
        and field.name != "dropout"
    }
    assert kept
    if command == "train":
        kept["save_every"] = f"{TrainingConfig.save_every_s:.0f}s"
    shown = shown_defaults(command)
    assert {name: shown.get(name) for name in kept} == kept


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_of_a_users_config_is_an_option(command: str) -> None:
    inner = {"vocab_size", "block_chars", "final_learning_rate", "warmup", "save_every_s"}
    inner |= {"max_val_chars"}
    if command == "eval":
        # the model knows its unit and its vocabulary
        inner |= {"unit", "val_fraction", "min_count", "vocabulary_from"}
    options = {param.name for param in COMMANDS[command].params}
    names = {field.name for config in CONFIGS[command] for field in fields(config)}
    assert names - inner <= options


ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_a_charrnn_error(kind: type[errors.CharrnnError]) -> None:
    assert issubclass(kind, errors.CharrnnError)
    assert kind.exit_code == (2 if issubclass(kind, errors.OptionError) else 1)
