"""Loads data/grammar.py, which is no part of the package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

DATA = Path(__file__).parents[1] / "data"


def load_grammar() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grammar", DATA / "grammar.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["grammar"] = module
    spec.loader.exec_module(module)
    return module
