"""vLLM's arguments of a source: what a spec says elsewhere goes there, the rest stands under `arguments`."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from vllm_multinode.authoring.spec.arguments import faults
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.options import objection
from vllm_multinode.convert.record import Path, Record, Status
from vllm_multinode.convert.secrets import is_secret, is_secret_name
from vllm_multinode.launcher.arguments import MODEL, Fixed, Option, read_options

PORT_WHY: Final = "KServe's Service reaches the API on port 8080; the launcher sets it."
NODES_WHY: Final = "The launcher joins the nodes; it follows from parallelism."
_OWN_MODEL_FOLDER: Final = "the folder of the model follows from the claim."
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_FOLLOWS: Final[Mapping[str, str]] = {
    "--port": PORT_WHY,
    "--host": PORT_WHY,
    "--nnodes": NODES_WHY,
    "--node-rank": NODES_WHY,
    "--master-addr": NODES_WHY,
    "--master-port": NODES_WHY,
    "--headless": NODES_WHY,
    "--ray-workers-use-nsight": "It profiles Ray workers; there are none.",
    "--worker-use-ray": NODES_WHY,
    "--engine-use-ray": NODES_WHY,
    "--download-dir": "The fetch Job fills the claim before the engine starts.",
    "--disable-log-requests": "By default vLLM does not log requests.",
    "--disable-log-stats": "The watchdog needs vLLM's statistics to tell busy from hung.",
}
_CANNOT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("--data-parallel-address", "--data-parallel-backend", "--data-parallel-rpc-port"),
        "A group is one engine; set replicas for more groups.",
    ),
    "--ssl-keyfile": "Mount the certificate and set its paths under arguments.",
    "--ssl-certfile": "Mount the certificate and set its paths under arguments.",
    "--ssl-ca-certs": "Mount the certificate and set its paths under arguments.",
    "--lora-modules": "The claim contains only the base model. Copy the adapter next to it and add "
    "enable-lora and lora-modules under arguments.",
    "--chat-template": "The file is in the source's image. Copy it to the claim, and give its path there.",
    "--config": "The file is in the source's image. Write its contents under arguments.",
}
_DIGITS: Final = 18
"""Of a number; longer ones are texts, which vLLM will reject."""
_SWITCHES: Final = ("true", "false")
_NAMES: Final = dict.fromkeys(
    (MODEL, "--max-model-len", "--served-model-name", "--distributed-executor-backend", *_FOLLOWS, *_CANNOT),
    Fixed(None, ""),
)
"""Options that `read_options` completes from an unambiguous beginning, as vLLM does."""


@dataclass(frozen=True)
class Given:
    """An argument of a command line, and where it stands; a text that holds several gives all one path."""

    text: str
    path: Path


def from_list(record: Record, draft: Draft, given: Sequence[Given], variables: Mapping[str, str]) -> None:
    """Take vLLM's arguments as a command line has them.

    Args:
        record: of the document that they stand in.
        draft: that they are written to.
        given: the arguments, without the program.
        variables: that $(NAME) and ${NAME} stand for.
    """
    texts = [expanded(one.text, variables) for one in given]
    position = 0
    for option in read_options(texts, _NAMES):
        places = []
        if texts[position] == "--" != option.items[0]:
            record.changed(given[position].path, "", "It ends the options.")
            position += 1
        places = [one.path for one in given[position : position + len(option.items)]]
        position += len(option.items)
        _take(record, draft, option, places)


def from_mapping(record: Record, draft: Draft, base: Path, options: Mapping[str, Any]) -> None:
    """Take vLLM's arguments as a mapping has them, such as `max-model-len: 4096` or `maxModelLen: 4096`."""
    for key, value in options.items():
        name = f"--{_dashed(str(key))}"
        path = (*base, key)
        if value is None:
            record.not_carried(path, "It has no value.")
        elif isinstance(value, bool) and name not in _FOLLOWS:
            _take(record, draft, Option(name, (str(value).lower(),), name, items=(name,)), [path])
        else:
            text = json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else str(value)
            _take(record, draft, Option(name, (text,), f"{name} {text}", items=(name, text)), [path])


