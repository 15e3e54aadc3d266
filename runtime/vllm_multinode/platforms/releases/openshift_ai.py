"""Releases of OpenShift AI: the KServe that each is forked from, with the backports of its branch.

Source: the branches rhoai-X of red-hat-data-services/kserve and odh-model-controller, and recordings of their
controllers (`tests/data/rhoai_recorded`).
"""

from dataclasses import replace
from typing import Final

from vllm_multinode.platforms.releases import kserve
from vllm_multinode.platforms.releases.release import Release

# 2.14 and 2.15 carry KServe 0.12, which lacks nothing of 0.14 that is read here.
V2_14: Final = replace(
    kserve.V0_14_1,
    product="openshift-ai",
    number="2.14",
    carries="0.12.1",
    crds="openshift-ai-2.14",
    knows_cluster_runtimes=False,
    clients_service_is_headless=True,
)
V2_15: Final = replace(V2_14, number="2.15")

V2_16: Final = replace(
    V2_15,
    number="2.16",
    carries="0.14.0",
    crds="openshift-ai-2.16",
    knows_worker_spec=True,
    knows_gpu_types_annotation=False,
    head_variables=kserve.V0_15_0.head_variables,
    worker_variables=kserve.V0_15_0.worker_variables,
    surges_workers=False,
    keeps_three_head_services=True,
    panics_end_manager=True,
    panics_over_gpu_types=True,
    stock_runtime="ray",
)
V2_17: Final = replace(
    V2_16,
    number="2.17",
    named_ports="first",
    auth_switch="label",
    auth_proxy="oauth-proxy",
    serving_certificate="with-auth",
    panics_end_manager=False,
)
V2_18: Final = replace(V2_17, number="2.18", crds="openshift-ai-2.18")
V2_19: Final = replace(
    V2_18,
    number="2.19",
    auth_switch="annotation",
    issues_ray_certificates="one-name",
    reads_first_variable_only=True,
    stock_runtime="ray-tls-volumes",
)
V2_20: Final = replace(V2_19, number="2.20", serving_certificate="head", stock_runtime="ray-tls")
V2_21: Final = replace(V2_20, number="2.21")
V2_22: Final = replace(
    V2_21,
    number="2.22",
    crds="openshift-ai-2.22",
    storage_schemes=("pvc", "oci"),
    knows_stop_annotation=True,
    engine="0.9.1.0",
)

# From here on the fork follows KServe 0.15.2; what OpenShift AI does to Services and heads stays.
V2_23: Final = replace(
    kserve.V0_15_2,
    product="openshift-ai",
    number="2.23",
    carries="0.15.2",
    crds="openshift-ai-2.23",
    storage_schemes=("pvc", "oci"),
    knows_stop_annotation=True,
    knows_cluster_runtimes=False,
    clients_service_is_headless=True,
    named_ports="first",
    auth_switch="annotation",
    auth_proxy="oauth-proxy",
    serving_certificate="head",
    issues_ray_certificates="any",
    fills_in_hardware_profiles=True,
    reads_first_variable_only=True,
    stock_runtime="ray-tls",
    engine="0.9.2.1",
)
V2_24: Final = replace(
    V2_23, number="2.24", crds="openshift-ai-2.24", refuses_oci_workers=True, engine="0.10.0.2"
)
V2_25: Final = replace(
    V2_24,
    number="2.25",
    crds="openshift-ai-2.25",
    knows_auth_proxy_type=True,
    names_access_volume_by_service=True,
    reads_first_variable_only=False,
    stock_runtime="ray-tls-labelled",
    engine="0.10.1.1",
)
V3_0: Final = replace(
    V2_25,
    number="3.0",
    crds=V2_24.crds,
    auth_proxy="kube-rbac-proxy",
    knows_auth_proxy_type=False,
    reads_first_variable_only=True,
    engine="0.9.1.0",
)
V3_2: Final = replace(
    V3_0, number="3.2", crds="openshift-ai-3.2", refuses_oci_workers=False, reads_first_variable_only=False
)
V3_3: Final = replace(V3_2, number="3.3", crds="openshift-ai-3.3")

# KServe 0.17.0 with what came to 0.18: the executor annotation, the workers' Service, PYTHONPATH refused.
V3_4: Final = replace(
    kserve.V0_18_1,
    product="openshift-ai",
    number="3.4",
    carries="0.17.0",
    crds=kserve.V0_19_0.crds,
    knows_cluster_runtimes=False,
    clients_service_is_headless=True,
    named_ports="first",
    auth_switch="annotation",
    auth_proxy="kube-rbac-proxy",
    names_access_volume_by_service=True,
    serving_certificate="all",
    issues_ray_certificates="any",
    fills_in_hardware_profiles=True,
    stock_runtime="mp",
    engine="0.18.0",
)

V3_5: Final = replace(
    kserve.V0_20_0,
    product="openshift-ai",
    number="3.5",
    carries="0.20.0-rc0",
    crds="openshift-ai-3.5",
    clients_service_is_headless=True,
    named_ports="all",
    more_runtime_fields=kserve.V0_20_0.more_runtime_fields | {"resourceClaims"},
    checks_lone_priorities=True,
    auth_switch="annotation",
    adds_auth_proxy="always",
    auth_proxy="kube-rbac-proxy",
    serving_certificate="all",
    issues_ray_certificates="any",
    fills_in_hardware_profiles=True,
    stock_runtime="mp",
    engine="0.24.0",
)
V3_6: Final = replace(V3_5, number="3.6")

RELEASES: Final[tuple[Release, ...]] = (
    *(V2_14, V2_15, V2_16, V2_17, V2_18, V2_19, V2_20, V2_21, V2_22, V2_23, V2_24, V2_25),
    *(V3_0, V3_2, V3_3, V3_4, V3_5, V3_6),
)
"""Oldest first."""
