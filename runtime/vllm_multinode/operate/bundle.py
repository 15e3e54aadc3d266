"""Everything about services in one file, for whoever is to help; no secret is in it."""

import io
import json
import platform
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.launcher.masking import MASK, is_secret_option, masked
from vllm_multinode.operate.bench.kept import last_of
from vllm_multinode.operate.doctor import as_text as doctor_text
from vllm_multinode.operate.doctor import diagnosis_of
from vllm_multinode.operate.logs import Line
from vllm_multinode.operate.logs import as_text as log_text
from vllm_multinode.operate.masks import without_secrets
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.page.body import Page, View
from vllm_multinode.operate.page.document import standalone
from vllm_multinode.operate.samples import History
from vllm_multinode.operate.screen import screen
from vllm_multinode.operate.source import Source
from vllm_multinode.operate.status import status_of

_LEFT_OUT: Final = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})
_ARGUMENTS: Final = frozenset({"args", "command"})


def bundle(
    place: Source, found: Sequence[Observation], version: str, earlier: Sequence[Observation] = ()
) -> bytes:
    """A gzipped tar archive.

    Args:
        place: where the services run.
        found: what was seen of them.
        version: of this package.
        earlier: what was seen of them some seconds before, so that the page has rates.
    """
    target, now = io.BytesIO(), int(time.time())
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, text in _files(place, found, version, earlier):
            data = text.encode()
            entry = tarfile.TarInfo(f"multinode-report/{name}")
            entry.size, entry.mtime, entry.mode = len(data), now, 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def _files(
    place: Source, found: Sequence[Observation], version: str, earlier: Sequence[Observation]
) -> Iterator[tuple[str, str]]:
    yield "versions.json", _json({"multinode": version, "python": platform.python_version()})
    yield "page.html", standalone(_page(found, earlier))
    for seen in found:
        folder, status = seen.snapshot.name, status_of(seen)
        yield f"{folder}/status.txt", without_secrets("\n".join(screen(status, seen.now))) + "\n"
        yield f"{folder}/status.json", _json(status.model_dump(mode="json"))
        diagnosis = diagnosis_of(seen)
        yield f"{folder}/doctor.txt", without_secrets(doctor_text([diagnosis]))
        yield f"{folder}/doctor.json", _json(diagnosis.model_dump(mode="json"))
        yield f"{folder}/supervisors.json", _json(seen.supervisors)
        yield f"{folder}/service.json", _json(seen.snapshot.service)
        yield f"{folder}/pods.json", _json(list(seen.snapshot.pods))
        yield (
            f"{folder}/events.json",
            _json([event for event in seen.snapshot.events if _concerns(event, seen)]),
        )
        if (bench := last_of(seen)) is not None:
            yield f"{folder}/bench.json", _json(bench.model_dump(mode="json"))
        streams = place.streams(seen, 0.0, several=False)
        yield f"{folder}/logs.txt", _lines(partial(streams.now, seen))
        yield f"{folder}/previous.txt", _lines(partial(streams.earlier, seen))


def _page(found: Sequence[Observation], earlier: Sequence[Observation]) -> Page:
    """The dashboard's page, as it would be now."""
    views = []
    for seen in found:
        history = History()
        for one in (*(before for before in earlier if before.title == seen.title), seen):
            history = history.after(one, status_of(one))
        views.append(View(status_of(seen), diagnosis_of(seen), history, seen.now, last_of(seen)))
    return Page(views, max((seen.now for seen in found), default=0.0), in_full=True)


def _concerns(event: Mapping[str, Any], seen: Observation) -> bool:
    return str((event.get("involvedObject") or {}).get("name")).startswith(seen.snapshot.name)


def _lines(read: Callable[[], list[Line]]) -> str:
    """Logs, or why there are none."""
    try:
        lines = read()
    except MultinodeError as error:
        return f"not seen: {error}\n"
    return "".join(f"{log_text(line)}\n" for line in lines)


def _json(found: Any) -> str:
    return without_secrets(json.dumps(hidden(found), indent=2, ensure_ascii=False, default=str)) + "\n"


def hidden(found: Any, name: str = "") -> Any:
    """An object of the API without what is nobody's business: secrets, and what repeats the object.

    Args:
        found: any part of it.
        name: the key that it stands under.
    """
    if isinstance(found, Mapping):
        if found.keys() >= {"name", "value"} and is_secret_option(str(found["name"])):
            return {**found, "value": MASK}
        return {
            key: MASK if isinstance(value, str) and is_secret_option(str(key)) else hidden(value, str(key))
            for key, value in found.items()
            if key not in _LEFT_OUT
        }
    if isinstance(found, list | tuple):
        if name in _ARGUMENTS and all(isinstance(one, str) for one in found):
            return masked(found)
        return [hidden(one, name) for one in found]
    return found
