"""Asks a probe over and over, as a kubelet does: a connection each time. Runs in a pod of its own.

Arguments: URL, count, seconds between two. Prints the seconds that each took, as one JSON list.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

from vllm_multinode.launcher.scheduling import ask_for_short_slices


def main() -> None:
    """Ask and print."""
    # So that this process's own turns on a busy core do not count as the supervisor's.
    ask_for_short_slices()
    where = urlsplit(sys.argv[1])
    times = []
    for _ in range(int(sys.argv[2])):
        began = time.perf_counter()
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        connection.request("GET", where.path)
        connection.getresponse().read()
        connection.close()
        times.append(time.perf_counter() - began)
        time.sleep(float(sys.argv[3]))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
