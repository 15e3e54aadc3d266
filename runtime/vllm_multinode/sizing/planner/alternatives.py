"""The runners-up: which are worth naming, and why one would choose them."""

from vllm_multinode.sizing.planner.choice import Choice, is_power_of_two

_ALTERNATIVES = 4


def varied(others: list[Choice], best: Choice | None) -> list[Choice]:
    """The next best that are better than the best in something: one of each size, of its own the roomiest."""
    if best is None:
        return []
    kept = [choice for choice in others if _usual(choice, best) and not _dominated(choice, best)]
    sizes: dict[tuple[int, int], Choice] = {}
    for choice in kept:
        sizes.setdefault((choice.nodes, choice.gpus), choice)
    own = [choice for choice in kept if choice.gpus == best.gpus and choice.nodes == best.nodes]
    if own:
        sizes[best.nodes, best.gpus] = max(own, key=lambda choice: choice.max_concurrency)
    return list(sizes.values())[:_ALTERNATIVES]


def _dominated(choice: Choice, best: Choice) -> bool:
    """Whether it needs no fewer GPUs and is better in nothing."""

    def merits(one: Choice) -> tuple[float, ...]:
        speed = one.speed
        return (
            -one.gpus, one.max_context, one.max_concurrency, speed.stream_tokens_per_s or 0,
            speed.total_tokens_per_s or 0,
        )  # fmt: skip

    return all(here <= there for here, there in zip(merits(choice), merits(best), strict=True))


def _usual(choice: Choice, best: Choice) -> bool:
    """Whether anybody would run it: in one node, on one, two, four or eight GPUs and so on."""
    return choice.nodes > 1 or is_power_of_two(choice.gpus) or choice.gpus == best.gpus


def why(choice: Choice, best: Choice | None, *, chosen: bool = True) -> str:
    """What it costs and gains beside the best, or beside the cut that was asked for."""
    if best is None:
        return ""
    if not chosen:
        verdict = {"fits": "fits", "within-error": "fits within the error", "does-not-fit": "does not fit"}
        held = _instead(choice.max_context, best.max_context, "tokens")
        return f"plan's own choice: {verdict[choice.verdict]}, {held}, {_gpus(choice.gpus)}"
    if choice.crosses:
        return "TP spans nodes, so every layer waits for the network"
    requests = _instead(choice.max_concurrency, best.max_concurrency, "concurrent requests")
    if choice.nodes > best.nodes:
        return f"more nodes, {requests}"
    if choice.gpus > best.gpus:
        return f"{_gpus(choice.gpus - best.gpus)} more, {requests}"
    if choice.pipeline_parallel > best.pipeline_parallel:
        fewer = f"{_gpus(best.gpus - choice.gpus)} fewer, " if choice.gpus < best.gpus else ""
        return f"{fewer}more stages: less traffic between GPUs, higher latency, {requests}"
    return f"fewer stages, {requests}"


def _instead(here: int, there: int, unit: str) -> str:
    """A figure beside the other plan's."""
    return f"also {here} {unit}" if here == there else f"{here} {unit} instead of {there}"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
