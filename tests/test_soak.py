"""A short round of the soak; ``make soak`` runs it for an hour."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX")
def test_a_short_soak_finds_nothing_wrong() -> None:
    command = [sys.executable, str(Path(__file__).with_name("soak.py")), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert done.returncode == 0
    assert result["kills"] > 10 and result["reads"] > 100 and result["failed calls"] > 40
    assert result["damaged files refused"] + result["damaged files read"] == 40
