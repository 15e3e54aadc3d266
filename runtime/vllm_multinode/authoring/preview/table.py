"""A preview as text of 80 to 110 columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.preview import Preview
from vllm_multinode.authoring.preview.update import Update, gpus_of, surge
from vllm_multinode.authoring.render.router import container_of, heads_of
from vllm_multinode.authoring.report import as_lines
from vllm_multinode.contract import env
from vllm_multinode.k8s import access
from vllm_multinode.platforms.names import GENERATION_LABEL
from vllm_multinode.platforms.simulation import Body, Group, Role

_WIDTH: Final = 110
_SHOWN_ENV: Final = (*sorted(env.KSERVE), *sorted(env.LWS))
_LONGEST: Final = 44  # characters of a value


def as_text(found: Preview) -> str:
    """Nodes, roles, accelerators, names, ports and environment; then what does not serve, and why."""
    lines = [found.release.label]
    for group in found.groups:
        lines += ["", *_group(group)]
    for router in found.routers:
        lines += ["", *_router(router)]
    if not found.groups:
        lines += ["", "Nothing is created."]
    if found.findings or found.notes:
        lines.append("")
    lines += [line for text in as_lines(found.findings, (found.release,)) for line in _wrapped("", text)]
    lines += [line for note in found.notes for line in _wrapped("note: ", note)]
    return "\n".join(lines) + "\n"


def findings_text(found: Preview) -> str:
    """What blocks alone, one line each."""
    blocking = [finding for finding in found.findings if finding.blocks]
    return "".join(f"{line}\n" for line in as_lines(blocking, (found.release,)))


def updates_text(found: Sequence[Update]) -> str:
    """What an update does to each group."""
    lines: list[str] = []
    for one in found:
        lines += ["", *_update(one)]
    return "\n".join(lines) + "\n"


def _group(group: Group) -> Iterator[str]:
    place = f"{group.namespace}/" if group.namespace else ""
    yield f"{group.kind} {place}{group.name}" + (f" on runtime {group.runtime}" if group.runtime else "")
    yield f"  {_summary(group)}"
    yield ""
    rows = [("ROLE", "PODS", "GPUS", "NAME", "CONTAINER", "IMAGE")]
    rows += [
        (role.role, str(role.replicas), str(role.gpus), role.deployment, role.container, _image(role))
        for role in group.roles
    ]
    yield from _columns(rows, right=(1, 2))
    yield ""
    yield from _columns(_services(group))
    variables = _variables(group)
    if len(variables) > 1:
        yield ""
        yield from _columns(variables)
    yield ""
    yield from _columns(_mounts(group))
    if len(group.roles) > 1 and group.kind == "InferenceService":
        yield ""
        yield f"  {_update_cost(group)}"


def _router(body: Body) -> Iterator[str]:
    """The router before several groups, which is applied as it stands."""
    yield f"Deployment {access.text(body, 'metadata', 'name')}, the router before these heads"
    image = container_of(body).get("image", "no image")
    yield f"  {access.at(body, 'spec', 'replicas') or 1} pods of {image}"
    yield from (f"  {head}" for head in heads_of(body))


def _summary(group: Group) -> str:
    total = gpus_of(group)
    resource = next((role.resource for role in group.roles if role.resource), "GPUs")
    nodes = f"{group.nodes} node{'s' if group.nodes != 1 else ''}"
    if group.replicas != 1:
        nodes = f"{group.replicas} groups of {nodes}"
    sizes = (
        f", {_executor(group)}, TP {group.tensor_parallel} x PP {group.pipeline_parallel}"
        if group.executor
        else ""
    )
    made = f", generation {group.generation}" if group.kind == "InferenceService" else ""
    return f"{nodes}{sizes}, {total} {resource}{made}"


def _executor(group: Group) -> str:
    """What the launcher runs; with what the platform counts nodes for, if that is another one."""
    runs = _environment(group.roles[0]).get(env.EXECUTOR, "") or group.executor
    return runs if runs == group.executor else f"{runs} (nodes counted as for {group.executor})"


def _image(role: Role) -> str:
    for container in role.pod.get("containers") or []:
        if container["name"] == role.container:
            return str(container.get("image", ""))
    return ""


def _services(group: Group) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("SERVICE", "PORTS", "OF")]
    for one in group.objects:
        if one["kind"] != "Service":
            continue
        spec = one["spec"]
        ports = ", ".join(_port(port) for port in spec.get("ports") or []) or "headless"
        rows.append((one["metadata"]["name"], ports, _selected(group, spec["selector"])))
    return rows


def _selected(group: Group, selector: Mapping[str, str]) -> str:
    """Whose pods a Service stands for."""
    if group.kind != "InferenceService":
        return "the group" if any(key.endswith("group-index") for key in selector) else "all groups"
    role = "workers" if selector["app"].endswith("-worker") else "head"
    generation = selector.get(GENERATION_LABEL)
    return f"{role} of generation {generation}" if generation else f"{role}, for clients"


def _port(port: Mapping[str, Any]) -> str:
    name = f" {port['name']}" if port.get("name") else ""
    return f"{port['port']} -> {port['targetPort']}{name}"


def _variables(group: Group) -> list[tuple[str, ...]]:
    found = [_environment(role) for role in group.roles]
    names = [name for name in _SHOWN_ENV if any(name in one for one in found)]
    names += sorted({name for one in found for name in one if name.startswith(env.PREFIX)})
    header = ("VARIABLE", *(role.role.upper() for role in group.roles))
    return [header, *((name, *(one.get(name, "-") for one in found)) for name in names)]


def _environment(role: Role) -> dict[str, str]:
    for container in role.pod.get("containers") or []:
        if container["name"] == role.container:
            return {one["name"]: _short(_of_variable(one)) for one in container.get("env") or []}
    return {}


def _of_variable(variable: Mapping[str, Any]) -> str:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    source = variable["valueFrom"] or {}
    kind = next(iter(source), "")
    return (
        str((source.get(kind) or {}).get("fieldPath", kind))
        if isinstance(source.get(kind), Mapping)
        else kind
    )


def _mounts(group: Group) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("MOUNT", "ROLES", "VOLUME")]
    seen: dict[tuple[str, str], list[str]] = {}
    for role in group.roles:
        volumes = {one["name"]: _volume(one) for one in role.pod.get("volumes") or []}
        for container in role.pod.get("containers") or []:
            if container["name"] != role.container:
                continue
            for mount in container.get("volumeMounts") or []:
                text = volumes.get(mount["name"], mount["name"])
                if mount.get("subPath"):
                    text += f", path {mount['subPath']}"
                if mount.get("readOnly"):
                    text += ", read-only"
                seen.setdefault((mount["mountPath"], text), []).append(role.role)
    return [*rows, *((path, ", ".join(roles), text) for (path, text), roles in seen.items())]


def _volume(volume: Body) -> str:
    if "persistentVolumeClaim" in volume:
        return f"claim {(volume['persistentVolumeClaim'] or {}).get('claimName', '')}"
    if "emptyDir" in volume:
        options = volume["emptyDir"] or {}
        parts = [str(options[key]) for key in ("medium", "sizeLimit") if options.get(key)]
        return " ".join(["emptyDir", *parts])
    source = next((key for key in volume if key != "name"), "volume")
    details = volume.get(source)
    named = details.get("name") or details.get("secretName") if isinstance(details, Mapping) else None
    return f"{source} {named}" if named else source


def _update_cost(group: Group) -> str:
    strategies = {
        one["metadata"]["name"]: one["spec"]["strategy"]
        for one in group.objects
        if one["kind"] == "Deployment"
    }
    more = sum(
        surge(role.replicas, strategies[role.deployment]) * role.gpus
        for role in group.roles
        if role.deployment in strategies
    )
    if not more:
        return f"An update ({group.strategy}) needs no more GPUs, but the service is down meanwhile."
    return (
        f"An update ({group.strategy}) needs {more} more GPUs while it runs, or never finishes; "
        "Recreate needs none."
    )


def _update(one: Update) -> Iterator[str]:
    old, new = one.generations
    generations = f", generation {old} -> {new}" if old and new and old != new else ""
    yield f"{one.kind} {one.name}: {one.what}{generations}, {one.gpus[0]} -> {one.gpus[1]} GPUs"
    for roll in one.rollouts:
        yield (
            f"  {roll.role} {roll.deployment}: {roll.running} -> {roll.wanted} pods, {roll.strategy}"
            + (f", {roll.surge} new next to the old: {roll.gpus} GPUs more" if roll.surge else "")
        )
    if one.rollouts and one.more_gpus:
        yield (
            f"  Needs {one.more_gpus} more GPUs than the {one.gpus[0]} in use, and cannot finish without "
            "them; "
            "deploymentStrategy Recreate needs none."
        )
    elif one.rollouts:
        yield "  Needs no more GPUs, but the service is down until the new pods serve."
    elif one.what == "changed":
        yield "  No pod is replaced."
    for change in one.differences:
        yield from _wrapped(
            f"  {change.kind} {change.name} {change.path}: ", _change(change.before, change.after)
        )


def _change(before: object, after: object) -> str:
    if before is None:
        return f"+ {_value(after)}"
    return f"- {_value(before)}" if after is None else f"{_value(before)} -> {_value(after)}"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) or "{}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return str(value)


def _wrapped(first: str, text: str) -> Iterator[str]:
    """`first` and `text` over lines of at most 110 columns; further ones are indented."""
    line = first.rstrip()
    for word in text.split():
        if len(line) + len(word) >= _WIDTH and line.strip():
            yield line
            line = f"    {word}"
        else:
            line = f"{line} {word}"
    yield line


def _columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = f"  {'  '.join(cells)}".rstrip()
        last = row[-1]
        cut = len(line) - _WIDTH
        # An image tells most at its end.
        yield line if cut <= 0 or len(last) < cut + 8 else f"{line[: -len(last)]}...{last[cut + 3 :]}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
