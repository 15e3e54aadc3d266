"""What an engine answers below `/metrics`, as vLLM does: all, or what is selected."""

from urllib.parse import parse_qs, urlsplit


def answer(target: str, text: str) -> str | None:
    """To a GET of a path with its query; None where it is another path."""
    url = urlsplit(target)
    if url.path == "/metrics":
        return text
    if url.path != "/metrics/":
        return None
    selected = parse_qs(url.query).get("name[]")
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if selected is None or line.partition(" ")[0].partition("{")[0] in selected
    )
