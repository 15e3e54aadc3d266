"""`multinode dashboard`: a page over services, on this machine alone."""

import threading
from typing import Annotated

from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, over_services
from vllm_multinode.contract.exit_codes import ExitCode


@over_services
def dashboard(
    asked: Asked,
    *,
    port: Annotated[int, Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free port.")] = 0,
    interval: Annotated[float, Option(min=0.5, max=60, help="Seconds between refreshes.")] = 3,
    browser: Annotated[bool, Option("--open", help="Open it in the browser.")] = False,
) -> int:
    """Serve a dashboard until Ctrl-C: the group, incidents, throughput and latency.

    It listens on 127.0.0.1, loads nothing from elsewhere, and changes nothing.

    multinode dashboard llama -n models

    multinode dashboard --local --open
    """
    from vllm_multinode.operate.dashboard import Watcher, serving

    with asked.source() as place:
        watcher = Watcher(place, asked.name, asked.labels, interval)
        watcher.look()
        with watcher.running(), serving(watcher, port) as address:
            say(f"{address}  (Ctrl-C ends it)")
            if browser:
                import webbrowser

                webbrowser.open(address)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                return ExitCode.OK
    return ExitCode.OK
