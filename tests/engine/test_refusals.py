"""Members that must not join each other, each rejected by name; the engine is a stand-in."""

from pathlib import Path

import pytest

from engine.conftest import Start
from engine.services import LocalGroup, eventually, service
from engine.stand_ins import StandIns, changed, never_restarted
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.tiny_model.make_model import make_model
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

pytestmark = pytest.mark.netns

TOKEN = "the-groups-own-token"


def mounted(pod: PodSpec, source: Path, target: str) -> PodSpec:
    """With that file or directory of this machine, in place of what it has there."""
    others = [mount for mount in pod.mounts if mount.target != Path(target)]
    return pod.model_copy(update={"mounts": (*others, HostMount(source=source, target=Path(target)))})


def with_token(pod: PodSpec, token: str | None, folder: Path) -> PodSpec:
    if token is None:
        return pod
    file = folder / f"{pod.node}-token"
    file.write_text(f"{token}\n")
    return changed(mounted(pod, file, "/secret/token"), MULTINODE_TOKEN_FILE="/secret/token")


def assert_refused(group: LocalGroup, code: ExitCode, *words: str) -> None:
    """The worker ended with that code and one line of why, and the head says the same and waits."""
    worker = group.wait_for_end("worker-1")
    assert worker.exit_code == code
    assert "\n" not in worker.termination
    assert "Traceback" not in group.log("worker-1")
    refused = eventually(lambda: str(group.status().get("refused", "")), why=group.shown)
    for word in words:
        assert word in worker.termination
        assert word in refused
    eventually(lambda: words[0] in group.status()["reason"], why=group.shown)
    status = group.status()
    assert (status["state"], status["epoch"], len(status["members"])) == ("forming", 0, 1)


def test_members_with_the_same_token_join(
    start: Start, stand_ins: StandIns, made_model: Path, tmp_path: Path
) -> None:
    group = start([with_token(pod, TOKEN, tmp_path) for pod in stand_ins.pods(service(made_model))])
    group.wait_until_serving(epoch=1)
    assert TOKEN not in str(group.status())
    assert TOKEN not in "".join(group.logs().values())


@pytest.mark.parametrize(
    ("head", "worker", "words"),
    [
        pytest.param(TOKEN, "another-token", "presents another token than the head's", id="wrong"),
        pytest.param(TOKEN, None, "presents no token", id="missing"),
        pytest.param(None, TOKEN, "presents a token and the head has none", id="unexpected"),
    ],
)
def test_a_token_that_differs(
    start: Start,
    stand_ins: StandIns,
    made_model: Path,
    tmp_path: Path,
    head: str | None,
    worker: str | None,
    words: str,
) -> None:
    pods = stand_ins.pods(service(made_model))
    pods = [with_token(pod, token, tmp_path) for pod, token in zip(pods, (head, worker), strict=True)]
    group = start(never_restarted(pods))
    assert_refused(group, ExitCode.TOKEN, words)
    assert not any(token in "".join(group.logs().values()) for token in (TOKEN, "another-token"))


def test_another_model_directory(start: Start, stand_ins: StandIns, made_model: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", width=32).directory
    head, worker = stand_ins.pods(service(made_model))
    group = start(never_restarted([head, mounted(worker, other, "/mnt/models")]))
    names = [node.pod for node in group.nodes]
    assert_refused(group, ExitCode.MODELS_DIFFER, "model directories differ", *names)


def test_another_version_of_vllm(start: Start, stand_ins: StandIns, made_model: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "site" / "vllm-0.31.99.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.99\n")
    head, worker = stand_ins.pods(service(made_model))
    worker = changed(mounted(worker, tmp_path / "site", "/opt/site"), PYTHONPATH="/opt/site")
    group = start(never_restarted([head, worker]))
    names = [node.pod for node in group.nodes]
    assert_refused(group, ExitCode.VERSIONS_DIFFER, "vLLM", "0.31.99", *names)


def test_unequal_accelerators_under_mp(start: Start, stand_ins: StandIns, made_model: Path) -> None:
    local = service(made_model, version="0.17.1", head_gpus=1, worker_gpus=2)
    group = start(never_restarted(stand_ins.pods(local)))
    names = [node.pod for node in group.nodes]
    words = f"head {names[0]} has 1 accelerators and worker {names[1]} has 2"
    assert_refused(group, ExitCode.SIZES, words)
    assert stand_ins.starts("head") == []
