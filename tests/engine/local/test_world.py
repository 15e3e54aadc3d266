"""What nodes see, and what can be done to them."""

import os
import signal
import socket
from pathlib import Path

import pytest

from engine.local.groups import PATH, Group, eventually, open_group, process_state, processes_with, stand_in
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.local.world.pod_spec import HostMount
from vllm_multinode.local.world.protocol import Request

pytestmark = pytest.mark.netns


def test_a_node_has_its_own_everything(group: Group) -> None:
    status = group.status("head")
    seen = group.get("head")
    assert seen["env"] == {
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "NODE": "stand-in head",
        "POD_IP": status.address,
        "POD_NAME": status.pod,
    }
    assert seen["argv"] == ["one", "two words"]
    assert seen["pid"] == 1
    assert seen["uid"] == os.getuid()
    assert len(seen["processes"]) == 2
    assert seen["hostname"] == status.pod
    assert seen["interfaces"] == ["lo", "eth0"]
    assert seen["resolver"].startswith("nameserver 127.0.0.1\n")
    assert "mine" in seen["tmp"]
    assert not Path("/tmp/mine").exists()
    assert seen["shared_memory"] == 1 << 30
    assert seen["models"] == ["config.json"]
    assert seen["models_read_only"]


def test_nodes_find_each_other_by_pod_and_by_service(group: Group) -> None:
    worker = group.status("worker-1")
    for name in (worker.pod, "workers", "workers.default.svc"):
        assert group.get("head", f"/resolve/{name}") == [worker.address]
    assert group.get("head", f"/reach/{worker.address}")
    assert group.get("worker-1", "/reach/heads")


def test_the_machine_sees_nothing_of_it(group: Group) -> None:
    assert str(group.run.directory.path) not in Path("/proc/self/mountinfo").read_text()
    assert not [name for _, name in socket.if_nameindex() if name.startswith(("pod", "pods"))]
    assert list(group.run.directory.mounts.iterdir()) == []


def test_states_come_from_the_supervisor(group: Group) -> None:
    assert group.run.client.wait_for("serving", 5).serving
    eventually(lambda: group.status("worker-1").state)
    status = group.run.client.status()
    assert [(node.node, node.state, node.rank, node.process) for node in status.nodes] == [
        ("head", "serving", 0, "running"),
        ("worker-1", "serving", 0, "running"),
    ]


def test_frozen_nodes_do_nothing_until_they_are_thawed(group: Group) -> None:
    group.ask("freeze", "worker-1")
    assert group.status("worker-1").process == "frozen"
    assert not group.answers("worker-1")
    # All of the node's processes, not only the first one.
    states = [process_state(pid) for pid in processes_with("NODE=stand-in worker-1")]
    assert states == ["T", "T"]
    group.ask("thaw", "worker-1")
    assert group.status("worker-1").process == "running"
    eventually(lambda: group.answers("worker-1"))
    assert group.status("worker-1").restarts == 0


def test_a_cut_node_is_alone_until_it_joins(group: Group) -> None:
    address = group.status("worker-1").address
    group.ask("cut", "worker-1")
    assert group.status("worker-1").cut
    assert not group.get("head", f"/reach/{address}")
    group.ask("join", "worker-1")
    eventually(lambda: group.get("head", f"/reach/{address}"))
    assert not group.status("worker-1").cut


def test_a_killed_container_is_restarted_in_place(group: Group) -> None:
    before = group.status("worker-1")
    group.ask("kill", "worker-1")
    after = eventually(lambda: (found := group.status("worker-1")).restarts == before.restarts + 1 and found)
    assert (after.pod, after.address, after.exit_code) == (before.pod, before.address, 128 + signal.SIGKILL)
    eventually(lambda: group.answers("worker-1"))
    assert len(group.get("worker-1")["processes"]) == 2
    # Volumes are the pod's: /tmp is what the first container left.
    assert {"start-0", "start-1", "checkout"} <= set(group.get("worker-1")["tmp"])


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        pytest.param(Request(command="kill", node="worker-1", stay_dead=True), 137, id="killed-to-stay-dead"),
        pytest.param(Request(command="stop", node="worker-1"), 0, id="stopped"),
    ],
)
def test_a_node_stays_down_until_it_is_started(group: Group, command: Request, exit_code: int) -> None:
    group.run.client.ask(command, 10)
    dead = eventually(lambda: (found := group.status("worker-1")).process == "dead" and found)
    assert dead.exit_code == exit_code
    assert not group.answers("worker-1")
    group.ask("start", "worker-1")
    eventually(lambda: group.answers("worker-1"))


