"""The page as a document: served and renewed by its script, or as one file without any. Pure."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final
from xml.etree.ElementTree import Element

from vllm_multinode.operate.markup import Content, node, written
from vllm_multinode.operate.page.body import Page, main, summary
from vllm_multinode.operate.screen import clock

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the served page: its own style and script, its own server, nothing else."""
STYLE: Final = "style.css"
SCRIPT: Final = "script.js"


@cache
def resource(name: str) -> str:
    """The text of STYLE or SCRIPT."""
    return files("vllm_multinode.operate.page").joinpath(name).read_text(encoding="utf-8")


def served(page: Page, seconds: float) -> str:
    """The page as its server gives it.

    Args:
        page: what it shows.
        seconds: after which it asks for the next one.
    """
    head = [node("link", rel="stylesheet", href=STYLE), node("script", src=SCRIPT, defer="")]
    button = node("button", "Pause (p)", id="pause", type="button", aria_pressed="false")
    noscript = node("p", "Without JavaScript this page does not refresh itself; reload it.")
    told = f"seen {clock(page.now)}"
    header = node("header", node("p", told, id="told"), node("noscript", noscript), button)
    return _document(page, head, header, data_seconds=f"{seconds:g}")


def standalone(page: Page) -> str:
    """The page as one file: no script, and a policy that lets nothing be loaded."""
    style = resource(STYLE)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    inline = node("style")
    inline.text = style
    head = [node("meta", http_equiv="Content-Security-Policy", content=policy), inline]
    return _document(page, head, node("header", node("p", f"seen {clock(page.now)}, a copy in a file")))


def _document(page: Page, head: list[Element], header: Element, **attributes: str) -> str:
    heard = node("p", summary(page), id="heard", class_="heard", role="status")
    beginning: list[Content] = [
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="referrer", content="no-referrer"),
        node("title", page.title),
    ]
    skip = node("a", "To the services", href="#main", class_="skip")
    body = node("body", skip, header, heard, main(page), **attributes)
    html = node("html", node("head", *beginning, *head), body, lang="en")
    return f"<!doctype html>\n{written(html)}\n"
