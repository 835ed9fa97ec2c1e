"""The architecture: what imports what, how large files are, what is loaded when, what has help."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from calls import shown_defaults
from texts import DATA
from typer.main import get_command

from charrnn import errors
from charrnn.cli.app import app
from charrnn.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig
from charrnn.store.checkpoint import Checkpoint

PACKAGE = Path(errors.__file__).parent
# each wing imports only wings above it
WINGS = [
    "errors",
    "system",
    "likely",
    "config",
    "fields",
    "text",
    "model",
    "store",
    "sampling",
    "scoring",
    "training",
    "report",
    "interface",
    "display",
    "cli",
]
# libraries, and the only files (or whole wings) that may import them
LIBRARIES = {
    "torch": {
        *("model/cell", "model/device", "model/gated", "model/gated_loops", "model/loops"),
        *("model/network", "model/on_device"),
        *("model/precision", "model/products", "training", "interface/training"),
    },
    "rich": {"display", "cli"},
    "typer": {"cli"},
    "datasets": {"text/arrow_rows", "text/hub"},
    "huggingface_hub": {"text/hub"},
    "pyarrow": {"text/arrow_rows"},
    "backports": {"text/compressed"},
    "safetensors": {"store/checkpoint", "training/recorder"},
    "matplotlib": {"report"},
    "PIL": {"report"},
    "jinja2": {"report"},
    "threadpoolctl": {"interface/threads"},
}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 300, 60, 7
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
CALLBACKS = {command.callback.__name__ for command in COMMANDS.values()}
CONFIGS: dict[str, tuple[type, ...]] = {
    "train": (TrainingConfig, ModelConfig, DataConfig),
    "sample": (SamplingConfig,),
    "eval": (DataConfig,),
    "runs": (),
    "report": (),
}
PATHS = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FILES = [name for name in PATHS if not name.endswith(("__init__", "__main__"))]


def tree(file: str) -> ast.Module:
    """Returns a file's source, parsed."""
    return ast.parse(PATHS[file].read_text(encoding="utf-8"))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Returns the full names of all that some nodes import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports(file: str) -> set[str]:
    """Returns the full names of all that a file imports, anywhere in it."""
    return imported(ast.walk(tree(file)))


def files_imported(file: str) -> set[str]:
    """Returns the files that a file imports."""
    paths = (
        name.removeprefix("charrnn.").split(".") for name in imports(file) if "charrnn." in name
    )
    return {"/".join(path[:2]) if "/".join(path[:2]) in PATHS else path[0] for path in paths}


def wing(file: str) -> str:
    return file.split("/")[0]


# --- wings, files, libraries


