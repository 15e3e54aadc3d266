"""How much memory this container may still fill, page cache that can be dropped included."""

from dataclasses import dataclass
from pathlib import Path

# cgroup v1 writes "no limit" as a number near 2^63.
_NO_LIMIT = 1 << 60


def available_memory(root: Path = Path("/")) -> int:
    """Return bytes: the least of the machine's MemAvailable and what the cgroups above this process leave.

    Page cache counts as available, as in MemAvailable: of a cgroup's use, the file pages on its LRU lists are
    taken off. Without any of the files, 0.

    Args:
        root: of the file system.
    """
    found = [value for value in (_machine(root), *_cgroups(root)) if value is not None]
    return max(0, min(found, default=0))


def _machine(root: Path) -> int | None:
    fields = _pairs(root / "proc/meminfo")
    return fields["MemAvailable:"] * 1024 if "MemAvailable:" in fields else None


def _cgroups(root: Path) -> list[int | None]:
    """Ask the process's cgroup and its ancestors; inside a container the first of them is its own."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[int | None] = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        directory = mount / path.strip("/")
        while True:
            found.append(_left(directory, *names))
            if directory == mount or mount not in directory.parents:
                break
            directory = directory.parent
    return found


def _left(directory: Path, limit_name: str, usage_name: str, prefix: str) -> int | None:
    """Return what one cgroup leaves, None where it sets no limit."""
    limit, usage = _number(directory / limit_name), _number(directory / usage_name)
    if limit is None or usage is None or limit >= _NO_LIMIT:
        return None
    statistics = _pairs(directory / "memory.stat")
    cache = statistics.get(f"{prefix}active_file", 0) + statistics.get(f"{prefix}inactive_file", 0)
    return limit - usage + cache


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _pairs(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    split = (line.split() for line in lines)
    return {parts[0]: int(parts[1]) for parts in split if len(parts) > 1 and parts[1].isdecimal()}


@dataclass(frozen=True, slots=True)
class OomKills:
    """What the kernel has killed in this container for memory.

    Attributes:
        count: processes since the container's start.
        limit: bytes, None without a limit.
    """

    count: int
    limit: int | None


def oom_kills(root: Path = Path("/")) -> OomKills:
    """Read the count of this process's own cgroup; 0 without the file.

    Args:
        root: of the file system.
    """
    for mount, events, limit_name in (
        (root / "sys/fs/cgroup", "memory.events", "memory.max"),
        (root / "sys/fs/cgroup/memory", "memory.oom_control", "memory.limit_in_bytes"),
    ):
        for path in _own_paths(root):
            counted = _pairs(mount / path / events).get("oom_kill")
            if counted is not None:
                limit = _number(mount / path / limit_name)
                return OomKills(counted, limit if limit is not None and limit < _NO_LIMIT else None)
    return OomKills(0, None)


def _own_paths(root: Path) -> list[str]:
    """Below the mount: the cgroup's path, and the mount itself, which in a container is its own cgroup."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    memory = [line.split(":", 2) for line in lines]
    return [parts[2].strip("/") for parts in memory if len(parts) == 3 and parts[1] in ("", "memory")] + [""]
