"""How an option is declared; the panels of ``--help``."""

from typing import Any

import typer

from charrnn.cli.values import complete_run, count

# panels of --help
TEXT, MODEL, TRAINING, STOP, RUN = "Text", "Model", "Training", "When to stop", "Run"
DRAWING, OUTPUT, SCORING = "Drawing", "Output", "Scoring"


def option(panel: str, text: str, default: object = None, **more: Any) -> Any:
    """Declares an option; ``default`` is only shown, ``more`` as for ``typer.Option``."""
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(help=text + shown, rich_help_panel=panel, **more)


def counting(panel: str, text: str, default: object = None) -> Any:
    """Declares an option whose value is a count: 5000, 5k or 1.5M."""
    return option(panel, text, default, parser=count)


def naming_run(panel: str, text: str, default: object = None) -> Any:
    """Declares an option whose value names a run, which the shell can complete."""
    return option(panel, text, default, autocompletion=complete_run)


def flag(panel: str, name: str, text: str) -> Any:
    """Declares an option without a value."""
    return typer.Option(f"--{name}", help=text, rich_help_panel=panel)
