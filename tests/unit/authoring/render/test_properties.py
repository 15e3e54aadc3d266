"""Any valid spec renders; as far as preview and the rules can tell, it makes the nodes that are meant."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from kserve_inputs import VERSIONS
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import find

# Nothing that is written for v0.20.0 serves there.
_SERVING = [version for version in VERSIONS if version != "0.20.0"]

_names = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
_quantities = st.sampled_from(["1Gi", "16Gi", "1.5Ti", "64G", "100000000000"])
_texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)
_sizes = st.sampled_from(
    [(1, 1, 1), (1, 2, 1), (2, 2, 2), (4, 2, 4), (8, 2, 8), (8, 1, 4), (2, 4, 2), (1, 3, 1)]
)
_tolerations = st.lists(
    st.fixed_dictionaries(
        {"key": _names, "operator": st.sampled_from(["Exists", "Equal"])},
        optional={"effect": st.sampled_from(["NoSchedule", "NoExecute"])},
    ),
    max_size=2,
)
_role = st.fixed_dictionaries(
    {},
    optional={
        "nodeSelector": st.dictionaries(_names, _names, max_size=2),
        "tolerations": _tolerations,
        "priorityClassName": _names,
        "schedulerName": _names,
        "topologySpreadConstraints": st.just([{"topologyKey": "zone"}]),
    },
)
_specs = st.fixed_dictionaries(
    {
        "name": _names,
        "model": st.fixed_dictionaries({"claim": _names}, optional={"path": _names, "size": _quantities}),
        "sizes": _sizes,
    },
    optional={
        "namespace": _names,
        "executor": st.sampled_from(["ray", "mp"]),
        "type": st.sampled_from(["nvidia", "amd", "gaudi"]),
        "image": _names,
        "context": st.integers(1, 10**6) | st.just("auto"),
        "arguments": st.dictionaries(_names, st.booleans() | st.integers() | _texts, max_size=3)
        | st.lists(_texts.map(lambda text: f"--x={text}"), max_size=3),
        "env": st.dictionaries(st.from_regex("X_[A-Z]{1,4}", fullmatch=True), _texts, max_size=3),
        "resources": st.fixed_dictionaries(
            {}, optional={"cpu": st.integers(1, 64), "memory": _quantities, "other": st.just({"rdma/a": 1})}
        ),
        "placement": st.builds(lambda common, **roles: common | roles, _role, head=_role, worker=_role),
        "replicas": st.integers(1, 3),
        "tokenSecret": _names,
        "labels": st.dictionaries(_names, _names, max_size=2),
        "network": st.just({"policy": True, "portRange": [40000, 41000], "attachments": ["a"]}),
        "drain": st.integers(0, 600),
    },
)


def read(drawn: dict[str, Any]) -> DeploymentSpec:
    tensor, pipeline, each = drawn.pop("sizes")
    drawn["parallelism"] = {"tensor": tensor, "pipeline": pipeline}
    drawn["accelerator"] = {"perNode": each, "type": drawn.pop("type", "nvidia")}
    try:
        return DeploymentSpec.model_validate(drawn)
    except ValidationError:
        # Such as a drawn argument that a group cannot have.
        assume(False)
        raise


@given(_specs, st.sampled_from(_SERVING))
def test_what_renders_is_admitted_and_makes_the_nodes(drawn: dict[str, Any], version: str) -> None:
    spec = read(drawn)
    try:
        made = render(spec, version)
    except MultinodeError:
        return
    findings = validate(from_text(made.stream(), "-"), (find(version),))
    assert [one for one in findings if one.severity in ("refused", "stalls")] == []
    foreseen = preview(made.documents, version)
    assert (foreseen.of("refused"), foreseen.of("stalls")) == ([], [])
    deployments = {one["metadata"]["name"]: one for one in foreseen.objects if one["kind"] == "Deployment"}
    for name in spec.service_names:
        workers = deployments[f"{name}-predictor-worker"]
        assert workers["spec"]["replicas"] == spec.nodes - 1
        for deployment in (deployments[f"{name}-predictor"], *([workers] if spec.nodes > 1 else [])):
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            for kind in ("requests", "limits"):
                assert container["resources"][kind][spec.accelerator_resource] == str(spec.per_node)


@given(_specs)
def test_lws_renders_too(drawn: dict[str, Any]) -> None:
    made = render(read(drawn), target="lws")
    findings = validate(from_text(made.stream(), "-"), (find("0.18.1"),))
    assert [one for one in findings if one.severity in ("refused", "stalls")] == []


@given(_specs, st.sampled_from(_SERVING), st.sampled_from(["kserve", "lws"]))
def test_the_same_again_and_read_back(drawn: dict[str, Any], version: str, target: Any) -> None:
    spec = read(drawn)
    try:
        first, second = render(spec, version, target), render(spec, version, target)
    except MultinodeError:
        return
    assert first.stream() == second.stream()
    assert [one.body for one in from_text(first.stream(), "-")] == first.documents
