"""`multinode up` as a user runs it, against a stand-in for the Kubernetes API."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unit.cluster.kubeconfigs import write_kubeconfig
from unit.cluster.stub_api import StubApi, serving
from unit.cluster.test_gpu_nodes import node
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

COMMAND = ["up", "llama-3.3-70b-instruct", "--gpu", "H100-SXM", "--gpus-per-node", "2", "--kserve", "0.19.0"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubApi]:
    """The stand-in with a default storage class, and a kubeconfig for it."""
    with serving() as api:
        api.namespace("demo")
        path = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        monkeypatch.setenv("KUBECONFIG", str(path))
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        api.put(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "nfs", "annotations": default},
            }
        )
        for name in ("a", "b"):
            api.put({"apiVersion": "v1", "kind": "Node", **node(name, gpus=2)})
        yield api


def taken(api: StubApi, name: str, part_of: str = "other") -> None:
    """A pod that holds both GPUs of node b."""
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "demo",
                "labels": {"app.kubernetes.io/part-of": part_of},
            },
            "spec": {"nodeName": "b", "containers": [{"resources": {"limits": {"nvidia.com/gpu": 2}}}]},
            "status": {"phase": "Running"},
        }
    )


def template(api: StubApi, version: str) -> None:
    """OpenShift AI's own, with that version of vLLM."""
    runtime = {
        "metadata": {"annotations": {"opendatahub.io/runtime-version": version}},
        "spec": {"containers": [{"image": "registry.example/rhoai/vllm@sha256:1"}]},
    }
    api.put(
        {
            "apiVersion": "template.openshift.io/v1",
            "kind": "Template",
            "metadata": {"name": "vllm-multinode-runtime-template", "namespace": "redhat-ods-applications"},
            "objects": [runtime],
        }
    )


def secret(api: StubApi) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf-token"}, "data": {"token": "eA=="}}
    api.put(body)


def test_a_folder_for_kubectl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--out", str(tmp_path / "llama")]) == ExitCode.OK
    printed = capsys.readouterr()
    assert "Nodes: 2 with 2 x H100-SXM-80GB each\nParallelism: TP 2, PP 2, executor mp\n" in printed.out
    assert "Claim: llama-3-3-70b-instruct-model, 146Gi, ReadWriteMany" in printed.out
    assert "Model: hf://meta-llama/Llama-3.3-70B-Instruct to pvc://" in printed.out
    written = {path.name for path in (tmp_path / "llama").iterdir()}
    assert {"claim.yaml", "fetch.yaml", "launcher.yaml", "network-policy.yaml"} < written


