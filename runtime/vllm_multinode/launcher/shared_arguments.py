"""Which of the head's arguments for vLLM its workers are told: what they need, and no secret."""

import logging
from collections.abc import Sequence
from typing import Final

from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.launcher.arguments import Fixed, read_options
from vllm_multinode.launcher.masking import is_secret_option

log = logging.getLogger(__name__)

# vLLM's FrontendArgs, from 0.11 to 0.32: only the API server reads them, and a worker has none.
SERVER_ONLY: Final = frozenset(
    {
        "--allow-credentials",
        "--allowed-headers",
        "--allowed-methods",
        "--allowed-origins",
        "--anthropic-disabled-thinking-effort",
        "--api-key",
        "--api-server-count",
        "--chat-template",
        "--chat-template-content-format",
        "--cohere-format",
        "--cohere-is-reasoning-model",
        "--data-parallel-supervisor-port",
        "--default-chat-template-kwargs",
        "--disable-access-log-for-endpoints",
        "--disable-fastapi-docs",
        "--disable-frontend-multiprocessing",
        "--disable-uvicorn-access-log",
        "--dp-supervisor-probe-failure-threshold",
        "--dp-supervisor-probe-interval-s",
        "--dp-supervisor-probe-timeout-s",
        "--enable-auto-tool-choice",
        "--enable-flash-late-interaction",
        "--enable-force-include-usage",
        "--enable-log-deltas",
        "--enable-log-outputs",
        "--enable-offline-docs",
        "--enable-per-request-metrics",
        "--enable-prompt-tokens-details",
        "--enable-request-id-headers",
        "--enable-scale-out",
        "--enable-server-load-tracking",
        "--enable-ssl-refresh",
        "--enable-tokenizer-info-endpoint",
        "--exclude-tools-when-tool-choice-none",
        "--fingerprint-mode",
        "--fingerprint-value",
        "--grpc-port",
        "--h11-max-header-count",
        "--h11-max-incomplete-event-size",
        "--host",
        "--log-config-file",
        "--log-error-stack",
        "--lora-modules",
        "--max-log-len",
        "--middleware",
        "--port",
        "--response-role",
        "--return-tokens-as-token-ids",
        "--root-path",
        "--sse-keep-alive-interval",
        "--ssl-ca-certs",
        "--ssl-cert-reqs",
        "--ssl-certfile",
        "--ssl-ciphers",
        "--ssl-keyfile",
        "--tokens-only",
        "--tool-call-parser",
        "--tool-parser-plugin",
        "--tool-server",
        "--tool-strict-level",
        "--trust-request-chat-template",
        "--trust-request-mm-kwargs",
        "--uds",
        "--uvicorn-log-level",
    }
)
_KNOWN: Final = dict.fromkeys(SERVER_ONLY, Fixed(None, ""))


def for_workers(executor: ExecutorName, arguments: Sequence[str]) -> tuple[str, ...]:
    """The part of the head's arguments that goes over the network to its workers.

    Args:
        executor: of the group. Under Ray the head's engine gives its workers their configuration itself.
        arguments: everything after the role, as the head was given it.
    """
    if EXECUTORS[executor].needs_ray:
        return ()
    kept: list[str] = []
    for option in read_options(arguments, _KNOWN):
        name = option.name.replace("--no-", "--", 1)
        if name not in SERVER_ONLY and not is_secret_option(option.name):
            kept += option.items
    return tuple(kept)


def warn_of_secrets(arguments: Sequence[str]) -> None:
    """Say which arguments hold a secret, which anybody can read who may read pods."""
    for option in read_options(arguments, _KNOWN):
        if is_secret_option(option.name):
            log.warning(
                "%s is among the arguments, where anyone who may read pods can read it, and workers do not "
                "get it; set it in the environment from a Secret (VLLM_API_KEY, HF_TOKEN) instead",
                option.name,
            )
