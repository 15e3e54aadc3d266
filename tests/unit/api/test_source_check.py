"""A model that is not at its source is one line before anything is written; what cannot be told is a note."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sources import hub, registry, s3
from sources.servers import Answer, Asked, Server, serve
from unit.cluster.objects import fetching
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.api import source_check
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

FILES = {"config.json": b"{}", "model.safetensors": b"x" * 5000}
KEYS = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET, "AWS_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no credentials of its own, and may ask."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_PROFILE", *KEYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def secret(values: Mapping[str, str]) -> dict[str, Any]:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}


def checked(cluster: Cluster, given: list[dict[str, Any]]) -> list[str]:
    told: list[str] = []
    source_check.check(cluster, given, told.append)
    return told


def refusal(cluster: Cluster, given: list[dict[str, Any]], code: ExitCode) -> str:
    with pytest.raises(MultinodeError) as caught:
        checked(cluster, given)
    assert caught.value.code == code
    assert "Nothing was written" in str(caught.value)
    return str(caught.value)


def answering(code: int) -> Server:
    return Server(lambda _: Answer(code))


def test_a_model_that_is_there(cluster: Cluster) -> None:
    with serve(hub.hub(FILES)) as server:
        assert checked(cluster, fetching("hf://org/name", sourceEnv={"HF_ENDPOINT": server.url})) == []
        assert [one.path for one in server.asked] == ["/api/models/org/name/revision/main"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("hf://org/elsewhere", "has no such thing (404)", id="no-such-model"),
        pytest.param("hf://org/name@v9", "there is no revision v9", id="no-such-revision"),
    ],
)
def test_a_model_that_is_not_there(cluster: Cluster, source: str, says: str) -> None:
    with serve(hub.hub(FILES)) as server:
        given = fetching(source, sourceEnv={"HF_ENDPOINT": server.url})
        told = refusal(cluster, given, ExitCode.MODEL_MISSING)
    assert told.startswith(f"{source}: ")
    assert says in told
    assert "omit model.source" in told


def test_the_job_asks_without_a_token_and_so_does_this_machine(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    with serve(hub.hub(FILES, gated=True)) as server:
        given = fetching("hf://org/name", sourceEnv={"HF_ENDPOINT": server.url})
        assert "sourceSecret" in refusal(cluster, given, ExitCode.SOURCE_DENIED)


def test_the_token_of_the_secret_is_asked_with(cluster: Cluster, api: StubApi) -> None:
    api.put(secret({"token": hub.TOKEN}))
    with serve(hub.hub(FILES, gated=True)) as server:
        given = fetching("hf://org/name", sourceSecret="s", sourceEnv={"HF_ENDPOINT": server.url})
        assert checked(cluster, given) == []
        api.put(secret({"token": "hf_another"}))
        told = refusal(cluster, given, ExitCode.SOURCE_DENIED)
    assert "Check what Secret s holds" in told
    assert "hf_another" not in told


def test_a_secret_among_the_objects_is_asked_with(cluster: Cluster) -> None:
    with serve(hub.hub(FILES, gated=True)) as server:
        given = fetching("hf://org/name", sourceSecret="s", sourceEnv={"HF_ENDPOINT": server.url})
        assert checked(cluster, [*given, secret({"token": hub.TOKEN})]) == []


def test_a_secret_that_may_not_be_read_leaves_a_refusal_to_the_job(cluster: Cluster, api: StubApi) -> None:
    api.refuse("GET", "/api/v1/namespaces/demo/secrets/s", 403, status(403, "Forbidden", "no"))
    with serve(hub.hub(FILES, gated=True)) as server:
        given = fetching("hf://org/name", sourceSecret="s", sourceEnv={"HF_ENDPOINT": server.url})
        (told,) = checked(cluster, given)
        assert "cannot be checked from this machine (the model is gated (401)); the Job will check it" in told
    # What is not there is not there for anybody.
    with serve(hub.hub(FILES)) as server:
        absent = fetching("hf://org/elsewhere", sourceSecret="s", sourceEnv={"HF_ENDPOINT": server.url})
        refusal(cluster, absent, ExitCode.MODEL_MISSING)


@pytest.mark.parametrize(
    "endpoint", [pytest.param("http://127.0.0.1:9", id="refused"), pytest.param("", id="busy")]
)
def test_a_source_that_is_out_of_reach_is_a_note(cluster: Cluster, endpoint: str) -> None:
    with serve(answering(503)) as server:
        given = fetching("hf://org/name", sourceEnv={"HF_ENDPOINT": endpoint or server.url})
        (told,) = checked(cluster, given)
    assert told.startswith("note: hf://org/name cannot be checked from this machine (")
    assert "\n" not in told


def test_a_machine_that_is_told_to_stay_offline_asks_nobody(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with serve(hub.hub(FILES)) as server:
        (told,) = checked(cluster, fetching("hf://org/elsewhere", sourceEnv={"HF_ENDPOINT": server.url}))
        assert server.asked == []
    assert "HF_HUB_OFFLINE is set" in told


def test_a_bucket(cluster: Cluster, api: StubApi) -> None:
    api.put(secret(KEYS))
    with serve(s3.s3({f"llm/{name}": body for name, body in FILES.items()})) as server:
        more = {"sourceSecret": "s", "sourceEnv": {"AWS_ENDPOINT_URL": server.url}}
        assert checked(cluster, fetching("s3://models/llm", **more)) == []
        assert "no object below" in refusal(
            cluster, fetching("s3://models/x", **more), ExitCode.MODEL_MISSING
        )
        told = refusal(cluster, fetching("s3://elsewhere/llm", **more), ExitCode.MODEL_MISSING)
        assert "NoSuchBucket" in told
        # Without a Secret it is the pod's identity that asks.
        (noted,) = checked(cluster, fetching("s3://models/llm", sourceEnv=more["sourceEnv"]))
    assert "there are no credentials" in noted


def test_a_bucket_without_boto3(cluster: Cluster, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put(secret(KEYS))
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    (told,) = checked(cluster, fetching("s3://models/llm", sourceSecret="s"))
    assert "boto3, which is not installed here" in told


def test_an_image(cluster: Cluster, api: StubApi) -> None:
    images = registry.registry(registry.image([registry.layer({"models/model.safetensors": b"x" * 5000})]))
    asked: list[str] = []

    def private(one: Asked) -> Answer:
        asked.append(one.headers.get("authorization", ""))
        if not asked[-1]:
            return Answer(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return images.handle(one)

    with serve(Server(private)) as server:
        address = f"oci://{server.host}/{registry.REPOSITORY}"
        auth = {"auths": {server.host: {"auth": base64.b64encode(b"ada:pw").decode()}}}
        api.put(secret({".dockerconfigjson": json.dumps(auth)}))
        assert checked(cluster, fetching(f"{address}:{registry.TAG}", sourceSecret="s")) == []
        assert asked[-1] == f"Basic {auth['auths'][server.host]['auth']}"
        told = refusal(cluster, fetching(f"{address}:elsewhere", sourceSecret="s"), ExitCode.MODEL_MISSING)
        assert told.startswith(f"{address}:elsewhere: ")
        assert "sourceSecret" in refusal(
            cluster, fetching(f"{address}:{registry.TAG}"), ExitCode.SOURCE_DENIED
        )


def test_a_model_that_was_fetched_before_is_not_asked_for(cluster: Cluster, api: StubApi) -> None:
    with serve(answering(404)) as server:
        given = fetching("hf://org/name", sourceEnv={"HF_ENDPOINT": server.url})
        (service,) = (one for one in given if one["kind"] == "InferenceService")
        (job,) = (one for one in given if one["kind"] == "Job")
        api.put(service)
        assert checked(cluster, given) == []
        # The same service with another model.
        refusal(
            cluster, fetching("hf://org/b", sourceEnv={"HF_ENDPOINT": server.url}), ExitCode.MODEL_MISSING
        )
        api.objects.clear()
        api.put({**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})
        server.asked.clear()
        assert checked(cluster, given) == []
        assert server.asked == []


def test_another_claim_is_no_matter_of_this_machine(cluster: Cluster) -> None:
    assert checked(cluster, fetching("file://other/llm")) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"args": None}, id="no-arguments"),
        pytest.param({"args": [7, {}]}, id="arguments-of-another-kind"),
        pytest.param({"env": "x", "envFrom": [3]}, id="no-variables"),
        pytest.param({"env": [{"name": "HF_ENDPOINT", "value": 7}]}, id="a-number"),
    ],
)
def test_a_job_of_any_shape(cluster: Cluster, change: dict[str, Any], tmp_path: Path) -> None:
    with serve(hub.hub(FILES)) as server:
        given = fetching("hf://org/name", sourceEnv={"HF_ENDPOINT": server.url})
        (job,) = (one for one in given if one["kind"] == "Job")
        job["spec"]["template"]["spec"]["containers"][0].update(change)
        found = list(source_check.fetches(given, lambda _: None))
    assert len(found) == ("args" not in change)
