"""The Typer app, its commands, main."""

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

import charrnn

if TYPE_CHECKING:
    pass

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train character-level RNN language models, sample from them, score texts with them.",
    epilog="First steps: charrnn train corpus.txt; charrnn sample --prompt 'I had'; "
    "charrnn eval corpus.txt",
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        print(f"charrnn {charrnn.__version__}")
        raise typer.Exit()


def main() -> None:
    """Runs the command line."""
    if hasattr(signal, "SIGPIPE") and "train" not in sys.argv[1:2]:
        # a reader that goes away ends us quietly, as it ends any filter; training must survive it
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        app()
    finally:
        if "pyarrow" in sys.modules:
            _leave_at_once()


def _leave_at_once() -> None:
    """Ends the process where Arrow was used: its threads may wait for each other for ever."""
    error = sys.exception()
    if isinstance(error, SystemExit):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
