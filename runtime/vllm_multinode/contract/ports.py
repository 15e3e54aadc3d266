"""Default ports; every one is a setting, and the NetworkPolicy component names the same ones."""

from typing import Final

API: Final = 8080
SUPERVISOR: Final = 8081
RAY: Final = 6379
MASTER: Final = 29500
RAY_WORKERS: Final = (20000, 20999)

# Ray's other listeners, as offsets from the GCS port, so that one setting moves them all.
RAY_OFFSETS: Final = {
    "node-manager-port": 1,
    "object-manager-port": 2,
    "ray-client-server-port": 3,
    "dashboard-agent-listen-port": 4,
    "dashboard-agent-grpc-port": 5,
    "runtime-env-agent-port": 6,
    "metrics-export-port": 7,
    "dashboard-port": 8,
}
RAY_ENV_OFFSETS: Final = {
    "AUTOSCALER_METRIC_PORT": 9,
    "DASHBOARD_METRIC_PORT": 10,
}
