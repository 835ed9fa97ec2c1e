"""The page in a browser: what a reader sees, hovers, types, prints.

Skipped only where no browser is, and nobody promised one.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from small_models import model_of
from texts import COFFEE

from charrnn.report.measures import measure
from charrnn.report.page import page
from charrnn.report.subjects import subject_of
from charrnn.store.checkpoint import Checkpoint, load, save
from charrnn.text.vocabulary import Vocabulary

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOUND = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    FOUND is None and "CI" not in os.environ,
    reason=f"no browser here: install one of {', '.join(BROWSERS)}, or name it in CHROMIUM",
)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
ATTACK = "<script>alert(1)</script>"
TEXT = f'{ATTACK} {COFFEE[:500]}\nש"ב" \u202e\x1b\n'
# the lowest contrast of a text with what is behind it, and that text
CONTRAST = """
() => {
  const numbers = (colour) => {
    const found = colour.match(/[\\d.]+/g).map(Number);
    return [...found.slice(0, 3), found.length > 3 ? found[3] : 1];
  };
  const over = (top, below) => below.map((c, i) => top[3] * top[i] + (1 - top[3]) * c);
  const backgroundOf = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(numbers(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => {
      const share = c / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    const background = backgroundOf(element);
    const style = getComputedStyle(element);
    const ink = over(numbers(element.closest("svg") ? style.fill : style.color), background);
    const [low, high] = [luminance(ink), luminance(background)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.outerHTML.slice(0, 200)];
  }
  return worst;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        args = [*QUIET, "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=FOUND, args=args)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a run with a history, whose model is sure of itself and wrong."""
    folder = tmp_path_factory.mktemp("page") / '<b>"x'
    folder.mkdir()
    vocabulary = Vocabulary.of_text(TEXT + COFFEE)
    model = Checkpoint(model_of(vocabulary, hidden_size=16, num_layers=2), vocabulary)
    save(folder / "model.safetensors", model)
    lines = []
    for n in range(1, 60):
        known = f'"step": {n}, "chars": {n * 1000}, "elapsed_s": {n}, "learning_rate": 0.004'
        bits = f'"train_nats_per_char": {1 + 3 / n}, "val_nats_per_char": {1.1 + 3 / n}'
        event = "step" if n % 5 else "eval"
        lines.append(f'{{"event": "{event}", {known}, {bits}, "chars_per_second": 50000}}\n')
    (folder / "history.jsonl").write_text("".join(lines))
    subject, notes = subject_of(folder)
    measures = measure(load(folder / "model.safetensors"), TEXT, "a text")
    data = page([subject], measures, vocabulary, [*notes, ATTACK])
    (folder / "report.html").write_bytes(data)
    return folder / "report.html"


@pytest.fixture
def open_page(browser: Browser, path: Path) -> Iterator[Any]:
    """Opens the page with some settings of the reader; whatever it complains of is an error."""
    complaints, contexts = list[str](), list[Any]()

    def open_it(*, hash: str = "", **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        opened: Page = contexts[-1].new_page()
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("dialog", lambda dialog: complaints.append("an alert: " + dialog.message))
        opened.on("request", lambda request: asked.append(request.url))
        asked: list[str] = []
        opened.goto(path.as_uri() + hash)
        if options.get("java_script_enabled", True):
            opened.wait_for_selector("html.ready")
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        return opened

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def cell(page: Page, place: int) -> Any:
    return page.locator("#passage > span").nth(place)


def colour(page: Page, place: int) -> str:
    return str(cell(page, place).evaluate("e => getComputedStyle(e).backgroundColor"))


def colours(page: Page) -> list[str]:
    script = "es => es.map(e => getComputedStyle(e).backgroundColor)"
    found: list[str] = page.locator("#passage > span").evaluate_all(script)
    return found


def test_hovering_shows_the_five_most_probable(open_page: Any) -> None:
    page = open_page()
    assert page.locator("#tip").is_hidden()
    cell(page, 30).hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.locator("li").count() == 5
    percents = [
        float(text.removeprefix("< ").removesuffix(" %"))
        for text in tip.locator("li > :last-child").all_inner_texts()
    ]
    assert percents == sorted(percents, reverse=True) and 0 < sum(percents) <= 100.5
    assert "bits, rank" in tip.inner_text()
    page.mouse.move(1, 1)
    assert tip.is_hidden()


def test_choosing_a_unit_recolours_the_text(open_page: Any) -> None:
    page = open_page()
    surprise = colours(page)
    page.locator("#layer").select_option(label="layer 2")
    first = colours(page)
    assert first != surprise
    assert page.locator("#surprise-scale").is_hidden() and page.locator("#unit-scale").is_visible()
    options = page.locator("#unit option").all_inner_texts()
    assert len(options) == 16 and all("r = " in option for option in options)
    sizes = [float(option.rpartition(" ")[2].replace("−", "").strip("+")) for option in options]
    assert sizes == sorted(sizes, reverse=True)
    page.locator("#unit").select_option(index=5)
    assert colours(page) not in (first, surprise)
    page.locator("#layer").select_option(label="surprise")
    assert colours(page) == surprise


def test_the_colours_are_the_units_activity(open_page: Any, path: Path) -> None:
    """What the script reads from the picture is what the model computes."""
    page = open_page()
    page.locator("#layer").select_option(label="layer 1")
    page.locator("#unit").select_option(index=3)
    unit = int(page.locator("#unit option").nth(3).inner_text().partition(":")[0])
    model = load(path.parent / "model.safetensors")
    passage = measure(model, TEXT, "a text", context_work=0).passage
    assert passage is not None
    wanted = [round(float(h) * 7) + 7 for h in passage.states[:, 0, unit]]
    names = page.locator("#passage > span").evaluate_all("es => es.map(e => e.className)")
    levels = [int(name.removeprefix("u")) for name in names]
    assert all(abs(a - b) <= 1 for a, b in zip(levels, wanted, strict=True))
    assert sum(a != b for a, b in zip(levels, wanted, strict=True)) < 0.02 * len(wanted)


def test_the_picture_and_the_table_choose_units_too(open_page: Any) -> None:
    page = open_page()
    picture = page.locator(".layer.chosen .picture")
    assert picture.count() == 1
    box = picture.bounding_box()
    picture.click(position={"x": 20, "y": box["height"] * 2.5 / 16})
    assert page.locator("#unit").input_value() == "2"
    button = page.locator("button.pick").last
    button.click()
    assert page.locator("#layer").input_value() == "1"
    assert (
        page.locator("#unit option:checked")
        .inner_text()
        .startswith(button.inner_text().removeprefix("unit ") + ":")
    )
    again = open_page(hash="#" + page.url.partition("#")[2])  # the address says what is chosen
    assert page.url.count("#") == 1
    assert again.locator("#unit").input_value() == page.locator("#unit").input_value()


def test_everything_is_reached_by_keyboard(open_page: Any) -> None:
    page = open_page()
    page.locator("#layer").focus()
    page.keyboard.press("Tab")  # the text has one stop
    focused = page.locator("#passage > span:focus")
    assert focused.count() == 1
    assert focused.get_attribute("aria-label") == "<"
    page.keyboard.press("ArrowRight")
    assert focused.get_attribute("aria-label") == "s"
    described = page.locator(f"#{focused.get_attribute('aria-describedby')}")
    assert described.is_visible() and described.locator("li").count() == 5
    before = described.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert described.inner_text() != before
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    assert focused.get_attribute("aria-label") == "<"
    page.keyboard.press("Escape")
    assert described.is_hidden()
    page.keyboard.press("ArrowLeft")  # nothing is before the first
    assert focused.get_attribute("aria-label") == "<"
    page.keyboard.press("Tab")
    assert focused.count() == 0
    page.keyboard.press("Shift+Tab")
    assert focused.count() == 1


def test_dark_mode_changes_the_colours(open_page: Any) -> None:
    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    for what in ("html", "#passage", "#passage > span.s9, #passage > span.s10"):
        script = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color].join()"
        shown = [page.locator(what).first.evaluate(script) for page in (light, dark)]
        assert shown[0] != shown[1], what
    script = "e => getComputedStyle(e).stroke"
    line = "svg path[style*='--series-0']"
    assert light.locator(line).first.evaluate(script) != dark.locator(line).first.evaluate(script)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("unit", [False, True], ids=["surprise", "unit"])
def test_text_is_legible(open_page: Any, scheme: str, unit: bool) -> None:
    page = open_page(color_scheme=scheme)
    cell(page, 5).hover()
    if unit:
        page.locator("#layer").select_option(label="layer 2")
    contrast, where = page.evaluate(CONTRAST)
    assert contrast >= 4.5, where


def test_without_scripts_the_text_is_coloured_and_readable(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    html = page.content()
    assert 'title="' in html and "bits, rank" in html
    assert page.locator("#passage").inner_text().startswith(ATTACK)
    assert page.locator(".scripted").first.is_hidden()
    assert page.locator(".layer").count() == 2 and page.locator(".layer").last.is_visible()
    title = cell(page, 0).get_attribute("title")
    assert title is not None and "bits" in title


def test_a_phone_scrolls_in_one_direction(open_page: Any) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    cell(page, 40).tap()
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_print_is_light_and_without_controls(open_page: Any) -> None:
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator(".controls").is_hidden()
    ink, paper = page.locator("html").evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    )
    assert ink == "rgb(28, 27, 26)" and paper == "rgb(253, 253, 251)"
    assert len(set(colours(page))) > 3
    assert page.evaluate(CONTRAST)[0] >= 4.5


def test_names_and_texts_are_shown_as_they_are(open_page: Any) -> None:
    page = open_page()
    assert page.locator("h1").inner_text() == '<b>"x'
    assert page.locator(".note").inner_text() == ATTACK
    text = page.locator("#passage").inner_text()
    assert text.startswith(ATTACK) and "␛" in text and "\\u202e" in text and "ש" in text