def command_of(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """vLLM's own arguments within a command: what started it, and what follows.

    Understands `vllm serve`, `python -m vllm.entrypoints…`, and both inside `sh -c "…; …"`.

    Returns:
        None where no vLLM is started.
    """
    for parts in _simple_commands(words):
        for index, word in enumerate(parts):
            if PurePosixPath(word).name == "vllm" and parts[index + 1 : index + 2] == ["serve"]:
                return "vllm serve", parts[index + 2 :]
            if (
                word == "-m"
                and parts[index + 1 : index + 2]
                and parts[index + 1].startswith("vllm.entrypoints")
            ):
                return parts[index + 1], parts[index + 2 :]
    return None


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A text with $(NAME), ${NAME} and $NAME replaced where the variable is known."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        return variables.get(name, match[0])

    return re.sub(r"\$(?:\((\w+)\)|\{(\w+)\}|(\w+))", value, text)


def _simple_commands(words: Sequence[str]) -> Iterator[list[str]]:
    """The words of each simple command, those of a shell's script included."""
    plain = list(words)
    yield plain
    for index, word in enumerate(plain):
        if re.fullmatch(r"-[a-z]*c", word) and index + 1 < len(plain):
            yield from _script(plain[index + 1])
    for word in plain:
        if "\n" in word or ";" in word or "&&" in word:
            yield from _script(word)


def _script(text: str) -> Iterator[list[str]]:
    joined = re.sub(r"\\\n", " ", text)
    for piece in re.split(r"&&|\|\||;|\n", joined):
        try:
            parts = shlex.split(piece, comments=True)
        except ValueError:
            continue
        if parts and parts[0] == "exec":
            parts = parts[1:]
        if parts:
            yield parts


def _take(record: Record, draft: Draft, option: Option, places: Sequence[Path]) -> None:
    def answer(status: Status, target: str = "", why: str = "") -> None:
        for place in places:
            record.answer(place, status, target, why)

    name = option.name
    value = ",".join(option.values) if len(option.values) > 1 else option.value
    if is_secret_name(name.removeprefix("--")) or is_secret(value):
        answer("not_carried", "", "It is a secret in plain text. Put it into a Secret and name the Secret.")
        draft.todo(f"Put the value of {name} into a Secret: the spec names Secrets, never their values.")
        return
    for taker in _TAKERS:
        taken = taker(draft, option, value)
        if taken is not None:
            answer(*taken)
            return
    _argument(draft, option, value, answer)


Answer = tuple[Status, str, str]


def _sizes(draft: Draft, option: Option, value: str) -> Answer | None:
    targets = {
        "--tensor-parallel-size": "parallelism.tensor",
        "--pipeline-parallel-size": "parallelism.pipeline",
    }
    target = targets.get(option.name)
    if target is None:
        return None
    if not re.fullmatch(rf"0*[1-9]\d{{0,{_DIGITS}}}", value):
        return "not_carried", "", f"{shown(value)} is not a size; the plan chooses one."
    draft.set(target, int(value))
    return "carried", target, ""


def _model(draft: Draft, option: Option, value: str) -> Answer | None:
    if option.name == MODEL:
        return model(draft, value)
    if option.name == "--served-model-name":
        draft.set("model.servedName", option.value)
        why = "A service has one name for clients." if len(option.values) > 1 else ""
        return ("changed" if why else "carried"), "model.servedName", why
    if option.name == "--max-model-len":
        tokens = _tokens(value)
        if tokens is None:
            return "not_carried", "", f"{shown(value)} is not a number of tokens."
        draft.set("context", tokens)
        return "carried", "context", ""
    return None


def _rest(_draft: Draft, option: Option, value: str) -> Answer | None:
    if option.name == "--distributed-executor-backend":
        why = "vLLM's released images have no Ray since 0.18; its own multi-node executor needs none."
        return ("changed", "executor", why) if value == "ray" else ("carried", "executor", "")
    if option.name in _FOLLOWS:
        return "changed", "", _FOLLOWS[option.name]
    if option.name in _CANNOT:
        return "not_carried", "", _CANNOT[option.name]
    if option.name == "--load-format" and value not in ("auto", "safetensors", "dummy"):
        return "not_carried", "", "The engine reads safetensors from the claim."
    return None


_TAKERS: Final[Sequence[Callable[[Draft, Option, str], Answer | None]]] = (_sizes, _model, _rest)


def _argument(draft: Draft, option: Option, value: str, answer: Callable[..., None]) -> None:
    key = option.name.removeprefix("--")
    if why := objection(key):
        answer("not_carried", "", why)
        return
    setting: Any
    if not value or value.lower() in _SWITCHES:
        is_off = value.lower() == "false"
        # --no-x=false is --x.
        setting = not is_off or key.startswith("no-")
        key = key.removeprefix("no-") if is_off else key
    elif option.nested:
        key, setting = option.items[0].removeprefix("--").partition("=")[0], _scalar(value)
    else:
        setting = list(option.values) if len(option.values) > 1 else _scalar(value)
    if refused := next((text for _, text in faults({key: setting})), ""):
        answer("not_carried", "", f"{refused}.")
        return
    draft.put("arguments", key, setting)
    answer("carried", f"arguments.{key}", "")


def model(draft: Draft, value: str) -> Answer:
    """Write where a model comes from: a hub's id, an address, or a folder that something else has filled."""
    if re.match(r"(hf|s3|oci)://", value):
        draft.set("model.source", value.rstrip("/"))
        return "carried", "model.source", ""
    if value.startswith(("/", ".", "$")):
        if draft.get("model.source") or draft.get("model.claim"):
            return "changed", "model", f"There {_OWN_MODEL_FOLDER}"
        draft.set("model.path", value.strip("/"))
        return "changed", "model.path", "A folder in the source's volume; here it is in the claim."
    if _HUB_ID.fullmatch(value):
        draft.set("model.source", f"hf://{value}")
        return (
            "changed",
            "model.source",
            "A Job fetches it from the hub once, into a claim that every node reads.",
        )
    draft.todo(f"Say where the model {shown(value)} comes from, as model.source.")
    return "not_carried", "", "It names neither a repository of the hub nor an address."


def shown(value: object) -> str:
    """A value for a sentence; short, and never a secret."""
    text = str(value)
    if is_secret(text):
        return "***"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _tokens(value: str) -> int | str | None:
    if value in ("auto", "-1"):
        return "auto"
    match = re.fullmatch(rf"(\d{{1,{_DIGITS}}})([kKmM]?)", value)
    if match is None:
        return None
    scale = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}[match[2]]
    return int(match[1]) * scale or None


def _scalar(value: str) -> Any:
    if re.fullmatch(rf"-?\d{{1,{_DIGITS}}}", value):
        return int(value)
    if re.fullmatch(rf"-?\d{{0,{_DIGITS}}}\.\d{{1,{_DIGITS}}}", value):
        return float(value)
    if value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _dashed(key: str) -> str:
    """maxModelLen, max_model_len and max-model-len are one option."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", key).replace("_", "-").lower().lstrip("-")
