from pathlib import Path

import pytest

from vllm_multinode.launcher.memory import OomKills, available_memory, oom_kills

GIB = 1024**3


def machine(root: Path, cgroup: str, files: dict[str, str]) -> None:
    files = {
        "proc/meminfo": "MemTotal:       67108864 kB\nMemAvailable:   33554432 kB\n",
        "proc/self/cgroup": cgroup,
        **files,
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


V2 = {
    "sys/fs/cgroup/memory.max": f"{16 * GIB}\n",
    "sys/fs/cgroup/memory.current": f"{12 * GIB}\n",
    "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {3 * GIB}\nactive_file {GIB}\nshmem 5\n",
}
V1 = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{16 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{12 * GIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB}\ntotal_active_file {GIB}\n",
}


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        pytest.param("0::/\n", {}, 32 * GIB, id="no-limit-but-the-machine"),
        pytest.param("0::/\n", V2, 8 * GIB, id="v2-page-cache-counts-as-free"),
        pytest.param("0::/pod/container\n", V2, 8 * GIB, id="v2-limit-of-an-ancestor"),
        pytest.param("0::/\n", {**V2, "sys/fs/cgroup/memory.max": "max\n"}, 32 * GIB, id="v2-max"),
        pytest.param("4:memory:/kubepods/x\n0::/\n", V1, 6 * GIB, id="v1-path-of-the-host"),
        pytest.param(
            "4:cpu,memory:/\n",
            {**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            32 * GIB,
            id="v1-no-limit",
        ),
        pytest.param(
            "0::/\n",
            {**V2, "sys/fs/cgroup/memory.current": f"{99 * GIB}\n"},
            0,
            id="over-its-limit-is-nothing",
        ),
        pytest.param("nonsense\n", V2, 32 * GIB, id="unreadable-cgroup"),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    machine(tmp_path, cgroup, files)
    assert available_memory(tmp_path) == expected


def test_nothing_known_is_nothing_available(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 0


def test_this_machine_has_some() -> None:
    assert available_memory() > 1024**2


@pytest.mark.parametrize(
    ("cgroup", "files", "found"),
    [
        pytest.param(
            "0::/\n",
            {
                "sys/fs/cgroup/memory.events": "low 0\noom 4\noom_kill 3\n",
                "sys/fs/cgroup/memory.max": f"{GIB}\n",
            },
            OomKills(3, GIB),
            id="v2-in-a-container",
        ),
        pytest.param(
            "0::/kubepods/pod1\n",
            {
                "sys/fs/cgroup/kubepods/pod1/memory.events": "oom_kill 1\n",
                "sys/fs/cgroup/kubepods/pod1/memory.max": "max\n",
                "sys/fs/cgroup/memory.events": "oom_kill 9\n",
            },
            OomKills(1, None),
            id="v2-on-the-node-without-a-limit",
        ),
        pytest.param(
            "5:memory:/docker/1\n0::/x\n",
            {
                "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{1 << 62}\n",
            },
            OomKills(2, None),
            id="v1",
        ),
        pytest.param("", {}, OomKills(0, None), id="nothing-to-read"),
    ],
)
def test_what_the_kernel_has_killed(
    tmp_path: Path, cgroup: str, files: dict[str, str], found: OomKills
) -> None:
    machine(tmp_path, cgroup, files)
    assert oom_kills(tmp_path) == found
