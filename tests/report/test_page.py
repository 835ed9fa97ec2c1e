"""The page: one file, small, and everything of others in it is text."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import model_of
from texts import COFFEE

from charrnn.model.forward import Forward
from charrnn.report import measures
from charrnn.report.facts import Subject
from charrnn.report.measures import measure, passage_length
from charrnn.report.page import page
from charrnn.report.subjects import subject_of
from charrnn.report.texts import named_text, sample_text, text_of_run
from charrnn.store.checkpoint import Checkpoint, load, save
from charrnn.text.vocabulary import Vocabulary

ATTACK = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp; {{ 7 * 7 }} {% x %} $\\frac$"
)


class Tags(HTMLParser):
    """Reads a page as a browser would."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}  # the text of each kind of element, in all
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag = self._open[-1] if self._open else ""
        self.words[tag] = self.words.get(tag, "") + data


def saved(folder: Path, model: Forward, vocabulary: Vocabulary, **provenance: Any) -> Path:
    """Returns the path of a model's file alone."""
    save(path := folder / "model.safetensors", Checkpoint(model, vocabulary, provenance))
    return path


def page_of(path: Path, text: str | bytes, name: str = "a text", **options: int) -> str:
    subject, notes = subject_of(path)
    model = load(path)
    found = measure(model, text, name, **options)
    return page([subject], found, model.vocabulary, notes).decode()


def test_text_names_and_metadata_are_escaped(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(ATTACK + COFFEE)
    folder = tmp_path / '<b>"x$^'
    folder.mkdir()
    evil = {"sources": [ATTACK], "versions": {ATTACK: ATTACK}, "settings": {"data": {ATTACK: 1}}}
    path = saved(folder, model_of(vocabulary), vocabulary, **evil)
    html = page_of(path, ATTACK * 3, ATTACK)
    tags = Tags(html)
    scripts = [attributes for tag, attributes in tags.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not any(name.startswith("on") for _, attributes in tags.tags for name in attributes)
    images = [attributes["src"] for tag, attributes in tags.tags if tag == "img"]
    assert images and all(str(src).startswith("data:image/png;base64,") for src in images)
    assert "49" not in html.partition("<h2")[0]
    assert "x$^" in tags.words["dd"]  # the path
    assert ATTACK in tags.words["dd"] and ATTACK in tags.words["dt"]


def test_nothing_in_a_page_leads_elsewhere(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    html = page_of(saved(tmp_path, model_of(vocabulary), vocabulary), COFFEE)
    policy = next(a["content"] for t, a in Tags(html).tags if t == "meta" and "content" in a)
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    for tag, attributes in Tags(html).tags:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, name)
    assert not re.search(r"url\((?!#)|@import", html)


@pytest.mark.parametrize("size", [(1024, 3), (1500, 1), (32, 20), (12, 1)])
def test_a_page_stays_below_a_megabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Whatever the units do: here, what cannot be compressed."""
    monkeypatch.setattr(measures, "samples", lambda *_: [])  # which take long, and little room
    monkeypatch.setattr(measures, "text_length", lambda *_: 300)
    vocabulary = Vocabulary.of_text(COFFEE)
    shape = {"hidden_size": size[0], "num_layers": size[1]}
    model = model_of(vocabulary, **shape)
    random = np.random.default_rng(0)
    for name, weight in model.weights.items():
        if name.startswith("layers"):
            weight[...] = random.normal(0, 1.2 / np.sqrt(weight.shape[-1]), weight.shape)
    model = Forward(model.config, model.weights)
    assert passage_length(model) >= 180
    html = page_of(saved(tmp_path, model, vocabulary), COFFEE, context_work=0)
    assert 400_000 * (size[0] > 12) < len(html) < 1_000_000


ODD = "a\u202eb\x00\x1b[31mc\x7f שלום عربي e\u0301\ufeff\u2028\U0001f600"


@pytest.mark.parametrize(
    "vocabulary",
    [
        Vocabulary.of_bytes(),
        Vocabulary.of_text("abc de"),  # without newlines
        Vocabulary.of_text(ODD),
        Vocabulary.of_text("ab"),
    ],
    ids=["bytes", "no newline", "odd", "two"],
)
@pytest.mark.parametrize("text", [ODD + "\n\udcff", "ab", "a", ""])
def test_any_text_is_shown(tmp_path: Path, vocabulary: Vocabulary, text: str) -> None:
    html = page_of(saved(tmp_path, model_of(vocabulary), vocabulary), text)
    shown = Tags(html).words.get("span", "")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufeff\u2028]", html.replace("\t", ""))
    symbols = len(vocabulary.to_piece(text, "charge"))
    cells = re.findall(r'<span class="s\d+" title="([\d.]+) bits, rank (\d+)">', html)
    assert len(cells) == symbols
    if "c" in text:
        assert "c" in shown


def test_a_model_that_overflows_says_so(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary, nonlinearity="relu")
    for weight in model.weights.values():
        weight[...] = 1e20
    html = page_of(saved(tmp_path, model, vocabulary), COFFEE)
    assert "grow until they overflow" in Tags(html).words["p"]
    assert 'id="passage"' not in html and "How it was made" in html


def test_units_of_relu_have_their_own_scale(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary, nonlinearity="relu")
    html = page_of(saved(tmp_path, model, vocabulary), COFFEE)
    assert "relu is never below 0" in html


def test_a_model_alone_shows_a_sample(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    path = saved(tmp_path, model_of(vocabulary), vocabulary)
    model, (subject, _) = load(path), subject_of(path)
    shown = text_of_run(subject.run, model, lambda *_: None)
    assert shown == sample_text(model, *shown.notes)
    assert len(shown.notes) == 1 and "a model alone" in shown.notes[0]


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_named_text_is_read_as_plain_text(tmp_path: Path, unit: str) -> None:
    vocabulary = Vocabulary.of_bytes() if unit == "byte" else Vocabulary.of_text(COFFEE)
    model = Checkpoint(model_of(vocabulary), vocabulary)
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\r\n\xff')
    shown = named_text(str(tmp_path / "a.jsonl"), model)
    wanted: Any = b'{"a": 1}\r\n\xff' if unit == "byte" else '{"a": 1}\n\udcff'
    assert shown.text == wanted and "a.jsonl" in shown.name


def subjects(count: int, path: Path) -> Iterator[Subject]:
    for _ in range(count):
        yield subject_of(path)[0]


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    path = saved(tmp_path, model_of(vocabulary), vocabulary)
    model = load(path)
    found = measure(model, COFFEE[:200], "a text", context_work=0)
    html = page(list(subjects(10, path)), found, vocabulary).decode()
    assert html.count('<span class="swatch series-1"></span>model.safetensors') >= 2
    assert "and 9 more" in html and "How much context" not in html
