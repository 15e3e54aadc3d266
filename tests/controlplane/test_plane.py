"""The control plane comes up, keeps to itself, and leaves nothing."""

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest

from controlplane.plane import apiserver, builds
from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.processes import StartFailedError
from controlplane.plane.running import Plane
from engine.services import eventually

_START = """
    import sys
    from controlplane.plane.running import running
    with running() as plane:
        print(plane.kubeconfig, flush=True)
        sys.stdin.read()
"""


def processes_of(folder: Path) -> list[int]:
    """Those that have the folder in their arguments or environment, this one aside."""
    word = str(folder).encode()
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                said = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:
                continue
            if word in said:
                found.append(int(path.name))
    return found


@pytest.fixture
def needs_go() -> None:
    """Skips where the programs cannot be built."""
    try:
        builds.go_version()
    except builds.GoMissingError as error:
        pytest.skip(str(error))


def test_it_is_a_kubernetes_of_the_version_that_was_asked_for(plane: Plane) -> None:
    assert f"Server Version: {builds.KUBERNETES_VERSION}" in plane.kubectl()("version")


def test_every_controller_does_its_work(kubectl: Kubectl) -> None:
    labels = {"app": "web"}
    kubectl.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]},
                },
            },
        }
    )
    eventually(lambda: len(kubectl.list("pods", "app=web")) == 2)
    kubectl("delete", "deployment", "web")
    eventually(lambda: not kubectl.list("pods", "app=web"))


def test_a_leader_worker_set_becomes_pods(kubectl: Kubectl) -> None:
    container = {"name": "main", "image": "example.com/main:1"}
    kubectl.apply(
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "group"},
            "spec": {
                "replicas": 1,
                "leaderWorkerTemplate": {"size": 2, "workerTemplate": {"spec": {"containers": [container]}}},
            },
        }
    )
    pods = eventually(lambda: kubectl.list("pods", "leaderworkerset.sigs.k8s.io/name=group"))
    assert pods[0]["metadata"]["name"] == "group-0"
    variables = {one["name"] for one in pods[0]["spec"]["containers"][0]["env"]}
    assert {"LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX"} <= variables


def test_a_guest_may_do_nothing(plane: Plane, namespace: str) -> None:
    with pytest.raises(KubectlError, match="forbidden"):
        Kubectl(plane.guest, namespace)("get", "pods")


def test_two_do_not_meet_and_a_killed_one_leaves_no_process(plane: Plane, namespace: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_START)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as second:
        assert second.stdout is not None
        other = Kubectl(Path(second.stdout.readline().strip()))
        assert namespace not in other("get", "namespaces", "-o", "name")
        assert namespace in plane.kubectl()("get", "namespaces", "-o", "name")
        folder = other.kubeconfig.parent
        assert processes_of(folder)
        second.kill()
    eventually(lambda: not processes_of(folder))
    # Whoever is killed can remove nothing.
    shutil.rmtree(folder)
    assert plane.kubectl()("get", "--raw", "/readyz") == "ok"


@pytest.mark.controlplane
@pytest.mark.usefixtures("needs_go")
def test_its_end_leaves_no_process(tmp_path: Path) -> None:
    with ExitStack() as ends:
        server = apiserver.start(tmp_path, ends)
        apiserver.start_controllers(server, tmp_path, ends)
        assert Kubectl(server.admin)("get", "--raw", "/readyz") == "ok"
        assert processes_of(tmp_path)
    assert not processes_of(tmp_path)


@pytest.mark.controlplane
@pytest.mark.usefixtures("needs_go")
def test_a_start_that_fails_says_why_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "kube-apiserver").write_text("#!/bin/sh\necho 'no room for an API' >&2\nexit 4\n")
    (broken / "kube-apiserver").chmod(0o755)
    build = builds.build
    monkeypatch.setattr(builds, "build", lambda tool: broken if tool is builds.KUBERNETES else build(tool))
    with (
        pytest.raises(
            StartFailedError, match=r"(?s)kube-apiserver ended with exit code 4.*no room for an API"
        ),
        ExitStack() as ends,
    ):
        apiserver.start(tmp_path, ends)
    assert not processes_of(tmp_path)
