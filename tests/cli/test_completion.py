"""What bash offers for the word that is being typed, by the script that it is given."""

import shlex
import shutil
from pathlib import Path

import pytest
from processes import COMMAND, run

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

NAMES = ["-dash", "a$b", "co:lon", "it's", "my run", "plain"]
SCRIPT = """
eval "$(charrnn --show-completion)"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_charrnn_completion charrnn
printf '%s\\n' "${COMPREPLY[@]}"
exit
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, and ``charrnn`` as a command beside them."""
    place = tmp_path_factory.mktemp("place")
    for name in NAMES:
        run_folder = place / "runs" / name
        run_folder.mkdir(parents=True)
        (run_folder / "model.safetensors").touch()
    program = place / "bin/charrnn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    return place


def offered(place: Path, *words: str) -> list[str]:
    """Returns what bash offers for the last of the words into which it has cut a line."""
    line = " ".join(map(shlex.quote, ("charrnn", *words)))
    path = f'PATH={shlex.quote(str(place / "bin"))}:"$PATH"; cd {shlex.quote(str(place))}'
    # from a bash that waits for it: the script is for the shell that the command was started from
    done = run("bash", "-c", f"{path}; COMP_WORDS=({line})\n{SCRIPT}")
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_every_name_of_a_run_is_offered_as_one_word(place: Path) -> None:
    words = offered(place, "sample", "--model", "")
    assert [shlex.split(word) for word in words] == [[name] for name in NAMES]
    assert words == offered(place, "train", "--init-from", "")
    assert words == offered(place, "eval", "x.txt", "--runs", "runs", "--model", "")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("sample", "--model", "my\\ r"), "my\\ run"),
        (("sample", "--model", "'my"), "my run"),  # bash closes the quote
        (("sample", "--model", "'it"), "it'\\''s"),
        (("sample", "--model", '"a'), "a\\$b"),
        (("sample", "--model", "=", "pl"), "plain"),
        (("sample", "--model", "co", ":", "l"), "lon"),  # bash cuts at a colon
        (("sample", "--model", "co", ":"), "lon"),
        (("sample", "--model", "=", "co", ":", "l"), "lon"),
        (("train", "a:b", "--unit", "by"), "byte"),
        (("train", "it\\'s", "--hid"), "--hidden-size"),
        (("tra",), "train"),
    ],
)
def test_bash_gets_what_completes_the_word(
    words: tuple[str, ...], wanted: str, place: Path
) -> None:
    assert offered(place, *words) == [wanted]


@pytest.mark.parametrize("words", [("train", ""), ("eval", "ru"), ("sample", "--model", "runs/p")])
def test_bash_itself_offers_files(words: tuple[str, ...], place: Path) -> None:
    """As it does where a command offers nothing."""
    assert offered(place, *words) == [""]
