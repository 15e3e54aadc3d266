"""How long an engine may take to start. Apart from `speed`, because a renderer needs this and no model."""

# Imports, profiling, compilation and graph capture after the weights are there; see the engine's own timings.
_ENGINE_START_S = 180.0
_MARGIN = 2.0


def startup_budget(load_seconds: float) -> int:
    """Seconds for a startup probe, with a margin, where a node's weights take `load_seconds` to read."""
    return round(_MARGIN * (load_seconds + _ENGINE_START_S))
