"""What errors and notes advise: only options that the command has that prints them."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from charrnn import errors
from charrnn.cli.app import app

PACKAGE = Path(errors.__file__).parent
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = {
    command: {name for param in COMMANDS[command].params for name in param.opts}
    for command in COMMANDS
}
TRAIN, SAMPLE, EVAL, REPORT = {"train"}, {"sample"}, {"eval"}, {"report"}
# the commands that run a file's code; the first that fits
RUN_BY = (
    ("report/|cli/report", REPORT),
    ("text/(opening|spool|dataset|batches|survey|holdout|origin|order)", TRAIN),
    ("text/vocabulary", SAMPLE | EVAL),
    ("text/", TRAIN | EVAL),
    ("training/|store/(history|transfer)|display/live", TRAIN),
    ("store/|model/", TRAIN | SAMPLE | EVAL),
    ("sampling/|cli/sample", SAMPLE),
    ("scoring/|cli/evaluate|display/(scores|heatmap)", EVAL),
    ("cli/train", TRAIN),
)
# an option that the user gave, or advice to use another command than this one
ELSEWHERE = (
    r"^--[a-z-]+: |train (on (its )?bytes )?with --unit byte|charrnn train \S*|train --resume|"
    r"charrnn (sample|eval)( --[a-z-]+| \{\})*"
)


def strings(path: Path) -> list[str]:
    """Returns a file's string literals, with `{}` for what is put into them; no docstrings."""
    texts, inner = [], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr):
            inner |= {id(child) for child in ast.walk(node)}
        elif isinstance(node, ast.JoinedStr) and id(node) not in inner:
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            inner |= {id(value) for value in node.values}
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            texts.append(str(node.value))
    return texts


def files() -> list[tuple[Path, set[str]]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        commands = next((c for pattern, c in RUN_BY if re.match(pattern, name)), None)
        if commands is not None:
            found.append((path, commands))
    return found


@pytest.mark.parametrize(("path", "commands"), files(), ids=[path.stem for path, _ in files()])
def test_advice_names_options_of_the_command(path: Path, commands: set[str]) -> None:
    for text in strings(path):
        named = set(re.findall(r"--[a-z][a-z-]*[a-z]", re.sub(ELSEWHERE, "", text)))
        for command in commands:
            assert named <= OPTIONS[command], (text, command)


def test_every_option_that_is_named_anywhere_exists() -> None:
    every = set().union(*OPTIONS.values())
    for path in PACKAGE.rglob("*.py"):
        for text in strings(path):
            if "{}" not in text or "--{}" not in text:
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))
                assert named <= every | {"--version", "--help", "--long"}, (path, text)