def test_a_replacement_has_another_name_and_address(group: Group) -> None:
    before = group.status("worker-1")
    group.ask("replace", "worker-1")
    after = group.status("worker-1")
    assert after.pod != before.pod
    assert after.address != before.address
    assert after.restarts == 0
    eventually(lambda: group.answers("worker-1"))
    # The head's file changed in place, without a restart of the head.
    assert group.get("head", "/resolve/workers") == [after.address]
    assert before.pod not in group.get("head")["hosts"]
    assert not group.get("head", f"/reach/{before.address}")


def test_pods_come_and_go(group: Group, model: Path) -> None:
    spec = stand_in("late", "worker", model, grace=20.0)
    group.run.client.ask(Request(command="add", spec=spec), 10)
    assert len(group.get("head", "/resolve/workers")) == 2
    with pytest.raises(MultinodeError, match="already has a pod"):
        group.run.client.ask(Request(command="add", spec=spec), 10)
    # Its program is hardly loaded, and hears SIGTERM all the same: the grace period is not used up.
    group.ask("remove", "late")
    assert len(group.get("head", "/resolve/workers")) == 1
    with pytest.raises(MultinodeError, match=r"'late' is not a node.*head, worker-1"):
        group.ask("kill", "late")


def test_settings_of_one_pod(tmp_path: Path, model: Path) -> None:
    core = min(os.sched_getaffinity(0))
    spec = stand_in(
        "head",
        "head",
        model,
        shared_memory=1 << 26,
        cpus=(core,),
        sysctls={"net.ipv4.ip_local_port_range": "40000 40999"},
    )
    with (found := open_group(tmp_path / "runs", [spec])).run:
        seen = found.get("head")
    assert seen["shared_memory"] == 1 << 26
    assert seen["cpus"] == [core]
    assert seen["ports"] == ["40000", "40999"]


def test_mount_points_are_made_where_the_machine_has_none(tmp_path: Path, model: Path) -> None:
    target = Path("/usr/share/absent-on-this-machine/models")
    mounts = (HostMount(source=model, target=Path("/mnt/models")), HostMount(source=model, target=target))
    with (found := open_group(tmp_path / "runs", [stand_in("head", "head", model, mounts=mounts)])).run:
        assert found.get("head")["models"] == ["config.json"]
        assert found.get("head", f"/list{target}") == ["config.json"]
        # What is covered by that stays visible.
        shown = found.get("head", "/list/usr/share")
    assert set(shown) == {entry.name for entry in Path("/usr/share").iterdir()} | {target.parent.name}
    assert not target.parent.exists()


def test_a_container_that_ends_says_why(tmp_path: Path, model: Path) -> None:
    env = {"PATH": PATH, "STAND_IN_EXIT": "22"}
    failing = stand_in("worker-1", "worker", model, env=env, restart="never")
    absent = stand_in("worker-2", "worker", model, argv=("/absent/program",))
    with (found := open_group(tmp_path / "runs", [stand_in("head", "head", model)])).run as run:
        for spec in (failing, absent):
            run.client.ask(Request(command="add", spec=spec), 10)
        ended = eventually(lambda: (node := found.status("worker-1")).process == "dead" and node)
        assert (ended.exit_code, ended.termination) == (22, "the stand-in was told to end.")
        looping = eventually(lambda: (node := found.status("worker-2")).restarts >= 2 and node)
        assert looping.exit_code == 126
        assert "/absent/program" in looping.termination


def test_two_runs_do_not_meet(group: Group, tmp_path: Path, model: Path) -> None:
    specs = [stand_in("head", "head", model), stand_in("worker-1", "worker", model)]
    with (other := open_group(tmp_path / "runs", specs)).run:
        for found in (group, other):
            pods = {node.pod for node in found.run.client.status().nodes}
            assert {found.get(node)["hostname"] for node in ("head", "worker-1")} == pods
        # The same address, in another world.
        other.ask("kill", "head", stay_dead=True)
        eventually(lambda: not other.answers("head"))
        assert group.answers("head")
        other.ask("remove", "worker-1")
        assert group.get("head", "/reach/workers")
