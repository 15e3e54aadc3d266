"""Asks `/live` and `/ready` by turns, as a kubelet does, until its standard input ends.

Arguments: host, port. Prints JSON: how often it asked, the slowest answer in seconds, and how often `/ready`
was not 200. Standard library only, so that it starts at once.
"""

import http.client
import json
import select
import sys
import time

_PAUSE = 0.05
_TIMEOUT = 10.0


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    asked = not_ready = 0
    slowest = 0.0
    while not select.select([sys.stdin], [], [], _PAUSE)[0]:
        for path in ("/live", "/ready"):
            began = time.perf_counter()
            status = _ask(host, port, path)
            slowest = max(slowest, time.perf_counter() - began)
            asked += 1
            not_ready += path == "/ready" and status != 200
    print(json.dumps({"asked": asked, "slowest": slowest, "not_ready": not_ready}))


def _ask(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    main()
