"""charrnn: character-level RNN language models, on the command line and in Python.

The equation is in :mod:`charrnn.model.cell`; the command line in :mod:`charrnn.cli`; the Python
interface is what :data:`__all__` names, loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.errors import CharrnnError
    from charrnn.interface.model import Model, load, runs
    from charrnn.interface.training import train
    from charrnn.scoring.reports import Score
    from charrnn.store.runs import Run
    from charrnn.training.events import (
        Evaluated,
        Event,
        Finished,
        RolledBack,
        SaveFailed,
        Stepped,
    )

__version__ = "0.1.0"
__all__ = [
    "CharrnnError",
    "Evaluated",
    "Event",
    "Finished",
    "Model",
    "RolledBack",
    "Run",
    "SaveFailed",
    "Score",
    "Stepped",
    "__version__",
    "load",
    "runs",
    "train",
]
# where each of them is
_PLACES = {
    "errors": ("CharrnnError",),
    "interface.model": ("Model", "load", "runs"),
    "interface.training": ("train",),
    "scoring.reports": ("Score",),
    "store.runs": ("Run",),
    "training.events": ("Evaluated", "Event", "Finished", "RolledBack", "SaveFailed", "Stepped"),
}


if not TYPE_CHECKING:  # which would take any name for one

    def __getattr__(name: str) -> Any:
        """Returns a part of the interface."""
        from importlib import import_module

        for place, names in _PLACES.items():
            if name in names:
                return getattr(import_module(f"charrnn.{place}"), name)
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the names of the interface."""
    return __all__
