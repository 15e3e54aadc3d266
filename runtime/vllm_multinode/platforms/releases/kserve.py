"""Releases of KServe, each as what it changes of the one before.

Source: the webhooks and controllers of each tag, and recordings of them (`tests/data/kserve_recorded`).
"""

from dataclasses import replace
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.platforms.releases.release import Release

_COUNTS: Final = (env.RAY_NODE_COUNT, env.REQUEST_GPU_COUNT)
_SIZES: Final = (env.PIPELINE_PARALLEL_SIZE, env.TENSOR_PARALLEL_SIZE)
_MODEL: Final = (env.MODEL_NAME, env.MODEL_DIR)
_HEAD: Final = (env.ISVC_NAME, env.HEAD_SVC)

V0_14_1: Final = Release(
    product="kserve",
    number="0.14.1",
    crds="0.14.1",
    knows_worker_spec=False,
    autoscaler_class="external",
    autoscaler_classes=frozenset({"hpa", "external"}),
    storage_schemes=("pvc",),
    least_pipeline_size=2,
    runtime_must_name_sizes=True,
    counts_nodes_by_gpu_requests=False,
    knows_mp_annotation=False,
    refuses_python_path=False,
    knows_gpu_types_annotation=True,
    writes_annotated_gpu_types=False,
    raw_mode="RawDeployment",
    raw_modes=("RawDeployment",),
    knative_modes=("Serverless",),
    renames_modes=False,
    checks_scaling_by_class=False,
    knows_storage_uris=False,
    knows_storage_container_name=False,
    knows_variants=False,
    knows_stop_annotation=False,
    annotates_model_format=False,
    v2_formats=frozenset({"triton"}),
    more_runtime_fields=frozenset(),
    merges_sidecars=False,
    keeps_one_source=False,
    keeps_digests=False,
    reads_server_type=False,
    head_variables=(),
    worker_variables=(),
    injects_service_name=False,
    scales_head_by_min_replicas=False,
    fills_in_strategy_type=True,
    sets_app_protocol=False,
    surges_workers=True,
    makes_workers_service=False,
    makes_services_first=False,
    clients_service_is_headless=False,
    named_ports="none",
    modelcar_keeps_security_context=False,
    initializer_has_download_env=False,
)

V0_15_0: Final = replace(
    V0_14_1,
    number="0.15.0",
    crds="0.15.0",
    knows_worker_spec=True,
    autoscaler_classes=V0_14_1.autoscaler_classes | {"keda"},
    checks_scaling_by_class=True,
    merges_sidecars=True,
    head_variables=(*_SIZES, *_MODEL),
    worker_variables=(env.PIPELINE_PARALLEL_SIZE, *_HEAD),
    scales_head_by_min_replicas=True,
    sets_app_protocol=True,
    keeps_three_head_services=True,
    stock_runtime="huggingface-pp2",
)

V0_15_1: Final = replace(
    V0_15_0,
    number="0.15.1",
    crds="0.15.1",
    autoscaler_class="none",
    autoscaler_classes=V0_15_0.autoscaler_classes | {"none"},
    least_pipeline_size=1,
    runtime_must_name_sizes=False,
    counts_nodes_by_gpu_requests=True,
    writes_annotated_gpu_types=True,
    head_variables=(*_SIZES, *_COUNTS, *_MODEL),
    worker_variables=(*_COUNTS, *_HEAD),
    stock_runtime="huggingface",
)

V0_15_2: Final = replace(V0_15_1, number="0.15.2", crds="0.15.2")

V0_16_0: Final = replace(
    V0_15_2,
    number="0.16.0",
    crds="0.16.0",
    storage_schemes=("pvc", "oci"),
    raw_mode="Standard",
    raw_modes=("Standard", "RawDeployment"),
    knative_modes=("Serverless", "Knative"),
    knows_storage_uris=True,
    knows_stop_annotation=True,
    keeps_digests=True,
    fills_in_strategy_type=False,
    initializer_has_download_env=True,
    refuses_oci_workers=True,
    never_sets_ready=True,
)

V0_17_1: Final = replace(
    V0_16_0,
    number="0.17.1",
    crds="0.17.1",
    renames_modes=True,
    annotates_model_format=True,
    more_runtime_fields=frozenset({"schedulerName"}),
    injects_service_name=True,
    keeps_three_head_services=False,
    refuses_oci_workers=False,
    stock_runtime="huggingface-server-type",
)

V0_18_1: Final = replace(
    V0_17_1,
    number="0.18.1",
    crds="0.18.1",
    knows_mp_annotation=True,
    refuses_python_path=True,
    worker_variables=(*_COUNTS, *_SIZES, *_HEAD, env.WORKER_SVC),
    makes_workers_service=True,
    modelcar_keeps_security_context=True,
)

V0_19_0: Final = replace(V0_18_1, number="0.19.0", crds="0.19.0")

V0_20_0: Final = replace(
    V0_19_0,
    number="0.20.0",
    crds="0.20.0",
    knows_storage_container_name=True,
    knows_variants=True,
    v2_formats=V0_19_0.v2_formats | {"vLLM"},
    keeps_one_source=True,
    reads_server_type=True,
    makes_services_first=True,
    never_sets_ready=False,
    recreates_workers=True,
)

RELEASES: Final = (V0_14_1, V0_15_0, V0_15_1, V0_15_2, V0_16_0, V0_17_1, V0_18_1, V0_19_0, V0_20_0)
"""Oldest first."""
