"""What is written about the project is true of it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import charrnn
from charrnn.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = {
    name: {option for param in command.params for option in param.opts if option.startswith("--")}
    for name, command in COMMANDS.items()
}
TOP_LEVEL = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
PACKAGE = ROOT / "charrnn"
NOT_OURS = {"__pycache__", "runs", "dist", "build"}
OURS_THOUGH_HIDDEN = {".ci", ".gitignore"}
# written in two halves, or this file would be the first to be found
FOREIGN_PATHS = ["/" + "work/", "/" + "work\\b", "/" + "tmp/w\\b", "/" + "root\\b", "/" + "home/"]


def code_blocks(text: str) -> Iterator[list[str]]:
    """Yields the lines of each block of code, fenced or indented."""
    for fenced in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S):
        yield fenced.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.M | re.S)
    for indented in re.findall(r"(?:^ {4}[^\n]*\n)+", prose, re.M):
        yield [line[4:] for line in indented.replace("\\\n", " ").splitlines()]


def shell_lines(text: str) -> list[str]:
    """Returns the lines that a reader would type; in a block with prompts, those behind one."""
    lines = []
    for block in code_blocks(text):
        typed = [line[2:] for line in block if line.startswith("$ ")]
        lines += typed or [line for line in block if re.search(r"\b(charrnn|make) ", line)]
    return lines


def calls(line: str, program: str) -> Iterator[list[str]]:
    """Yields the arguments of each call of a program in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for i, word in enumerate(words):
        if word == program and (i == 0 or not words[i - 1].startswith("-")):
            args = words[i + 1 :]
            ends = (k for k, arg in enumerate(args) if set(arg) <= set("();<>|&"))
            yield args[: next(ends, len(args))]


def problems(text: str) -> list[str]:
    """Returns what is wrong with the calls of ``charrnn`` in a text's blocks of code."""
    wrong = []
    for line in shell_lines(text):
        for args in calls(line, "charrnn"):
            command = args[0] if args else ""
            if command in TOP_LEVEL:
                continue
            allowed = OPTIONS.get(command, set()) | {"--help", "-h"}
            used = {arg.split("=")[0] for arg in args if re.match(r"--?[a-z]", arg)}
            if command not in COMMANDS or used - allowed:
                wrong.append(line)
    return wrong


def test_every_call_in_the_readme_is_a_call_that_works() -> None:
    assert problems(README) == []
    assert any(list(calls(line, "charrnn")) for line in shell_lines(README))


@pytest.mark.parametrize(
    "wrong",
    [
        "charrnn lern x.txt",
        "charrnn train x.txt --hiden-size 3",
        "m=$(charrnn train x.txt --max-tim 5m) # so",
        "cat x | charrnn train - --nam y",
        "charrnn train x.txt; charrnn sample --promt x | head",
        "charrnn eval x.txt --hidden-size 3 > y",
    ],
)
def test_a_wrong_call_would_be_found(wrong: str) -> None:
    assert problems(f"```sh\n{wrong}\n```\n") == [wrong]
    assert problems(f"So:\n\n    {wrong}\n") == [wrong]
    assert problems(f"```\n$ {wrong}\ncharrnn: it's wrong\n```\n") == [wrong]


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.M))
    spans = [span for span in re.findall(r"`(make [^`]*)`", README) if "\n" not in span]
    named = {
        word
        for line in [*shell_lines(README), *spans]
        for args in calls(line, "make")
        for word in args
        if re.fullmatch(r"[a-z][\w-]*", word)
    }
    assert named and named <= targets


def missing_options(text: str) -> list[str]:
    """Returns the options of all commands that a text does not name."""
    options = set().union(*OPTIONS.values())
    return sorted(o for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", text))


def test_the_readme_names_every_command_and_every_option() -> None:
    assert missing_options(README) == []
    assert missing_options("`--models` x--stop") == missing_options("")
    assert [name for name in COMMANDS if f"charrnn {name}" not in README] == []


def wrong_files(text: str) -> dict[str, list[str]]:
    """Returns how the files in a text's table of wings differ from those of the package."""
    table = text.partition("| wing |")[2].partition("\n\n")[0]
    named = re.findall(r"`([\w/]+\.py)`", table)
    paths = (path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
    files = {path for path in paths if not path.endswith(("__init__.py", "__main__.py"))}
    differences = {
        "not in the README": sorted(files - set(named)),
        "not in charrnn/": sorted(set(named) - files),
        "named twice": sorted({name for name in named if named.count(name) > 1}),
    }
    return {what: names for what, names in differences.items() if names}


def test_the_readme_names_every_file_of_the_package_once() -> None:
    assert wrong_files(README) == {}
    lost = README.replace("`text/spool.py`", "`text/spoon.py`, `errors.py`")
    assert wrong_files(lost) == {
        "not in the README": ["text/spool.py"],
        "not in charrnn/": ["text/spoon.py"],
        "named twice": ["errors.py"],
    }


def test_links_in_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README)
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_readme_is_finished() -> None:
    assert not re.search(r"@@|TODO|TBD|FIXME", README)


def text_files() -> list[Path]:
    """Returns the project's own text files."""

    def ours(path: Path) -> bool:
        parts = path.relative_to(ROOT).parts
        hidden = any(p.startswith(".") and p not in OURS_THOUGH_HIDDEN for p in parts)
        return not hidden and not NOT_OURS & set(parts) and ".egg-info" not in str(path)

    paths = (path for path in sorted(ROOT.rglob("*")) if path.is_file() and ours(path))
    return [path for path in paths if b"\0" not in path.read_bytes()[:8192]]


def test_no_file_names_a_developers_machine() -> None:
    files = text_files()
    assert {"README.md", "Makefile", "pyproject.toml"} <= {path.name for path in files}
    pattern = re.compile("|".join(rf"(?<![\w./]){path}" for path in FOREIGN_PATHS))
    named = {
        path.relative_to(ROOT).as_posix(): match.group()
        for path in files
        if (match := pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert named == {}


def test_the_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.M)
    assert versions[0] == charrnn.__version__
