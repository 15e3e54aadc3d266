"""Writes random text under each KEY of a Secret that is absent; one that is there stays as it is.

Runs as `python3 -c SOURCE NAME KEY [NAME KEY]...` in a Job, with nothing but the standard library, as a
service account that may get and patch these Secrets alone.
"""

import base64
import json
import os
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
# Seconds: the role may reach the API server a moment after the Job.
PATIENCE = 60
PAUSE = 2
REFUSED = (401, 403, 404, 409, 429, 500, 503, 504)


def call(method: str, url: str, body: "dict[str, Any] | None" = None) -> "dict[str, Any]":
    """The object that the API server answers."""
    headers = {
        "Authorization": "Bearer " + (ACCOUNT / "token").read_text().strip(),
        "Content-Type": "application/merge-patch+json",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def fill(url: str, key: str) -> bool:
    """Write the key, unless it is there; whether it was written."""
    found = call("GET", url)
    if (found.get("data") or {}).get(key):
        return False
    value = base64.b64encode(secrets.token_hex(32).encode()).decode()
    # If two fill it at the same time, the API server rejects the second.
    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
    call("PATCH", url, {"metadata": version, "data": {key: value}})
    return True


def main(arguments: Sequence[str]) -> int:
    """Fill them all; what failed to the last is on standard error, and 1 returned."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    if ":" in host:
        host = f"[{host}]"
    namespace = (ACCOUNT / "namespace").read_text().strip()
    for name, key in zip(arguments[::2], arguments[1::2], strict=True):
        url = f"https://{host}:{port}/api/v1/namespaces/{namespace}/secrets/{name}"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                done = "written" if fill(url, key) else "is there already"
            except OSError as error:
                code = getattr(error, "code", None)
                if time.monotonic() < deadline and (code is None or code in REFUSED):
                    time.sleep(PAUSE)
                    continue
                sys.stderr.write(f"Secret {namespace}/{name}: {key} cannot be written: {error}\n")
                return 1
            sys.stdout.write(f"Secret {namespace}/{name}: {key} {done}\n")
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
