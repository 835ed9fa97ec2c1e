"""The wheel: what is in it, and that it works where nothing else of the project is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parents[1]


def run(*args: object, cwd: Path, **env: str) -> str:
    """Runs Python with some arguments; returns its standard output."""
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run("-m", "pip", "wheel", *quiet, "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"charrnn-{charrnn.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "charrnn").rglob("*.py")}
    package |= {"charrnn/py.typed"}
    package |= {f"charrnn/report/page.{kind}" for kind in ("html", "css", "js")}
    rest = [name for name in names if name not in package]
    assert package <= set(names)
    assert all(name.split("/")[0].endswith(".dist-info") for name in rest), rest


def test_the_wheel_names_the_command_the_licence_and_the_readme(wheel: Path) -> None:
    info = f"charrnn-{charrnn.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert (
            "charrnn = charrnn.__main__:main" in archive.read(f"{info}/entry_points.txt").decode()
        )
        assert archive.read(f"{info}/licenses/LICENSE").strip()
        described = archive.read(f"{info}/METADATA").decode()
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in described


def test_the_installed_package_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile")
    run("-m", "pip", "install", *quiet, "--target", site, wheel, cwd=tmp_path)
    output = run(
        "-c",
        "import charrnn.cli.app as app; print(app.__file__)",
        cwd=elsewhere,
        PYTHONPATH=str(site),
    )
    assert Path(output.strip()) == site / "charrnn/cli/app.py"
    assert "Usage:" in run("-m", "charrnn", "--help", cwd=elsewhere, PYTHONPATH=str(site))
