"""Admission webhooks that run as processes of this machine instead of behind a Service."""

import base64
from collections.abc import Container, Iterable
from typing import Any

from controlplane.plane.certificates import Certificates


def local(
    documents: Iterable[dict[str, Any]],
    port: int,
    certificates: Certificates,
    *,
    without: Container[str] = (),
) -> list[dict[str, Any]]:
    """Webhook configurations that lead to a port of this machine.

    Args:
        documents: as their authors publish them, for a Service.
        port: where the webhooks are served.
        certificates: what they are served with.
        without: names of configurations that are left out.
    """
    trusted = base64.b64encode(certificates.authority.read_bytes()).decode()
    found = [body for body in documents if body and body["metadata"]["name"] not in without]
    for body in found:
        for webhook in body["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": trusted}
    return found
