"""Feeds `multinode validate` with what nobody would write: a finding or one line, never a traceback.

    scripts/fuzz [CASES [SEED]]

Every case is a manifest of tests/data/rules, cut, mixed up or replaced; the same seed gives the same cases.
"""

import copy
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from unit.authoring.rules.examples import base, examples
from vllm_multinode.authoring.report import as_lines, as_object
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.rules.edits import Text, splice
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.k8s.parser import decode
from vllm_multinode.platforms.releases import find

RELEASES = tuple(map(find, ("0.14.1", "0.15.0", "0.16.0", "0.19.0", "0.20.0", "openshift-ai-2.25")))
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, 10**400, 0.5, "", " ", "a", "mp", "0", "-1", "1e400", "8GB", "\x7f",
    "é" * 300, "pvc://", "pvc:///x", "s3://a", "://", [], {}, [None], [[]], [{}], [1, "a"], {"": None},
    {"name": 1}, {"a": {"b": []}}, {"limits": None, "requests": []}, {"nvidia.com/gpu": {}},
    {"nvidia.com/gpu": "1.5"},
    {"nvidia.com/gpu": "many"}, {"nvidia.com/gpu": -3}, {"name": None, "value": 3}, {"emptyDir": 1},
    {"exec": {"command": "text"}},
)  # fmt: skip
SOUP = "{}[]:,-#&*!|>'\"%@`?\t\n \r~<=\\\x00\x85\u2028a0é\U0001f600"


def judge(raw: bytes) -> str:
    """What comes of some bytes: "read" with findings, or the code of the one line; anything else is a bug."""
    try:
        documents = from_text(decode(raw, "case"), "case")
        texts = list(as_lines(_findings(documents, raw), RELEASES))
    except MultinodeError as error:
        line = str(error)
        assert len(line) < 1000, line
        assert "\n" not in line, line
        return error.code.name
    assert not any("\n" in text for text in texts)
    return "read"


def _findings(documents: list[Document], raw: bytes) -> Iterator[Any]:
    text = Text(decode(raw, "case"))
    for finding in validate(documents, RELEASES):
        json.dumps(as_object(finding))
        for edit in finding.fix:
            document = finding.document
            if document is not None and document.root is not None:
                splice(text, document.root, edit)
        yield finding


def cases(seed: int) -> Iterator[bytes]:
    """An endless stream of cases."""
    chance = random.Random(seed)
    bodies = [[base()["runtime"], base()["service"], base()["group"]], *(one.bad for one in examples())]
    whole = to_yaml(bodies[0]).encode()
    yield from (whole[:end] for end in range(len(whole)))
    kinds: tuple[Callable[[random.Random, list[Any]], bytes], ...] = (_mutated, _lines, _flipped, _soup)
    while True:
        yield chance.choices(kinds, (6, 3, 2, 1))[0](chance, chance.choice(bodies))


def _mutated(chance: random.Random, bodies: list[Any]) -> bytes:
    """Values replaced, removed, moved: still YAML."""
    made = json.loads(json.dumps(bodies))
    for _ in range(chance.randint(1, 4)):
        places = list(_places(made))
        if not places:
            break
        holder, key = chance.choice(places)
        what = chance.random()
        if what < 0.6:
            holder[key] = copy.deepcopy(chance.choice(ODD))
        elif what < 0.8:
            del holder[key]
        else:
            other, name = chance.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
    return to_yaml(made).encode(errors="surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _lines(chance: random.Random, bodies: list[Any]) -> bytes:
    """Lines lost, doubled, swapped, indented."""
    lines = to_yaml(bodies).split("\n")
    for _ in range(chance.randint(1, 6)):
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        what = chance.randrange(5)
        if what == 0 and len(lines) > 1:
            del lines[one]
        elif what == 1:
            lines.insert(one, lines[other])
        elif what == 2:
            lines[one], lines[other] = lines[other], lines[one]
        elif what == 3:
            lines[one] = " " * chance.randint(1, 3) + lines[one]
        else:
            lines[one] = lines[one][chance.randint(1, 3) :]
    return "\n".join(lines).encode()


def _flipped(chance: random.Random, bodies: list[Any]) -> bytes:
    """Single bytes changed."""
    raw = bytearray(to_yaml(bodies).encode())
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(raw))
        raw[place] = chance.choice((chance.randrange(256), ord(chance.choice("{}[]:-#&*!|>'\"\t\n"))))
    return bytes(raw)


def _soup(chance: random.Random, _: list[Any]) -> bytes:
    """Bytes, or YAML's own signs, without any sense."""
    if chance.random() < 0.5:
        return chance.randbytes(chance.randint(0, 200))
    head = (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nspec: "
        if chance.random() < 0.5
        else ""
    )
    return (head + "".join(chance.choices(SOUP, k=chance.randint(0, 200)))).encode()


def main(count: int, seed: int) -> int:
    """Run `count` cases and print what came of them; 1 at the first that is neither finding nor line."""
    began, told = time.monotonic(), Counter[str]()
    for number, raw in enumerate(cases(seed)):
        if number == count:
            break
        try:
            told[judge(raw)] += 1
        except Exception:
            sys.stderr.write(f"case {number} of seed {seed}: {raw!r}\n")
            raise
    listed = ", ".join(f"{name} {times}" for name, times in told.most_common())
    print(f"{count} cases, seed {seed}: {listed}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:3]]
    sys.exit(main(*(given + [50_000, 1][len(given) :])))
