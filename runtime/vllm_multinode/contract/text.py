"""Text of others, as it may be shown on a terminal and in a log."""

from typing import Final

LONGEST: Final = 2000
"""Characters of one message; a name of a million is shown by its beginning and its length."""


def shown(text: str, most: int = LONGEST) -> str:
    """The text on one line: control characters as their escapes, cut in the middle where it is too long."""
    line = " ".join(text.split())
    if len(line) > most:
        cut = len(line) - most
        line = f"{line[: most // 2]} … ({cut} characters left out) … {line[-most // 2 :]}"
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
