"""A plan as an object for JSON and YAML, and as text."""

from typing import Any

from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.memory import ESTIMATED, Memory
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.request import Request

_PARTS = ("weights", "kv_cache", "activations", "graphs", "reserve", "allowance", "left")
_LABELS = {
    "weights": "weights as loaded",
    "kv_cache": "KV cache",
    "activations": "activations",
    "graphs": "CUDA graphs",
    "reserve": "framework and NCCL",
    "allowance": "what is not modelled",
    "left": "left",
}


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan in plain types; memory in GiB per GPU, times in seconds."""
    best = plan.best
    found: dict[str, Any] = {
        "model": plan.request.source.name,
        "gpu": plan.request.gpu.name,
        "verdict": plan.verdict,
        "fits": plan.verdict == "fits",
        **(_choice(plan, best) if best else dict.fromkeys(_CHOICE_KEYS)),
        "replicas": plan.replicas,
        "total_gpus": best.gpus * plan.replicas if best else None,
        "context": plan.context,
        "concurrency": plan.request.concurrency,
        "asked": _asked(plan.request),
        "vllm": plan.request.settings.version.name,
        "claim_gib": plan.claim_gib,
        "shared_memory_gib": plan.shared_memory_gib,
        "alternatives": [_choice(plan, choice) | {"reason": choice.reason} for choice in plan.alternatives],
        "reasons": list(plan.reasons),
        "refused": [{"cut": where, "rule": one.rule, "what": one.what} for where, one in plan.refused],
        "weights_exact": plan.request.source.exact,
        "guesses": list(plan.guesses),
        "estimated": list(ESTIMATED),
    }
    if not plan.fits:
        found["smallest"] = _choice(plan, plan.smallest) if plan.smallest else None
    return found


_CHOICE_KEYS = (
    "tensor_parallel", "pipeline_parallel", "nodes", "gpus_per_node", "memory", "stages",
    "kv_cache_tokens", "kv_cache_tokens_at_least", "kv_cache_concurrency", "max_context",
    "max_concurrency", "arguments", "speed",
)  # fmt: skip


def _asked(request: Request) -> dict[str, Any]:
    """Everything that the plan depends on, as it was given; 0 and empty for what was left to the engine."""
    given = request.settings
    return {
        "gpu_memory_gib": round(request.gpu.memory_gib, 2),
        "gpus_per_node": request.gpus_per_node,
        "nodes": list(request.node_gpus),
        "context": request.context,
        "concurrency": request.concurrency,
        "kv_cache_dtype": request.kv_dtype,
        "executor": request.executor,
        "gpu_memory_utilization": request.utilization,
        "claim_gb_per_second": request.claim_gbs,
        "tensor_parallel": request.tensor_parallel,
        "pipeline_parallel": request.pipeline_parallel,
        "max_num_batched_tokens": given.tokens,
        "max_num_seqs": given.requests,
        "block_size": given.block_size,
        "enforce_eager": given.eager,
        "prefix_caching": given.prefix_caching,
        "language_model_only": given.text_only,
        "mm_encoder_tp_mode": "data" if given.whole_towers else "weights",
        "speculative_method": given.speculation.method,
    }


def _stages(plan: Plan, choice: Choice) -> list[dict[str, Any]]:
    """Every stage, with the engine's own figures under the engine's own names."""
    return [
        {
            "memory": _memory(memory),
            "Available KV cache memory": f"{memory.available / GIB:.2f} GiB",
            "available_kv_cache_gib": round(memory.available / GIB, 2),
            "available_kv_cache_gib_at_least": round(memory.surely_available / GIB, 2),
        }
        for memory in choice.memories
    ]


def _choice(plan: Plan, choice: Choice) -> dict[str, Any]:
    speed = choice.speed
    version = plan.request.settings.version
    tokens = choice.engine_tokens(version, plan.context)
    values = (
        choice.tensor_parallel, choice.pipeline_parallel, choice.nodes, choice.gpus_per_node,
        _memory(choice.memory), _stages(plan, choice), tokens,
        choice.engine_tokens(version, plan.context, surely=True),
        round(choice.engine_concurrency(plan.context), 2), choice.max_context, choice.max_concurrency,
        {"max-num-batched-tokens": choice.batch.tokens, "max-num-seqs": choice.batch.requests},
        {
            "load_seconds_at_least": round(speed.load_seconds, 1),
            "startup_budget_seconds": speed.startup_seconds,
            "tokens_per_second_one_request_at_most": _rounded(speed.stream_tokens_per_s),
            "tokens_per_second_all_requests_at_most": _rounded(speed.total_tokens_per_s),
            "bounds": [
                {
                    "context": bound.context,
                    "tokens_per_second_one_request_at_most": _rounded(bound.one),
                    "tokens_per_second_all_requests_at_most": _rounded(bound.together),
                }
                for bound in speed.bounds
            ],
            "bounds_hold": not plan.request.settings.speculation.method,
            "prompt_tokens_per_second_at_most": _rounded(speed.prefill_tokens_per_s),
        },
    )  # fmt: skip
    return dict(zip(_CHOICE_KEYS, values, strict=True))


def _memory(memory: Memory) -> dict[str, float]:
    parts = {name: round(getattr(memory, name) / GIB, 2) for name in _PARTS}
    sizes = {"total": memory.total, "usable": memory.usable}
    found = {name: round(size / GIB, 2) for name, size in sizes.items()} | parts
    return found | {"error": round(memory.error / GIB, 2)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def as_text(plan: Plan) -> str:
    """The plan for a reader."""
    lines = [_headline(plan)]
    best = plan.best
    if best is not None:
        lines += ["", *_memory_lines(plan, best), "", *_figures(plan, best)]
    if plan.alternatives:
        lines += ["", "Also possible:"]
        lines += [f"  {choice.label}: {choice.reason}." for choice in plan.alternatives]
    for title, sentences in (("Reasons", plan.reasons), ("Not certain", plan.guesses)):
        if sentences:
            lines += ["", f"{title}:", *(f"  {sentence}" for sentence in sentences)]
    if plan.refused:
        lines += ["", "vLLM rejects:", *(f"  {where}: {refusal}" for where, refusal in plan.refused)]
    return "\n".join(lines) + "\n"


def _headline(plan: Plan) -> str:
    """The answer in a line: the verdict, and that it is a guess where it is one."""
    unsure = plan.request.source.model.guesses
    return f"{_answer(plan)} This is a guess: {unsure[0]}" if unsure else _answer(plan)


def _answer(plan: Plan) -> str:
    name, gpu, best = plan.request.source.name, plan.request.gpu.name, plan.best
    if best is not None and plan.verdict != "does-not-fit":
        copies = f", {plan.replicas} replicas" if plan.replicas > 1 else ""
        where = f"{best.label} of {gpu}{copies}"
        if plan.verdict == "fits":
            return f"{name} fits on {where}."
        left, error = best.memory.left / GIB, best.memory.error / GIB
        room = f"{left:.1f} GiB are left" if left >= 0 else f"{-left:.1f} GiB are missing"
        may = "fits" if left >= 0 else "may fit"
        return f"{name} {may} on {where}, but within the estimate's error: {room}, give or take {error:.1f}."
    if plan.smallest is not None:
        return f"{name} does not fit; the smallest of {gpu} that fits: {plan.smallest.label}."
    if best is not None and (plan.request.tensor_parallel or plan.request.pipeline_parallel):
        return f"{name} does not fit on {best.label} of {gpu}."
    return f"{name} does not fit on any tried number of {gpu}."


def _memory_lines(plan: Plan, best: Choice) -> list[str]:
    memory = best.memory
    share = f"{plan.request.utilization:g} of {memory.total / GIB:.1f}"
    where = f" (stage {best.stage + 1} of {best.pipeline_parallel})" if best.pipeline_parallel > 1 else ""
    lines = [f"Memory of the fullest GPU{where}, GiB; vLLM takes {memory.usable / GIB:.1f} ({share}):"]
    for part in _PARTS:
        if part == "allowance" and not memory.allowance:
            continue
        about = "about " if part in ESTIMATED else ""
        lines.append(f"  {_LABELS[part]:<22}{about:>6}{getattr(memory, part) / GIB:8.2f}")
    lines[-1] += f", give or take {memory.error / GIB:.2f}"
    return [*lines, "", *_engine_lines(plan, best)]


def _engine_lines(plan: Plan, best: Choice) -> list[str]:
    """What the engine will log, in its words."""
    version = plan.request.settings.version
    sizes = " · ".join(f"{one.available / GIB:.2f} GiB" for one in best.memories)
    each = " (by stage)" if best.pipeline_parallel > 1 else ""
    tokens, many = best.engine_tokens(version, plan.context), best.engine_concurrency(plan.context)
    least = min(one.surely_available for one in best.memories) / GIB
    fewest = best.engine_tokens(version, plan.context, surely=True)
    return [
        f"vLLM {version.name} would log:",
        f"  Available KV cache memory: {sizes}{each}, at least {max(0.0, least):.2f}",
        f"  GPU KV cache size: {tokens:,} tokens, at least {fewest:,}",
        f"  Maximum concurrency for {plan.context:,} tokens per request: {many:.2f}x",
    ]


def _figures(plan: Plan, best: Choice) -> list[str]:
    speed = best.speed
    requests = "1 request" if plan.request.concurrency == 1 else f"{plan.request.concurrency} requests"
    context = f"{best.max_context} tokens for {requests}"
    load = f"at least {speed.load_seconds:.0f} s at {plan.request.claim_gbs:g} GB/s per node"
    lines = [
        f"Maximum context       {context}",
        f"Maximum concurrency   {best.max_concurrency} requests of {plan.context} tokens",
        f"Claim                 {plan.claim_gib} GiB; /dev/shm {plan.shared_memory_gib} GiB per pod",
        f"Load                  {load}; startup budget {speed.startup_seconds} s",
    ]
    return [*lines, *_bounds(plan, best)]


def _bounds(plan: Plan, best: Choice) -> list[str]:
    """Tokens a second that no engine passes, by the length of the requests."""
    if not best.speed.bounds:
        return []
    if method := plan.request.settings.speculation.method:
        what = f"{method} produces several tokens per step; no upper bound is known"
        return [f"Tokens per second     {what}"]
    many = plan.request.concurrency
    lines = []
    for bound in best.speed.bounds:
        together = f", {bound.together:.3g} for {many} requests" if many > 1 else ""
        lines.append(f"{bound.one:.3g} for one request{together}, at {bound.context:,} tokens")
    title = "Tokens per second     upper bounds, not forecasts; without speculative decoding:"
    return [title, *(f"  {line}" for line in lines)]
