"""Which runtime a service gets."""

from typing import Any

import pytest

from kserve_inputs import Body, runtime, service
from vllm_multinode.authoring.preview import preview

AUTO: Body = {"model": {"runtime": None}}


def named(name: str, *, cluster: bool = False, namespace: str = "", **spec: Any) -> Body:
    body = runtime(**spec)
    body["metadata"] = {"name": name, **({"namespace": namespace} if namespace else {})}
    if cluster:
        body["kind"] = "ClusterServingRuntime"
    return body


def formats(priority: int | None = None, *, auto: bool = True, name: str = "vLLM") -> list[Body]:
    return [{"name": name, "autoSelect": auto, **({"priority": priority} if priority is not None else {})}]


def chosen(*bodies: Body, version: str = "0.18.1", **changes: Any) -> str:
    found = preview([*bodies, service(**changes)], version)
    told = [one.message for one in found.findings if one.rule in ("runtime-unknown", "runtime-not-fitting")]
    return found.groups[0].runtime if found.groups else told[0]


def test_the_namespace_goes_before_the_cluster() -> None:
    wide = named("rt", cluster=True, head={"image": "cluster:1"})
    found = preview([wide, runtime(), service()], "0.18.1")
    assert found.groups[0].roles[0].pod["containers"][0]["image"] == "example.com/vllm-multinode:1"
    assert chosen(wide) == "rt"


@pytest.mark.parametrize(
    ("bodies", "name"),
    [
        pytest.param(
            [named("a", supportedModelFormats=formats(1)), named("b", supportedModelFormats=formats(2))],
            "b",
            id="higher-priority",
        ),
        pytest.param(
            [named("a", supportedModelFormats=formats()), named("b", supportedModelFormats=formats(1))],
            "b",
            id="any-priority-before-none",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(), protocolVersions=["v1"]),
                named("b", supportedModelFormats=formats(), protocolVersions=["v2", "v1"]),
            ],
            "a",
            id="equal-then-by-name",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(9), cluster=True),
                named("b", supportedModelFormats=formats(1)),
            ],
            "b",
            id="namespace-before-priority",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(9), disabled=True),
                named("b", supportedModelFormats=formats(1)),
            ],
            "b",
            id="not-a-disabled-one",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(9), workerSpec=None),
                named("b", supportedModelFormats=formats(1)),
            ],
            "b",
            id="only-multi-node-ones",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(9, auto=False)),
                named("b", supportedModelFormats=formats(1)),
            ],
            "b",
            id="only-auto-select",
        ),
        pytest.param(
            [
                named("a", supportedModelFormats=formats(9), protocolVersions=["grpc-v2"]),
                named("b", supportedModelFormats=formats(1)),
            ],
            "b",
            id="only-its-protocol",
        ),
    ],
)
def test_a_runtime_is_selected_by_its_format(bodies: list[Body], name: str) -> None:
    assert chosen(*bodies, **AUTO) == name


def test_no_runtime_fits() -> None:
    assert "none with a workerSpec among the files supports the format" in chosen(
        runtime(workerSpec=None), **AUTO
    )


def test_v0_20_wants_protocol_v2_for_vllm() -> None:
    below = runtime(protocolVersions=["v1"])
    assert chosen(below, version="0.19.0") == "rt"
    assert "does not support protocol version v2" in chosen(below, version="0.20.0")


def test_a_format_with_a_version_must_match_it() -> None:
    asked: Body = {"model": {"modelFormat": {"name": "vLLM", "version": "2"}}}
    assert "does not support framework/version vLLM:2" in chosen(runtime(), **asked)
    assert chosen(runtime(), model={"modelFormat": {"name": "vLLM", "version": "1"}}) == "rt"


def test_several_services_and_runtimes_in_one_input() -> None:
    bodies = [runtime(), named("other"), service(name="one"), service(name="two", model={"runtime": "other"})]
    bodies[1]["spec"]["supportedModelFormats"] = formats(1)
    found = preview(bodies, "0.18.1")
    assert [(one.name, one.runtime) for one in found.groups] == [("one", "rt"), ("two", "other")]


def test_two_runtimes_of_one_priority_are_refused() -> None:
    found = preview([runtime(), named("other"), service()], "0.18.1")
    assert found.of("refused")[0].name == "other"
    assert "same priority assigned for the model format vLLM in the servingruntimes rt and other" in (
        found.of("refused")[0].message
    )
