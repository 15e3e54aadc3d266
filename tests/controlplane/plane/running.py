"""A whole control plane: started, used, ended."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.plane import apiserver, kserve, lws
from controlplane.plane.builds import DEFAULT_KSERVE
from controlplane.plane.egress import Egress
from controlplane.plane.kubectl import Kubectl


@dataclass(frozen=True)
class Plane:
    """A running control plane.

    Args:
        folder: its data and logs; gone after its end.
        kserve: the version of KServe in it, such as `v0.19.0`.
        url: where its API server answers.
        kubeconfig: of a user who may do everything.
        guest: of a user who may do nothing.
        started_in: seconds that its start took, its programs being built.
        egress: leads the API server to what kubelets run.
    """

    folder: Path
    kserve: str
    url: str
    kubeconfig: Path
    guest: Path
    started_in: float
    egress: Egress

    def kubectl(self, namespace: str = "") -> Kubectl:
        """As the user who may do everything."""
        return Kubectl(self.kubeconfig, namespace)

    def logs(self) -> dict[str, str]:
        """What each of its programs has said."""
        return {path.stem: path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))}


@contextmanager
def running(version: str = DEFAULT_KSERVE, *, leader_worker_set: bool = True) -> Iterator[Plane]:
    """A control plane for the time of a block, in a temporary folder, on free ports of 127.0.0.1.

    Call it in the main thread: its programs end with the thread that started them, however that ends.

    Args:
        version: of KServe, with the v.
        leader_worker_set: whether LeaderWorkerSet's controller runs too.

    Raises:
        CannotBuildError: something cannot be built here.
        StartFailedError: something did not become ready; the text holds the end of its log.
    """
    begun = time.monotonic()
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(prefix="controlplane-"))
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        server = apiserver.start(folder, ends)
        kserve.start(version, server, folder, ends)
        if leader_worker_set:
            lws.start(server, folder, ends)
        apiserver.start_controllers(server, folder, ends)
        yield Plane(
            folder=folder,
            kserve=version,
            url=server.url,
            kubeconfig=server.admin,
            guest=server.guest,
            started_in=time.monotonic() - begun,
            egress=server.egress,
        )