def test_a_missing_secret_ends_it_before_anything_is_written(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--yes"]) == ExitCode.MISSING
    assert "Secret demo/hf-token: is not there" in capsys.readouterr().err
    assert api.written() == []


def test_without_a_terminal_it_asks_for_yes_and_writes_nothing(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    assert run(COMMAND) == ExitCode.USAGE
    assert "Add --yes" in capsys.readouterr().err
    assert api.written() == []


def test_the_model_comes_first_and_no_service_waits_for_one_that_does_not(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    assert run([*COMMAND, "--yes", "--timeout", "1"]) == ExitCode.NOT_SERVING
    printed = capsys.readouterr()
    assert "Secret demo/llama-3-3-70b-instruct-token created" in printed.out
    assert "is not complete after 1 s: no pod yet" in printed.err
    assert api.get("persistentvolumeclaims", "llama-3-3-70b-instruct-model") is not None
    assert api.get("inferenceservices", "llama-3-3-70b-instruct") is None


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param("nosuch", "The catalogue has no model 'nosuch'", id="unknown"),
        pytest.param(".", "is a folder on this machine", id="folder"),
    ],
)
def test_what_cannot_be_fetched(model: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", model, "--gpu", "H100-SXM"]) == ExitCode.USAGE
    assert says in capsys.readouterr().err


def test_on_openshift_ai_the_image_is_the_platform_s_own(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    template(api, "v0.18.0")
    command = [*COMMAND[:-2], "--platform", "openshift-ai-3.4", "--yes", "--timeout", "1"]
    assert run(command) == ExitCode.NOT_SERVING
    assert (
        "Image: registry.example/rhoai/vllm@sha256:1, which OpenShift AI 3.4 supports"
        in capsys.readouterr().out
    )
    (job,) = [body for (plural, _, _), body in api.objects.items() if plural == "jobs"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/rhoai/vllm@sha256:1"
    assert "runAsUser" not in container["securityContext"]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        pytest.param(("--source", "http://x/y"), "model.source: 'http://x/y' is not a source", id="source"),
        pytest.param(("--source-secret", "A B"), "model.sourceSecret", id="secret"),
        pytest.param(("--storage-class", "no class"), "model.createClaim.storageClassName", id="class"),
        pytest.param(("--source", "file://claim/x", "--source-secret", "s"), "no source needs", id="no"),
    ],
)
def test_a_wrong_option_is_one_line(
    option: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, *option, "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def on_openshift(release: str, *more: str) -> list[str]:
    return [*COMMAND[:-2], "--platform", f"openshift-ai-{release}", "--yes", "--timeout", "1", *more]


def test_an_engine_without_mp_is_run_over_ray(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    secret(api)
    template(api, "v0.10.1.1")
    assert run(on_openshift("2.25")) == ExitCode.NOT_SERVING
    printed = capsys.readouterr().out
    assert "Executor: ray, because vLLM 0.10.1.1 of OpenShift AI 2.25 has no other" in printed
    assert "executor ray\n" in printed
    runtime = api.get("servingruntimes", "vllm-multinode-ray")
    assert runtime is not None


def test_mp_that_was_asked_for_is_refused_where_the_engine_lacks_it(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    template(api, "v0.10.1.1")
    assert run(on_openshift("2.25", "--executor", "mp")) == ExitCode.SPEC
    error = capsys.readouterr().err
    assert "executor: vLLM 0.10.1.1 of OpenShift AI 2.25 does not support mp over several nodes" in error
    assert error.count("\n") == 1
    assert api.written() == []


@pytest.mark.parametrize(
    ("release", "version"),
    [
        pytest.param("3.3", "v0.9.1.0", id="named"),
        pytest.param("3.3", "", id="from-the-release"),
        pytest.param("2.19", "", id="from-before-it-was-named"),
    ],
)
def test_an_engine_that_is_too_old_gives_way_to_vllm_s_own(
    release: str, version: str, api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    template(api, version)
    run(on_openshift(release))
    printed = capsys.readouterr().out
    assert re.search(r"Image: vLLM's own, because vLLM.* of OpenShift AI .* is older than 0.10.1", printed)
    assert "executor mp\n" in printed


def test_an_image_of_the_user_s_own_is_kept(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    secret(api)
    template(api, "v0.10.1.1")
    run(on_openshift("2.25", "--image", "example.com/vllm:1", "--executor", "mp"))
    (job,) = [body for (plural, _, _), body in api.objects.items() if plural == "jobs"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/vllm:1"


def test_gpus_that_are_not_free(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    secret(api)
    taken(api, "busy")
    assert run([*COMMAND, "--yes"]) == ExitCode.DOES_NOT_FIT
    error = capsys.readouterr().err
    assert "2 nodes with 2 x H100-SXM-80GB free are needed, and 1 have them (free: 2)" in error
    assert api.written() == []


@pytest.mark.parametrize(
    ("part_of", "more"),
    [
        pytest.param("llama-3-3-70b-instruct", (), id="its-own"),
        pytest.param("other", ("--nodes-come",), id="nodes-come"),
    ],
)
def test_gpus_that_need_not_be_free(
    part_of: str, more: tuple[str, ...], api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    taken(api, "busy", part_of)
    assert run([*COMMAND, "--yes", "--timeout", "1", *more]) == ExitCode.NOT_SERVING
    assert "Job demo/llama-3-3-70b-instruct-fetch" in capsys.readouterr().err


def test_the_same_again_from_the_cluster_s_own_gpus(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own pods hold GPUs by then."""
    secret(api)
    taken(api, "busy", "llama-3-3-70b-instruct")
    command = ["up", "llama-3.3-70b-instruct", "--kserve", "0.19.0", "--yes", "--timeout", "1"]
    assert run(command) == ExitCode.NOT_SERVING
    assert "Nodes: 2 with 2 x H100-SXM-80GB each" in capsys.readouterr().out


def write_spec(folder: Path, **more: object) -> str:
    """A spec whose claim is filled from the hub, and whose size only the catalogue knows."""
    spec = {
        "name": "llm",
        "model": {"source": "hf://meta-llama/Llama-3.3-70B-Instruct"},
        "parallelism": {"tensor": 8, "pipeline": 2},
        **more,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return str(folder / "spec.yaml")


def test_deploy_takes_the_platform_s_engine_as_well(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template(api, "v0.10.1.1")
    command = ["deploy", "-f", write_spec(tmp_path), "--platform", "openshift-ai-2.25", "--no-wait"]
    assert run(command) == ExitCode.OK
    assert "which OpenShift AI 2.25 supports" in capsys.readouterr().out
    written = api.get("servingruntimes", "vllm-multinode-ray")
    assert written is not None
    [container] = written["spec"]["containers"]
    service = api.get("inferenceservices", "llm")
    assert service is not None
    images = {container["image"], service["spec"]["predictor"]["model"].get("image", "")}
    assert "registry.example/rhoai/vllm@sha256:1" in images
    claim = api.get("persistentvolumeclaims", "llm-model")
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "146Gi"


def test_deploy_refuses_an_mp_that_the_platform_s_engine_lacks(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template(api, "v0.10.1.1")
    file = write_spec(tmp_path, executor="mp")
    assert run(["deploy", "-f", file, "--platform", "openshift-ai-2.25", "--no-wait"]) == ExitCode.SPEC
    assert "does not support mp over several nodes" in capsys.readouterr().err
    assert api.written() == []


def test_a_folder_names_the_secret_of_a_gated_model_with_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--out", str(tmp_path / "llama")]) == ExitCode.OK
    assert "it needs a Secret: kubectl create secret generic hf-token --from-file" in capsys.readouterr().err


def test_an_empty_out_is_not_taken_for_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--out", ""]) == ExitCode.USAGE
    assert "--out is empty" in capsys.readouterr().err


def test_replicas_get_nodes_and_a_router(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--replicas", "2", "--out", str(tmp_path / "llama")]) == ExitCode.OK
    printed = capsys.readouterr()
    assert "Nodes: 2 groups of 2 with 2 x H100-SXM-80GB each\n" in printed.out
    assert "Replicas: 2, behind 2 pods of vllm-router\n" in printed.out
    services = (tmp_path / "llama/inference-service.yaml").read_text()
    assert "name: llama-3-3-70b-instruct-0\n" in services
    assert "name: llama-3-3-70b-instruct-1\n" in services
    assert (tmp_path / "llama/router.yaml").exists()


def test_replicas_for_which_there_are_too_few_nodes(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    secret(api)
    nodes = [*COMMAND, "--nodes", "2", "--replicas", "2", "--yes"]
    assert run(nodes) == ExitCode.DOES_NOT_FIT
    assert "2 replicas of 2 nodes x 2 GPUs (TP 2, PP 2) are requested" in capsys.readouterr().err
    assert run([*COMMAND, "--replicas", "2", "--yes"]) == ExitCode.DOES_NOT_FIT
    assert "4 nodes with 2 x H100-SXM-80GB free are needed, and 2 have them" in capsys.readouterr().err
    assert api.written() == []


def test_only_nodes_of_the_pool_are_taken(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    pool = ["--selector", "pool=b"]
    assert run([*COMMAND, *pool, "--yes"]) == ExitCode.DOES_NOT_FIT
    assert "None of the cluster's 2 nodes has the labels pool=b" in capsys.readouterr().err
    assert run([*COMMAND, *pool, "--nodes", "2", "--out", str(tmp_path / "llama")]) == ExitCode.OK
    assert "pool: b" in (tmp_path / "llama/inference-service.yaml").read_text()


def test_ray_without_an_image_takes_the_last_release_that_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--executor", "ray", "--out", str(tmp_path / "llama")]) == ExitCode.OK
    assert "The image is that of vLLM 0.17.1, the last release that has Ray" in capsys.readouterr().err
    runtime = (tmp_path / "llama/serving-runtime.yaml").read_text()
    assert runtime.count("image: docker.io/vllm/vllm-openai:v0.17.1\n") == 2


def test_ray_where_no_released_image_has_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "llama")
    amd = ["up", "llama-3.3-70b-instruct", "--gpu", "MI300X", "--executor", "ray", "--out", out]
    assert run(amd) == ExitCode.USAGE
    assert "no released image of vLLM for accelerators of type amd is known to have Ray" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "llama").exists()
    assert run([*amd, "--image", "registry.example/vllm:1"]) == ExitCode.OK


def test_a_mirror_is_handed_on_to_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    out = ["--out", str(tmp_path / "llama")]
    assert run([*COMMAND, *out]) == ExitCode.OK
    assert "--source-env HF_ENDPOINT hands it on" in capsys.readouterr().out
    assert run([*COMMAND, *out, "--source-env", "HF_ENDPOINT", "--source-env", "NO_PROXY=a"]) == ExitCode.OK
    assert "hands it on" not in capsys.readouterr().out
    job = (tmp_path / "llama/fetch.yaml").read_text()
    assert "- name: HF_ENDPOINT\n          value: https://mirror.example\n" in job
    assert "- name: NO_PROXY\n          value: a\n" in job
    assert run([*COMMAND, *out, "--source-env", "NO_SUCH_VARIABLE"]) == ExitCode.USAGE
    assert "it is not set here" in capsys.readouterr().err


def test_a_model_on_another_claim_is_no_larger_than_that(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_spec(tmp_path, model={"source": "file://other/llm"})
    command = ["deploy", "-f", file, "--kserve", "0.19.0", "--no-wait"]
    assert run(command) == ExitCode.MISSING
    assert "PersistentVolumeClaim demo/other: does not exist" in capsys.readouterr().err
    assert api.written() == []
    size = {"resources": {"requests": {"storage": "500Gi"}}, "accessModes": ["ReadWriteMany"]}
    api.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "other", "namespace": "demo"},
            "spec": size,
        }
    )
    assert run(command) == ExitCode.OK
    assert "model.size is at most 500Gi, what the claim of file://other/llm holds" in capsys.readouterr().err
    claim = api.get("persistentvolumeclaims", "llm-model")
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "550Gi"


def test_a_claim_to_copy_from_has_to_be_there(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_spec(tmp_path, model={"source": "file://other/llm", "size": "10Gi"})
    assert run(["deploy", "-f", file, "--kserve", "0.19.0", "--no-wait"]) == ExitCode.MISSING
    assert "file://other/llm copies from it" in capsys.readouterr().err
    assert api.written() == []
