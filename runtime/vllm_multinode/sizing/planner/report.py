"""A plan as an object for JSON and YAML, and as text."""

from typing import Any

from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.memory import ESTIMATED, GIB, Memory

_PARTS = ("weights", "kv_cache", "activations", "graphs", "reserve", "left")
_LABELS = {
    "weights": "weights of its stage",
    "kv_cache": "KV cache",
    "activations": "activations",
    "graphs": "CUDA graphs",
    "reserve": "framework and NCCL",
    "left": "left",
}


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan in plain types; memory in GiB per GPU, times in seconds."""
    best = plan.best
    found: dict[str, Any] = {
        "model": plan.request.source.name,
        "gpu": plan.request.gpu.name,
        "fits": plan.fits,
        **(_choice(best) if best else dict.fromkeys(_CHOICE_KEYS)),
        "replicas": plan.replicas,
        "total_gpus": best.gpus * plan.replicas if best else None,
        "context": plan.context,
        "concurrency": plan.request.concurrency,
        "claim_gib": plan.claim_gib,
        "shared_memory_gib": plan.shared_memory_gib,
        "alternatives": [_choice(choice) | {"reason": choice.reason} for choice in plan.alternatives],
        "reasons": list(plan.reasons),
        "refused": [{"cut": where, "rule": one.rule, "what": one.what} for where, one in plan.refused],
        "weights_exact": plan.request.source.exact,
        "guesses": list(plan.guesses),
        "estimated": list(ESTIMATED),
    }
    if not plan.fits:
        found["smallest"] = _choice(plan.smallest) if plan.smallest else None
    return found


_CHOICE_KEYS = (
    "tensor_parallel", "pipeline_parallel", "nodes", "gpus_per_node", "memory", "max_context",
    "max_concurrency", "arguments", "speed",
)  # fmt: skip


def _choice(choice: Choice) -> dict[str, Any]:
    speed = choice.speed
    values = (
        choice.tensor_parallel, choice.pipeline_parallel, choice.nodes, choice.gpus_per_node,
        _memory(choice.memory), choice.max_context, choice.max_concurrency,
        {"max-num-batched-tokens": choice.batch.tokens, "max-num-seqs": choice.batch.requests},
        {
            "load_seconds_at_least": round(speed.load_seconds, 1),
            "startup_budget_seconds": speed.startup_seconds,
            "tokens_per_second_one_request_at_most": _rounded(speed.stream_tokens_per_s),
            "tokens_per_second_all_requests_at_most": _rounded(speed.total_tokens_per_s),
            "prompt_tokens_per_second_at_most": _rounded(speed.prefill_tokens_per_s),
        },
    )  # fmt: skip
    return dict(zip(_CHOICE_KEYS, values, strict=True))


def _memory(memory: Memory) -> dict[str, float]:
    parts = {name: round(getattr(memory, name) / GIB, 2) for name in _PARTS}
    return {"total": round(memory.total / GIB, 2), "usable": round(memory.usable / GIB, 2), **parts}


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
        lines += ["", "vLLM refuses:", *(f"  {where}: {refusal}" for where, refusal in plan.refused)]
    return "\n".join(lines) + "\n"


def _headline(plan: Plan) -> str:
    name, gpu = plan.request.source.name, plan.request.gpu.name
    if plan.fits and plan.best is not None:
        copies = f", {plan.replicas} replicas" if plan.replicas > 1 else ""
        return f"{name} fits on {plan.best.label} of {gpu}{copies}."
    if plan.smallest is not None:
        return f"{name} does not fit; the smallest of {gpu} that would hold it: {plan.smallest.label}."
    return f"{name} does not fit on any number of {gpu} that was tried."


def _memory_lines(plan: Plan, best: Choice) -> list[str]:
    memory = best.memory
    share = f"{plan.request.utilization:g} of {memory.total / GIB:.1f}"
    where = f" (stage {best.stage + 1} of {best.pipeline_parallel})" if best.pipeline_parallel > 1 else ""
    lines = [f"Memory of the fullest GPU{where}, GiB; vLLM takes {memory.usable / GIB:.1f} ({share}):"]
    for part in _PARTS:
        about = "about " if part in ESTIMATED else ""
        lines.append(f"  {_LABELS[part]:<22}{about:>6}{getattr(memory, part) / GIB:8.2f}")
    return lines


def _figures(plan: Plan, best: Choice) -> list[str]:
    speed = best.speed
    context = f"{best.max_context} tokens with {plan.request.concurrency} at once"
    load = f"{speed.load_seconds:.0f} s at least, at {plan.request.claim_gbs:g} GB/s a node"
    lines = [
        f"Greatest context      {context}",
        f"Greatest concurrency  {best.max_concurrency} at once, of {plan.context} tokens each",
        f"Claim                 {plan.claim_gib} GiB; /dev/shm {plan.shared_memory_gib} GiB a pod",
        f"Load                  {load}; startup budget {speed.startup_seconds} s",
    ]
    if speed.stream_tokens_per_s and speed.total_tokens_per_s:
        many = plan.request.concurrency
        together = f", {speed.total_tokens_per_s:.3g} for {many} together" if many > 1 else ""
        each = f"{speed.stream_tokens_per_s:.3g} for one request"
        lines.append(f"Tokens per second     {each}{together}, at most (bounds, not forecasts)")
    return lines
