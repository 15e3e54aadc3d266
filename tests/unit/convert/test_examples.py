"""Whole files of other systems, each with its whole report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_multinode.authoring.rules import validate
from vllm_multinode.convert import convert
from vllm_multinode.convert.rendering import BLOCKING, rendered
from vllm_multinode.convert.report import as_markdown, as_object, spec_yaml
from vllm_multinode.convert.sources import read_sources
from vllm_multinode.k8s.documents import Reading, from_text
from vllm_multinode.platforms.releases import DEFAULT, find

EXAMPLES = Path(__file__).parents[2] / "data" / "convert"
NAMES = sorted(path.name for path in EXAMPLES.iterdir())
EXPECTED = "expected.json"
CANARIES = ("hf_a", "hf_c", "not-for-anybody", "sekret", "abcdefghijklmnopqrstuvwxyz012345")


def sources(name: str) -> list[str]:
    return [str(path) for path in sorted((EXAMPLES / name).iterdir()) if path.name != EXPECTED]


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Every value's path, written as reports write it, by code of the test's own."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            bare = key.replace("_", "a").replace("-", "a").isalnum() and (key[0].isalpha() or key[0] == "_")
            step = (f".{key}" if path else key) if bare else f"[{json.dumps(key)}]"
            yield from leaves(child, f"{path}{step}")
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_report_is_as_expected(name: str) -> None:
    report = json.loads(json.dumps(as_object(convert(read_sources(sources(name), Reading())))))
    text = json.dumps(report, ensure_ascii=False).replace(f"{EXAMPLES / name}/", "")
    assert json.loads(text) == json.loads((EXAMPLES / name / EXPECTED).read_text())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ray-python"])
def test_every_value_of_the_source_has_one_row(name: str) -> None:
    rows = [row.source_path for row in convert(read_sources(sources(name), Reading())).rows]
    wanted: list[str] = []
    for source in sources(name):
        for body in yaml.safe_load_all(Path(source).read_text()):
            wanted += leaves(body)
    missing = [path for path in wanted if wanted.count(path) != rows.count(path)]
    assert missing == []
    # What more there is stands inside of a text that was read as a document.
    assert all(any(row.startswith(path) for path in wanted) for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_reaches_an_output(name: str) -> None:
    conversion, manifests = rendered(convert(read_sources(sources(name), Reading())), DEFAULT)
    written = [as_markdown(conversion), json.dumps(as_object(conversion))]
    written += [spec_yaml(service) for service in conversion.services]
    written += [made.made.stream() for made in manifests.values()]
    for canary in CANARIES:
        assert not any(canary in text for text in written), canary


@pytest.mark.parametrize("platform", ["kserve-0.19.0", "openshift-ai-2.25"])
@pytest.mark.parametrize("name", NAMES)
def test_what_comes_out_passes_validate(name: str, platform: str) -> None:
    release = find(platform)
    conversion, manifests = rendered(
        convert(read_sources(sources(name), Reading()), release=release), release
    )
    for service, made in manifests.items():
        findings = validate(from_text(made.made.stream(), service), [release])
        assert [finding.rule for finding in findings if finding.severity in BLOCKING] == []
    complete = {service.name for service in conversion.services if service.spec is not None}
    assert manifests.keys() == complete
    assert complete or any("model.size" in text for one in conversion.services for text in one.by_hand)
