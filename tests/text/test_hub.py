"""Datasets of the Hub: one that cannot be had is one line, at once."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from texts import error_of, read, write

from charrnn.text import hub


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Gives the libraries an empty cache, and lets none of their connections outlive a test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for settings in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
    yield tmp_path / "cache"
    huggingface_hub.close_session()


def place(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Lets the Hub be at a port of this machine."""
    address, constants = f"http://127.0.0.1:{port}", huggingface_hub.constants
    file = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", file)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(status, "{}", f"the Hub answers {status} ") for status in (401, 404, 429, 500, 503)]
    + [(200, body, "no answer of the Hub (") for body in ("<html>", "[1]", "{}")],
)
def test_a_hub_that_refuses_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: str,
    reason: str,
) -> None:
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status if "nobody" in self.path else 404)
            self.send_header("X-HF-Warning", "topic; a word of the server")
            self.end_headers()
            self.wfile.write(body.encode())

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        place(monkeypatch, server.server_port)
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        message = error_of("hf:nobody/x")
        server.shutdown()
    assert message.startswith(f"hf:nobody/x: cannot be opened: {reason}")
    assert "network" in message
    assert sum("nobody" in path for path in asked) == 1
    assert not caplog.records


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place(monkeypatch, silent.getsockname()[1])
        assert "no answer of the Hub in 0.01 s" in error_of("hf:nobody/x")


def test_without_a_network_the_cache_is_read(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place(monkeypatch, closed.getsockname()[1])
    write(tmp_path / "x" / "train.jsonl", json.dumps({"text": "I had coffee."}) + "\n")
    datasets.load_dataset(str(tmp_path / "x"), cache_dir=str(cache))
    caplog.clear()
    assert read("hf:x") == "I had coffee.\n"
    assert "no answer of the Hub (" in error_of("hf:nobody/x")
    assert not caplog.records


def test_what_there_is_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "x" / f"{part}.jsonl", json.dumps({"text": part}) + "\n")
    assert "['train', 'test']" in error_of(f"hf:{tmp_path / 'x'}", split="dev")
    assert "['default']" in error_of(f"hf:{tmp_path / 'x'}:dev")


def test_damage_in_a_dataset_is_no_matter_of_a_copy(tmp_path: Path) -> None:
    write(tmp_path / "x" / "train.jsonl", '{"text": "a"}\n{"text": \n')
    assert "check the network" in error_of(f"hf:{tmp_path / 'x'}")


def test_a_local_table_leaves_nothing_and_asks_nobody(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr("datasets.load.get_session", lambda: asked.append(None))
    table = tmp_path / "a.parquet"
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(table)
    assert read(table) == "a\n"
    assert not asked
    assert not cache.exists()
