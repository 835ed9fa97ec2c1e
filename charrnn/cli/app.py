"""The Typer app with its commands, and how it runs."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

import charrnn
from charrnn.cli.evaluate import evaluate
from charrnn.cli.ranks import follow, follows
from charrnn.cli.report import report
from charrnn.cli.runs import list_runs
from charrnn.cli.sample import sample
from charrnn.cli.shell import (
    end_at_once,
    end_on_broken_pipe,
    keep_closed_streams_closed,
    whole_output,
)
from charrnn.cli.train import train
from charrnn.cli.usage import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train character-level RNN language models, sample from them, score texts with them.",
    epilog="First steps: charrnn train corpus.txt; charrnn sample 'I had'; "
    "charrnn eval corpus.txt; charrnn report > corpus.html",
)
app.command()(train)
app.command()(sample)
app.command("eval")(evaluate)
app.command("runs")(list_runs)
app.command()(report)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"charrnn {charrnn.__version__}")
        raise typer.Exit()


def main(clock: Callable[[], float]) -> None:
    """Runs the command line; ``clock`` shows how many seconds ago the program began."""
    keep_closed_streams_closed()
    if follows():
        follow()
    if "train" not in sys.argv[1:2]:  # training must survive the reader of its output
        end_on_broken_pipe()
    try:
        with whole_output():
            app(prog_name="charrnn", obj=clock)
    finally:
        end_at_once()
