"""The page in a real browser: it renews itself, needs no mouse, and fits a telephone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from unit.operate.bench.test_result import result, rung
from unit.operate.browser import browser, emulate, log_of, requests
from unit.operate.groups import says
from unit.operate.test_page import EVIL, Place, page_of
from vllm_multinode.operate.bench.kept import keep
from vllm_multinode.operate.dashboard import Watcher, serving

PATIENCE = 60


@pytest.fixture(scope="module")
def window() -> Iterator[Chrome]:
    with browser() as found:
        yield found


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def watcher(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for seen in place.observe():
        keep(result(rung(1), rung(4), rung(16, 8.0)), seen)
    found = Watcher(place, seconds=0.5)
    for _ in range(5):
        found.look()
    return found


UNDER_LOAD = """
const drawn = [...document.querySelectorAll("svg.curves")].filter((one) => one.querySelector(".dot, .bar"));
return drawn.map((one) => {
  const box = one.getBoundingClientRect();
  const inside = [...one.querySelectorAll("*:not(title)")].every((part) => {
    const own = part.getBoundingClientRect();
    const across = own.left >= box.left - 1 && own.right <= box.right + 1;
    return across && own.top >= box.top - 1 && own.bottom <= box.bottom + 1;
  });
  const styled = getComputedStyle(one.querySelector(".dot, .bar")).fill !== "rgb(0, 0, 0)";
  return box.width > 200 && inside && styled;
});
"""


def shows(window: Chrome, text: str) -> None:
    WebDriverWait(window, PATIENCE).until(lambda _: text in window.find_element(By.TAG_NAME, "body").text)


def script(window: Chrome, code: str) -> object:
    return window.execute_script(code)


def no_complaints(window: Chrome) -> None:
    """No error of a script, and nothing that the page's policy had to stop."""
    assert [one for one in log_of(window, "browser") if "favicon" not in one["message"]] == []


@contextmanager
def opened(window: Chrome, watcher: Watcher) -> Iterator[str]:
    """The page, for as long as it is served."""
    log_of(window, "browser")
    requests(window)
    with serving(watcher) as address:
        window.get(address)
        shows(window, "InferenceService")
        yield address
        window.get("about:blank")


def test_it_renews_itself_and_asks_nobody_else(window: Chrome, watcher: Watcher, place: Place) -> None:
    with opened(window, watcher) as address:
        shows(window, "models/llm: nothing wrong.")
        place.said = says("recovering", "lost a worker", silent=(0.3, 6.0, -1))
        watcher.look()
        shows(window, "recovering")
        WebDriverWait(window, PATIENCE).until(lambda _: window.title.startswith("llm: recovering"))
        no_complaints(window)
        asked = requests(window)
        assert len(asked) >= 4
        assert [url for url in asked if not url.startswith((address, f"{address[:22]}"))] == []


def test_a_server_that_has_ended_is_said(window: Chrome, watcher: Watcher) -> None:
    with serving(watcher) as address:
        window.get(address)
        shows(window, "nothing wrong")
    shows(window, "No answer from multinode dashboard")
    shows(window, "nothing wrong")
    window.get("about:blank")


def press(window: Chrome, key: str) -> None:
    """Whatever has the focus; an element may have been replaced since it was asked for."""
    ActionChains(window).send_keys(key).perform()


def focused(window: Chrome) -> tuple[str, str]:
    """Tag and id of what has the focus."""
    tag, own = str(
        script(window, "const at = document.activeElement; return `${at.tagName} ${at.id}`")
    ).split(" ")
    return tag, own


def renewed(window: Chrome) -> None:
    """Wait for the next content."""
    script(window, "document.getElementById('main').dataset.old = '1'")
    old = "return !document.getElementById('main').dataset.old"
    WebDriverWait(window, PATIENCE).until(lambda _: script(window, old))


def test_it_needs_no_mouse(window: Chrome, watcher: Watcher, place: Place) -> None:
    place.names = ("llm", "other")
    watcher.look()
    with opened(window, watcher):
        press(window, Keys.TAB)
        assert script(window, "return document.activeElement.textContent") == "To the services"
        reached = []
        for _ in range(12):
            press(window, Keys.TAB)
            reached.append(focused(window))
        assert {"BUTTON", "A", "SUMMARY", "DIV"} <= {tag for tag, _ in reached}
        # What a renewal could not find again would lose the reader's place.
        assert all(own for _, own in reached)
        script(window, "document.querySelector('details > summary').focus()")
        press(window, Keys.ENTER)
        before = focused(window)
        renewed(window)
        assert script(window, "return document.querySelector('details').open")
        assert focused(window) == before
        press(window, "p")
        assert script(window, "return document.getElementById('pause').ariaPressed") == "true"
        script(window, "document.querySelector('a[href$=\"service=other\"]').focus()")
        press(window, Keys.ENTER)
        WebDriverWait(window, PATIENCE).until(lambda _: "service=other" in window.current_url)
        no_complaints(window)


DRAWN = "return [...document.querySelectorAll('svg.group')].map((one) => one.checkVisibility())"
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const parts = [r, g, b].map((v) => v / 255);
  const [x, y, z] = parts.map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const found = parse(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
let least = 99;
for (const one of document.querySelectorAll("main *:not(svg *)")) {
  if (![...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
  least = Math.min(least, (a + 0.05) / (b + 0.05));
}
return least;
"""


@pytest.mark.parametrize("width", [pytest.param(320, id="telephone"), pytest.param(1280, id="desk")])
@pytest.mark.parametrize("dark", [pytest.param(False, id="light"), pytest.param(True, id="dark")])
def test_it_fits_and_can_be_read(
    window: Chrome, watcher: Watcher, place: Place, width: int, dark: bool
) -> None:
    place.said = says("recovering", "x" * 120, silent=(0.3, 6.0, -1))
    watcher.look()
    emulate(window, dark=dark, width=width)
    with opened(window, watcher):
        try:
            # A telephone's innerWidth grows with what does not fit.
            assert script(
                window,
                "const { scrollWidth, clientWidth } = document.documentElement;"
                " return scrollWidth <= clientWidth",
            )
            drawn = script(window, DRAWN)
            assert drawn == ([False, True] if width < 720 else [True, False])
            assert script(window, UNDER_LOAD) == [True] * 7
            # WCAG asks for 4.5 of text.
            assert float(str(script(window, CONTRAST))) >= 4.5
            no_complaints(window)
        finally:
            window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_copy_in_a_file(window: Chrome, watcher: Watcher, place: Place, tmp_path: Path) -> None:
    place.said, place.names = says("recovering", EVIL), (EVIL,)
    watcher.look()
    file = tmp_path / "page.html"
    file.write_text(page_of(watcher))
    requests(window)
    log_of(window, "browser")
    window.get(file.as_uri())
    shows(window, "recovering")
    assert script(window, "return getComputedStyle(document.querySelector('.large')).borderLeftStyle") == (
        "solid"
    )
    assert [url for url in requests(window) if url != file.as_uri()] == []
    no_complaints(window)
