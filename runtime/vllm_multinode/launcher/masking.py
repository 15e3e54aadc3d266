"""The engine's command line for the log, without secrets."""

import difflib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

MASK = "***"

_ENDINGS = ("key", "keys", "token")
_STEMS = ("secret", "passw", "passphrase", "credential")
# "--dbo-decode-token-threshold", "pad_token_id": tokens of text.
_COUNTING_WORDS = frozenset({"budget", "count", "id", "ids", "length", "limit", "threshold"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_OPTION = re.compile(r"--[A-Za-z]|-[A-Za-z]{1,3}(=|$)")
_NAMED = re.compile(r"([\w.-]+)=")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
# What a mistyped option may have been meant as; vLLM rejects it and shows it with its value.
_MEANT = (
    "accesskey",
    "accesstoken",
    "apikey",
    "authtoken",
    "hftoken",
    "password",
    "secret",
    "secretkey",
    "token",
)
_ALIKE = 0.8
# A shorter one would be found in words that have nothing to do with it.
_SHORTEST_SECRET = 4
# What argparse completes to one of vLLM's secrets.
_BEGINNINGS = ("--api-key", "--hf-token")
_SHORTEST_BEGINNING = len("--hf")


def masked(argv: Sequence[str]) -> str:
    """Return a command line, quoted for a shell, in which no secret can be read.

    Hidden is the value, or all the values, of every option whose name speaks of a key, token, secret,
    password or credential (also as `--name=value`, as `--name.key value` and as the beginning of a name), of
    every such key inside a JSON value, and what stands before the @ of a URL.
    """
    return shlex.join(_hidden(argv))


def _hidden(argv: Sequence[str]) -> Iterator[str]:
    """Yield the items with the secrets replaced."""
    hiding = False
    for item in argv:
        if _OPTION.match(item) or item == "--":
            name, equals, value = item.partition("=")
            hiding = is_secret_option(name) and not equals
            if equals and is_secret_option(name):
                yield f"{name}={MASK}"
            else:
                yield f"{name}{equals}{_without_inner_secrets(value)}" if equals else item
        else:
            yield MASK if hiding else _without_inner_secrets(item)


def secrets_in(argv: Sequence[str]) -> tuple[str, ...]:
    """Every value that `masked` hides, the longest first, so that other texts can be searched for them."""
    found: set[str] = set()
    for item, hidden in zip(argv, _hidden(argv), strict=True):
        if hidden == MASK:
            found.add(item)
        elif hidden.endswith(f"={MASK}"):
            found.add(item.partition("=")[2])
        elif hidden != item:
            value = item.partition("=")[2] if _OPTION.match(item) else item
            found.update(_USER_INFO.findall(value), _inner_secrets(value))
    return tuple(sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True))


def redacted(text: str, secrets: Sequence[str]) -> str:
    """A text in which none of these can be read."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _inner_secrets(value: str) -> Iterator[str]:
    """The strings under the names of secrets in a JSON value."""
    try:
        stack: list[tuple[Any, bool]] = [(json.loads(value), False)]
    except (ValueError, RecursionError):
        return
    while stack:
        content, secret = stack.pop()
        if isinstance(content, dict):
            stack += [(one, secret or _is_secret(key)) for key, one in content.items()]
        elif isinstance(content, list):
            stack += [(one, secret) for one in content]
        elif secret and isinstance(content, str):
            yield content


def is_secret_option(name: str) -> bool:
    """Does an option's value have to be hidden, by its name or by what that was probably meant to be?"""
    name = name.replace("_", "-")
    if len(name) >= _SHORTEST_BEGINNING and any(secret.startswith(name) for secret in _BEGINNINGS):
        return True
    letters = name.replace("-", "").lower()
    return _is_secret(name) or bool(difflib.get_close_matches(letters, _MEANT, n=1, cutoff=_ALIKE))


def _is_secret(name: str) -> bool:
    """Tell whether a name, in any spelling of its words, speaks of a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if any(stem in word for word in words for stem in _STEMS):
        return True
    return any(word.endswith(_ENDINGS) for word in words) and words[-1] not in _COUNTING_WORDS


def _without_inner_secrets(value: str) -> str:
    """Mask what a value holds inside: secrets of a JSON object, NAME=secret, the user of a URL."""
    if (named := _NAMED.match(value)) and _is_secret(named[1]):
        return f"{named[1]}={MASK}"
    if value.lstrip().startswith(("{", "[")):
        try:
            content = json.loads(value)
        except (ValueError, RecursionError):
            # A half-written object may hold anything; only vLLM can say what is wrong with it.
            return MASK if _is_secret(value) else value
        hidden = _hide(content)
        if hidden != content:
            value = json.dumps(hidden, ensure_ascii=False)
    return _USER_INFO.sub(MASK, value)


def _hide(content: Any) -> Any:
    """Replace every value under a secret's name, at any depth."""
    if isinstance(content, dict):
        return {key: MASK if _is_secret(key) else _hide(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_hide(item) for item in content]
    return content
