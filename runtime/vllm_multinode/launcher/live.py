"""Asks this node's supervisor whether it lives, for container engines without probes by HTTP."""

import http.client
import os
import sys

from vllm_multinode.contract import env, ports
from vllm_multinode.contract.numbers import is_count

_TIMEOUT = 3.0


def main() -> int:
    """0 where `/live` is answered, else 1."""
    given = os.environ.get(env.SUPERVISOR_PORT, "")
    port = int(given) if is_count(given) else ports.SUPERVISOR
    connection = http.client.HTTPConnection("localhost", port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/live")
        return 0 if connection.getresponse().status == http.HTTPStatus.OK else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
