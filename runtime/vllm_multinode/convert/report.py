"""What is said of a conversion: a page in Markdown, an object for JSON, a few lines for a terminal."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vllm_multinode.convert.conversion import Conversion, Service
from vllm_multinode.convert.record import Row, Status
from vllm_multinode.k8s.emit import to_yaml

_WORDS: Final[Mapping[Status, str]] = {
    "carried": "carried",
    "changed": "changed",
    "not_carried": "not carried",
    "refused": "refused",
}
_ORDER: Final = tuple(_WORDS)
_SHOWN: Final = 3
"""Fields that a line of the terminal names; the report has all."""
_NARROWEST: Final = 40


def spec_yaml(service: Service) -> str:
    """The deployment spec of a service as a file, with what is left to do above it."""
    lines = [f"# From {service.document}, by `multinode convert`.\n"]
    lines += [f"# By hand: {sentence}\n" for sentence in service.by_hand]
    return "".join(lines) + to_yaml([service.fields])


def as_markdown(conversion: Conversion) -> str:
    """The report: each service with its decisions and what is left to do, then every field of the source."""
    parts = ["# What was converted\n", f"\n{summary(conversion)}\n"]
    parts += [f"\nRefused: {_cell(why)}\n" for why in conversion.refused]
    for service in conversion.services:
        parts.append(f"\n## {service.name}\n\nFrom {_cell(service.document)}.\n")
        parts.append(_list("Decided", service.notes))
        parts.append(_list("By hand", service.by_hand))
    documents = dict.fromkeys(row.document for row in conversion.rows)
    for document in documents:
        parts.append(f"\n## Fields of {_cell(document)}\n\n| field | | becomes | why |\n|---|---|---|---|\n")
        parts += [_line(row) for row in conversion.rows if row.document == document]
    return "".join(parts)


def as_object(conversion: Conversion) -> dict[str, Any]:
    """The same for -o json."""
    return {
        "services": [
            {
                "name": service.name,
                "source_name": service.source_name,
                "document": service.document,
                "complete": service.spec is not None,
                "spec": service.fields,
                "decided": list(service.notes),
                "by_hand": list(service.by_hand),
            }
            for service in conversion.services
        ],
        "fields": [
            {
                "document": row.document,
                "source_path": row.source_path,
                "status": row.status,
                "target_path": row.target_path,
                "why": row.why,
            }
            for row in conversion.rows
        ],
        "refused": list(conversion.refused),
    }


def summary(conversion: Conversion) -> str:
    """How many fields became what."""
    counts = Counter(row.status for row in conversion.rows)
    fields = ", ".join(f"{counts[status]} {_WORDS[status]}" for status in _ORDER if counts[status])
    names = ", ".join(service.name for service in conversion.services)
    return f"{names or 'No service'}: {fields}."


def as_lines(conversion: Conversion, width: int = 80) -> Iterator[str]:
    """For a terminal: what was not carried and what is left to do; the rest is in the report.

    Args:
        conversion: what was converted.
        width: columns of a line; a path that is longer stands in one line all the same.
    """
    yield from _wrapped(summary(conversion), width)
    for why in conversion.refused:
        yield from _wrapped(f"refused: {why}", width)
    if conversion.services:
        yield from _not_carried(conversion.rows, width)
    for service in conversion.services:
        yield f"{service.name}:"
        for note in service.notes:
            yield from _wrapped(f"  {note}", width)
        for sentence in service.by_hand:
            yield from _wrapped(f"  by hand: {sentence}", width)


def _not_carried(rows: Sequence[Row], width: int) -> Iterator[str]:
    """A few lines for each document: the fields that one reason holds for stand together."""
    whole = Counter(row.document for row in rows)
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.status == "not_carried":
            reasons.setdefault((row.document, row.why), []).append(row.source_path)
    document = ""
    for (name, why), paths in reasons.items():
        if name != document:
            document = name
            yield from _wrapped(f"not carried of {name}:", width)
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        fields = f"{', '.join(paths[:_SHOWN])}{more}"
        yield from _wrapped(f"  {'all of it' if len(paths) == whole[name] else fields}: {why}", width)


def _wrapped(text: str, width: int) -> list[str]:
    first = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(), max(width, _NARROWEST), initial_indent=first, subsequent_indent=f"{first}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def texts(conversion: Conversion, manifests: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The files of each service's folder, by the service's name.

    Args:
        conversion: what was converted.
        manifests: the rendered files of each service whose spec is complete.
    """
    return {
        service.name: {
            "deployment.yaml": spec_yaml(service),
            **{f"manifests/{name}": text for name, text in manifests.get(service.name, {}).items()},
        }
        for service in conversion.services
    }


def _list(title: str, sentences: tuple[str, ...]) -> str:
    if not sentences:
        return ""
    return f"\n{title}:\n\n" + "".join(f"- {_cell(sentence)}\n" for sentence in sentences)


def _line(row: Row) -> str:
    cells = (f"`{_cell(row.source_path)}`", _WORDS[row.status], _cell(row.target_path), _cell(row.why))
    return f"| {' | '.join(cells)} |\n"


def _cell(text: str) -> str:
    """A text within one cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
