"""The router before several groups, in a preview."""

from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.preview.as_json import as_object
from vllm_multinode.authoring.preview.table import as_text
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.render.router import IMAGE
from vllm_multinode.authoring.spec import DeploymentSpec


def documents(replicas: int) -> list[dict[str, object]]:
    fields = {"name": "llm", "model": {"claim": "x"}, "parallelism": {"pipeline": 2}, "replicas": replicas}
    return render(DeploymentSpec.model_validate(fields)).documents


def test_it_stands_before_the_heads() -> None:
    found = preview(documents(2), "kserve-0.19.0")
    assert as_object(found)["routers"] == [
        {"name": "llm-router", "pods": 2, "heads": ["http://llm-0-api", "http://llm-1-api"]}
    ]
    text = as_text(found)
    assert "Deployment llm-router, the router before these heads\n" in text
    assert f"  2 pods of {IMAGE}\n  http://llm-0-api\n  http://llm-1-api\n" in text


def test_a_single_group_has_none() -> None:
    found = preview(documents(1), "kserve-0.19.0")
    assert found.routers == ()
    assert "router" not in as_text(found)


def test_somebody_else_s_container_beside_it_is_passed_over() -> None:
    made = documents(2)
    for body in made:
        if body["kind"] == "Deployment":
            body["spec"]["template"]["spec"]["containers"].insert(0, {"name": "mesh"})  # type: ignore[index]
    assert preview(made, "kserve-0.19.0").routers
    assert "http://llm-0-api" in as_text(preview(made, "kserve-0.19.0"))
