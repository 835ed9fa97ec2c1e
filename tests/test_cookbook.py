"""Every line of the README's pipelines, run by a shell."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
from texts import DATA

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## In a pipeline") : README.index("## The commands")]
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", SECTION, re.S) for line in block.splitlines()
]
# trains a small model, for a second instead of minutes
PROGRAM = """#!/bin/sh
case "$1 $*" in
  train*--resume*) set -- "$@" --quiet --max-time 2s ;;
  train*) set -- "$@" --quiet --max-time 1s --hidden-size 8 ;;
esac
exec "{python}" -m charrnn "$@"
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the lines name, and a trained model."""
    folder = tmp_path_factory.mktemp("desk")
    program = folder / "bin" / "charrnn"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    text = (DATA / "coffee.txt").read_text()[:6000]
    for name in ("corpus.txt", "draft.txt", "novel.txt", "access.log", "chapters/1.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "names.tsv").write_text("I had\t1\nShe\t2\n")
    subprocess.run(
        [program, "train", "corpus.txt"], cwd=folder, env=environment(folder), check=True
    )
    return folder


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def run(line: str, folder: Path) -> str:
    """Runs a line; one that follows a file for ever is ended once it has printed something."""
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        if "tail -f" in line:
            end = Timer(60, os.killpg, (process.pid, signal.SIGTERM))
            end.start()
            out = process.stdout.readline()
            end.cancel()
            os.killpg(process.pid, signal.SIGTERM)
            return out.decode()
        out, err = process.communicate(timeout=120)
        # a reader that has enough ends what writes
        fine = (0, 128 + signal.SIGPIPE) if "head" in line else (0,)
        assert process.returncode in fine, err.decode()
        assert b"Traceback" not in err
        return out.decode()


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_readme_runs_and_writes(line: str, desk: Path) -> None:
    out = run(line, desk)
    written = re.search(r" > ([\w.]+)\s*$", line.split("#")[0])
    assert (desk / written[1]).read_text() if written else out


def test_the_lines_are_there() -> None:
    assert len(LINES) > 10
    assert all("charrnn " in line for line in LINES)
