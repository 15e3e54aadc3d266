"""The page of a supervisor: what it says, and that nobody's name can become markup."""

import re

from vllm_multinode.launcher.page import page


def test_names_are_text() -> None:
    status = {
        "role": "head", "pod": "<script>x</script>", "state": "recovering", "reason": 'lost <b onclick="x">',
        "since": 100.0, "nodes": 2, "members": [{"rank": 0, "name": "a&b", "state": "serving"}],
        "incidents": [{"at": 90.0, "cause": "member", "reason": "lost <i>"}],
    }  # fmt: skip
    text = page(status, now=160.0)
    assert "<h1>recovering</h1>" in text
    assert "for 60 s" in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"<script|<b |<i>|href|src=|https?:", text)


def test_a_worker_that_has_said_nothing_yet() -> None:
    assert "<h1>preflight</h1>" in page({"role": "worker", "pod": "w", "state": "preflight", "epoch": 0})
