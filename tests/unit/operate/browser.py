"""A real browser without a window: Debian's chromium and chromium-driver, which scripts/test installs."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PROGRAM, DRIVER = "chromium", "chromedriver"


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A window of this size; the test is skipped where there is no browser."""
    program = os.environ.get("CHROME") or shutil.which(PROGRAM)
    driver = os.environ.get("CHROMEDRIVER") or shutil.which(DRIVER)
    if not program or not driver:
        pytest.skip("no chromium and chromedriver are here: apt-get install chromium-driver, or set CHROME")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-extensions", "--disable-background-networking", "--no-proxy-server",
        f"--window-size={width},{height}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options, Service(driver))
    try:
        found.set_page_load_timeout(60)
        yield found
    finally:
        found.quit()


def emulate(found: webdriver.Chrome, *, dark: bool = False, width: int = 0) -> None:
    """Dark colours; a telephone's screen."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    if width:
        screen = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def log_of(found: webdriver.Chrome, kind: str) -> list[Any]:
    """What a log of the browser has got since the last call."""
    entries: list[Any] = found.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def requests(found: webdriver.Chrome) -> list[str]:
    """The addresses that the browser has asked since the last call."""
    entries = [json.loads(one["message"])["message"] for one in log_of(found, "performance")]
    return [
        one["params"]["request"]["url"] for one in entries if one["method"] == "Network.requestWillBeSent"
    ]