def test_every_file_is_in_a_wing() -> None:
    assert {wing(file) for file in FILES} == set(WINGS)
    assert all(file.count("/") <= 1 for file in FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_wings_above_its_own(file: str) -> None:
    above = set(WINGS[: WINGS.index(wing(file)) + 1])
    assert {wing(other) for other in files_imported(file)} - {"__init__"} <= above


def test_no_imports_form_a_cycle() -> None:
    order = list(TopologicalSorter({file: files_imported(file) for file in FILES}).static_order())
    assert set(FILES) <= set(order)


# how a text is found and read, which only the dataset imports
INNER = {f"text/{name}" for name in ("sources", "spool", "plain", "rows", "survey", "corpus")}
INNER |= {f"text/{name}" for name in ("formats", "folders", "compressed", "recognize", "notes")}
INNER |= {
    f"text/{name}" for name in ("arrow_rows", "csv_rows", "json_rows", "hub", "tables", "settings")
}
INNER |= {f"text/{name}" for name in ("holdout", "order")}


@pytest.mark.parametrize("file", [file for file in FILES if wing(file) in ("training", "store")])
def test_training_knows_its_texts_by_their_dataset_only(file: str) -> None:
    assert files_imported(file) & INNER == set()


@pytest.mark.parametrize("name", [name for name in PATHS if name.endswith("/__init__")])
def test_a_wing_itself_imports_nothing(name: str) -> None:
    assert imports(name) == set()


def test_the_package_loads_its_interface_only_when_it_is_asked_for() -> None:
    code = "import sys, charrnn; print([m for m in sys.modules if m.startswith('charrnn.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_by_its_files_only(library: str) -> None:
    importing = {
        file for file in FILES if library in {name.split(".")[0] for name in imports(file)}
    }
    assert importing
    assert {file for file in importing if not {file, wing(file)} & LIBRARIES[library]} == set()


# --- sizes


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_not_too_large(file: str) -> None:
    assert len(PATHS[file].read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def functions(file: str) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", FILES)
def test_a_function_is_not_too_long_and_takes_not_too_much(file: str) -> None:
    """The declarations of a command's options aside."""
    for function in functions(file):
        is_command = file.startswith("cli/") and function.name in CALLBACKS
        start = function.body[0].lineno if is_command else function.lineno
        assert (function.end_lineno or 0) - start < LONGEST_FUNCTION, function.name
        args = function.args
        parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        count = sum(parameter is not None for parameter in parameters)
        assert is_command or count <= MOST_PARAMETERS, function.name


# --- what is loaded when

LOADED = """
import json, os, sys
from importlib.abc import MetaPathFinder
class OneThreadAProduct(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        assert name != "numpy" or os.environ["OPENBLAS_NUM_THREADS"] == "1", "set too late"
sys.meta_path.insert(0, OneThreadAProduct())
from typer.testing import CliRunner
from charrnn.cli.app import app
for args in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, args, input="I had coffee")
    assert result.exit_code == {code}, (args, result.stderr, result.exception)
large = ("torch", "numpy", "datasets", "pyarrow", "pandas", "safetensors", "rich", "pydantic")
large += ("matplotlib", "jinja2", "PIL")
print(json.dumps([name for name in large if name in sys.modules]))
"""


def loaded(*commands: list[str], code: int = 0) -> list[str]:
    """Returns the large packages that a fresh process has loaded after some commands."""
    program = LOADED.replace("{code}", str(code))
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def test_help_and_version_load_nothing_large() -> None:
    """But rich, which draws the help."""
    helps = [[command, "--help"] for command in COMMANDS]
    assert loaded(["--version"]) == []
    assert loaded(["--help"], *helps) == ["rich"]


def test_wrong_usage_shows_before_anything_large_is_loaded() -> None:
    wrong = [
        ["train"],
        ["train", "x", "--hidden-size", "0"],
        ["train", "x", "--unit", "word"],
        ["train", "x", "--hiden-size", "3"],
        ["train", "x", "--steps"],
        ["trian"],
        ["train", "x", "--encoding", "klingon"],
        ["train", "x", "--steps", "1", "--max-time", "1s"],
        ["train", "--resume", "a", "b"],
        ["sample", "--count", "0"],
        ["sample", "--prompt", "a", "--prompts", "b"],
        ["eval", "--encoding", "klingon"],
        ["eval", "--per-line", "--per-char"],
        ["report", "--output", "/nowhere/page.html"],
    ]
    assert loaded(*wrong, code=2) == []


# every command but `train`, in all its forms
FORMS = [
    ["sample", "--length", "1"],
    ["sample", "--prompt", "I had", "--count", "3", "--stop", "."],
    ["sample", "--json", "--length", "2"],
    ["sample", "--prompts", "-", "--top-p", "0.9"],
    ["eval"],
    ["eval", "--json", "--exact"],
    ["eval", "--per-line"],
    ["eval", "--per-line", "--carry", "--json"],
    ["eval", "--per-char"],
    ["eval", "--context-curve"],
    ["eval", "--on-unknown", "skip", str(DATA / "coffee.txt")],
    ["eval", "--format", "csv", "--no-header"],
]


def test_no_command_but_train_loads_torch_nor_rich_nor_datasets(trained: Checkpoint) -> None:
    model, path = ["--model", str(trained.path)], str(trained.path)
    forms = [*([*form, *model] for form in FORMS), ["runs", "--json"], ["runs", path, "--card"]]
    assert {form[0] for form in forms} == COMMANDS.keys() - {"train", "report"}
    assert loaded(*forms) == ["numpy", "safetensors"]


def test_eval_loads_torch_to_adapt(trained: Checkpoint) -> None:
    names = loaded(["eval", "--adapt", "--model", str(trained.path)])
    assert names == ["torch", "numpy", "safetensors"]


def test_a_report_loads_what_draws_it(trained: Checkpoint, tmp_path: Path) -> None:
    form = ["report", str(trained.path), "--output", str(tmp_path / "page.html")]
    assert loaded(form) == ["numpy", "safetensors", "matplotlib", "jinja2", "PIL"]


def test_a_heat_map_alone_loads_rich(trained: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    names = loaded(["eval", "--heatmap", "--model", str(trained.path)])
    assert names == ["numpy", "safetensors", "rich"]


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


@pytest.mark.parametrize("name", PATHS)
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert [path for path, text in public(tree(name), name) if not text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_option_has_help(command: str) -> None:
    assert COMMANDS[command].help
    texts = {p.name: (p.help or "").split("[dim]")[0] for p in COMMANDS[command].params}
    assert [name for name, text in texts.items() if not text.strip()] == []
    assert all(p.rich_help_panel for p in COMMANDS[command].params if p.param_type_name == "option")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_default_that_is_shown_is_the_dataclasses(command: str) -> None:
    options = {param.name for param in COMMANDS[command].params}
    defaults = {
        field.name: str(field.default)
        for config in CONFIGS[command]
        for field in fields(config)
        if field.name in options
        and field.default not in (None, (), "\n")
        and field.default is not False
    }
    assert defaults or not CONFIGS[command]
    if command == "train":
        defaults["save_every"] = f"{TrainingConfig.save_every_s:.0f}s"
    if command == "eval":
        del defaults["encoding_errors"], defaults["newlines"]  # --on-unknown, the model
    # what is chosen by the text or the time stands behind a semicolon
    shown = {name: text.partition("; ")[0] for name, text in shown_defaults(command).items()}
    assert {name: shown.get(name) for name in defaults} == defaults


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_of_a_users_config_is_an_option(command: str) -> None:
    inner = {"vocab_size", "block_chars", "final_learning_rate", "warmup", "save_every_s"}
    inner |= {"max_val_chars", "hold_out"}  # --split lines
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
