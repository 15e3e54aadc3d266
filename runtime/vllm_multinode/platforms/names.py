"""Names that KServe gives to what it makes, and the annotations and labels it reads.

Source: pkg/constants/constants.go of KServe, v0.14.1 to v0.20.0.
"""

from typing import Final

HEAD_CONTAINER: Final = "kserve-container"
WORKER_CONTAINER: Final = "worker-container"
TRANSFORMER_CONTAINER: Final = "transformer-container"
RBAC_PROXY: Final = "kube-rbac-proxy"
OAUTH_PROXY: Final = "oauth-proxy"

# Annotations of an InferenceService.
DEPLOYMENT_MODE: Final = "serving.kserve.io/deploymentMode"
AUTOSCALER_CLASS: Final = "serving.kserve.io/autoscalerClass"
GPU_TYPES: Final = "serving.kserve.io/gpu-resource-types"
STOP: Final = "serving.kserve.io/stop"
MODEL_FORMAT: Final = "modelFormat"
READ_ONLY: Final = "storage.kserve.io/readonly"
GKE_ACCELERATOR: Final = "serving.kserve.io/gke-accelerator"
KNATIVE_CLASS: Final = "autoscaling.knative.dev/class"
# Of OpenShift AI.
ENABLE_AUTH: Final = "security.opendatahub.io/enable-auth"
AUTH_PROXY_TYPE: Final = "security.opendatahub.io/auth-proxy-type"
HARDWARE_PROFILE: Final = "opendatahub.io/hardware-profile-name"
SERVING_CERTIFICATE: Final = "service.beta.openshift.io/serving-cert-secret-name"
# Annotations of a ServingRuntime.
EXECUTOR: Final = "multinode/executor-backend"
SERVER_TYPE: Final = "serving.kserve.io/server-type"
# Annotations that KServe's controller and its pod webhook add.
SOURCE_URI: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"
AGENT: Final = "internal.serving.kserve.io/agent"
AGENT_CONFIG_VOLUME: Final = "internal.serving.kserve.io/configVolumeName"
AGENT_CONFIG_PATH: Final = "internal.serving.kserve.io/configMountPath"
AGENT_MODEL_DIR: Final = "internal.serving.kserve.io/modelDir"
METRIC_AGGREGATION: Final = "serving.kserve.io/enable-metric-aggregation"
PROMETHEUS_SCRAPING: Final = "serving.kserve.io/enable-prometheus-scraping"

# Annotations of an InferenceService that never reach what is made of it.
NOT_PASSED_ON: Final = frozenset(
    {
        "autoscaling.knative.dev/min-scale",
        "autoscaling.knative.dev/max-scale",
        SOURCE_URI,
        "kubectl.kubernetes.io/last-applied-configuration",
    }
)

# Labels.
SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"
COMPONENT_LABEL: Final = "component"
GENERATION_LABEL: Final = "isvc.generation"
ROLE_LABEL: Final = "multinode/role"

GPU_RESOURCES: Final = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
NVIDIA: Final = GPU_RESOURCES[0]

LABEL_LIMIT: Final = 63  # characters of a label's value, and of one part of a DNS name

# spec.predictor's implementations besides `model`, with the names of their Go fields, in that order.
FRAMEWORKS: Final = {
    "sklearn": "SKLearn",
    "xgboost": "XGBoost",
    "tensorflow": "Tensorflow",
    "pytorch": "PyTorch",
    "triton": "Triton",
    "onnx": "ONNX",
    "huggingface": "HuggingFace",
    "pmml": "PMML",
    "lightgbm": "LightGBM",
    "paddle": "Paddle",
}


def predictor(service: str, variant: str = "") -> str:
    """The head's Deployment and the clients' Service; `variant` is v0.20's spec.predictor.name."""
    return f"{service}-{variant}-predictor" if variant else f"{service}-predictor"


def workers(service: str) -> str:
    """The workers' Deployment."""
    return f"{service}-predictor-worker"


def head_service(predictor_name: str, generation: int) -> str:
    """The headless Service of one generation's head."""
    return f"{predictor_name.removesuffix('-predictor')}-head-{generation}"


def workers_service(predictor_name: str, generation: int) -> str:
    """The headless Service of one generation's workers (from v0.18)."""
    return f"{predictor_name.removesuffix('-predictor')}-workers-{generation}"


def app_label(deployment: str) -> str:
    """The label `app` of a Deployment's pods."""
    return f"isvc.{deployment}"
