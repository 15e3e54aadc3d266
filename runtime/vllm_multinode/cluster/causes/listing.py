"""The causes as a page: docs/causes.md."""

from vllm_multinode.cluster.causes import CAUSES, Area, Effect


def as_markdown() -> str:
    """docs/causes.md."""
    titles: dict[Area, str] = {
        "object": "The service's object",
        "pods": "Creating and scheduling pods",
        "container": "Containers",
        "node": "A supervisor that has exited",
        "group": "The group",
        "engine": "The engine",
    }
    effects: dict[Effect, str] = {
        "stops": "does not serve",
        "harms": "serves badly",
        "tells": "worth knowing",
    }
    lines = [
        "# Causes that `multinode doctor` names",
        "",
        "`scripts/generate causes` writes this page from the causes themselves. `multinode wait`, `deploy`",
        "and `up` give the same reasons, if they do not resolve by themselves in time.",
    ]
    for area, title in titles.items():
        lines += ["", f"## {title}"]
        for cause in CAUSES.values():
            if cause.area == area:
                lines += ["", f"### {cause.id}", "", f"{cause.meaning} ({effects[cause.effect]})", ""]
                lines += [f"- **What to do:** {cause.remedy}", f"- **Seen in:** {cause.seen}"]
                lines += [f"- **See more:** `{cause.command}`"] if cause.command else []
    return "\n".join(lines) + "\n"
