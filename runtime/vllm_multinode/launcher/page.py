"""`GET /`: a supervisor's status as a small page for people; nothing on it leads anywhere else."""

import html
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "h1{font-size:2.4rem;margin:0}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)
HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""No script, no picture, no font: whatever a pod calls itself, the page cannot be made to load anything."""
_LATEST: Final = 10


def page(status: Mapping[str, Any], now: float | None = None) -> str:
    """The page.

    Args:
        status: what `/status` answers.
        now: Unix time in seconds; the clock's where None.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">'
        f"<title>{_text(status.get('pod'))}: {_text(status.get('state'))}</title>"
        f"<style>{_STYLE}</style></head>"
        f"<body>{''.join(_body(status, time.time() if now is None else now))}</body></html>\n"
    )


def _body(status: Mapping[str, Any], now: float) -> Iterator[str]:
    yield f"<h1>{_text(status.get('state'))}</h1>"
    if status.get("reason"):
        yield f"<p><strong>{_text(status['reason'])}</strong></p>"
    since = now - float(status.get("since") or now)
    yield f"<p>{_text(status.get('role'))} {_text(status.get('pod'))}, for {since:.0f} s"
    if "nodes" in status:
        yield (
            f"; {len(status.get('members') or [])} of {_text(status['nodes'])} nodes,"
            f" TP {_text(status.get('tensor_parallel'))}, PP {_text(status.get('pipeline_parallel'))}"
        )
    yield f", executor {_text(status.get('executor'))}, epoch {_text(status.get('epoch'))}</p>"
    yield from _table("Nodes", ("rank", "name", "address", "state", "silent_s"), status.get("members"))
    for title, key in (("Incidents", "incidents"), ("States", "history")):
        latest = [_with_clock(one) for one in reversed((status.get(key) or [])[-_LATEST:])]
        yield from _table(title, ("time", "state" if key == "history" else "cause", "reason"), latest)


def _table(title: str, columns: tuple[str, ...], rows: Any) -> Iterator[str]:
    if not rows:
        return
    yield f"<h2>{title}</h2><table><tr>{''.join(f'<th>{name}</th>' for name in columns)}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{_text(row.get(name))}</td>' for name in columns)}</tr>"
    yield "</table>"


def _with_clock(entry: Mapping[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(float(entry.get("at") or 0), UTC)
    return {**entry, "time": at.strftime("%Y-%m-%d %H:%M:%SZ")}


def _text(value: object) -> str:
    return "" if value is None else html.escape(str(value))
