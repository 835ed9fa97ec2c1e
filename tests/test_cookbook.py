"""Every line of the README's pipelines, run by a shell."""

import json
import os
import re
import select
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
RECIPE = re.findall(r"^\$ (.*)", SECTION, re.M)  # to watch a log
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
        if "tail -F" in line:
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


# --- watching a log


@pytest.fixture(scope="module")
def log(desk: Path) -> Path:
    """The log, with an older part of it, of which a model was trained by the recipe."""
    lines = [f"10.0.0.{n % 9} GET /page/{n * n % 97} 200\n" for n in range(900)]
    (desk / "access.log.1").write_text("".join(lines))
    path = desk / "access.log"
    path.write_text("".join([*lines[:50], ODD, *lines[50:99]]))
    assert RECIPE[0].startswith("charrnn train access.log.1 ")
    run(RECIPE[0], desk)
    return path


ODD = "10.0.0.3 GET /☃☃☃/../../etc/passwd 400\n"


def test_the_odd_line_of_a_log_comes_first(log: Path) -> None:
    first, *_ = run(RECIPE[1], log.parent).splitlines(keepends=True)
    assert first.split("\t")[1] == ODD


def test_a_log_is_watched_through_a_rotation(log: Path) -> None:
    with subprocess.Popen(
        ["bash", "-c", RECIPE[2]],
        cwd=log.parent,
        env=environment(log.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # so that nothing waits unseen
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        end = Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        end.start()
        for symbol in ("☃", "☂"):  # before and after the rotation
            text = ""
            while symbol not in text:
                # what was written before it began to follow is not read
                while not select.select([process.stdout], [], [], 0.2)[0]:
                    with log.open("a") as stream:
                        stream.write("10.0.0.1 GET /page/4 200\n" + ODD.replace("☃", symbol))
                row = json.loads(process.stdout.readline())
                text = row["line"]
            assert text == ODD.replace("☃", symbol).rstrip("\n")
            assert row["unknown_chars"] > 3 and row["source"] == "standard input"
            log.rename(log.with_name("access.log.2"))
            log.write_text("")
        end.cancel()
        os.killpg(process.pid, signal.SIGTERM)
