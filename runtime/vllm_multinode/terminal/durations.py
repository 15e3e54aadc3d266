"""Durations for people. Pure."""


def age(seconds: float) -> str:
    """A duration in two units at most: 12s, 3m04s, 5h12m, 2d03h."""
    whole = max(0, int(seconds))
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{smaller}"
    return f"{whole}s"
