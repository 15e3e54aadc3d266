"""Releases of OpenShift AI: the KServe that each is forked from, with the backports of its branch.

Source: the branches rhoai-X of red-hat-data-services/kserve and odh-model-controller, and recordings of their
controllers (`tests/data/rhoai_recorded`).
"""

from dataclasses import replace
from typing import Final

from vllm_multinode.platforms.releases import kserve
from vllm_multinode.platforms.releases.release import Release

# 2.14 and 2.15 carry KServe 0.12, which lacks nothing of 0.14 that is read here.
V2_14: Final = replace(kserve.V0_14_1, product="openshift-ai", number="2.14", carries="0.12.1")
V2_15: Final = replace(V2_14, number="2.15")

V2_16: Final = replace(
    V2_15,
    number="2.16",
    carries="0.14.0",
    crds="0.15.0",
    knows_worker_spec=True,
    knows_gpu_types_annotation=False,
    head_variables=kserve.V0_15_0.head_variables,
    worker_variables=kserve.V0_15_0.worker_variables,
    keeps_three_head_services=True,
)
V2_17: Final = replace(V2_16, number="2.17")
V2_18: Final = replace(V2_17, number="2.18")
V2_19: Final = replace(V2_18, number="2.19")
V2_20: Final = replace(V2_19, number="2.20")
V2_21: Final = replace(V2_20, number="2.21")
V2_22: Final = replace(V2_21, number="2.22", storage_schemes=("pvc", "oci"))

V2_23: Final = replace(
    kserve.V0_15_2,
    product="openshift-ai",
    number="2.23",
    carries="0.15.2",
    storage_schemes=("pvc", "oci"),
)
V2_24: Final = replace(V2_23, number="2.24", refuses_oci_workers=True)
V2_25: Final = replace(V2_24, number="2.25")
V3_0: Final = replace(V2_25, number="3.0")
V3_2: Final = replace(V3_0, number="3.2", refuses_oci_workers=False)
V3_3: Final = replace(V3_2, number="3.3")

V3_4: Final = replace(
    kserve.V0_17_1,
    product="openshift-ai",
    number="3.4",
    carries="0.17.0",
    knows_mp_annotation=True,
    refuses_python_path=True,
    worker_variables=kserve.V0_18_1.worker_variables,
    makes_workers_service=True,
)

V3_5: Final = replace(kserve.V0_20_0, product="openshift-ai", number="3.5", carries="0.20.0-rc0")
V3_6: Final = replace(V3_5, number="3.6")

RELEASES: Final[tuple[Release, ...]] = (
    *(V2_14, V2_15, V2_16, V2_17, V2_18, V2_19, V2_20, V2_21, V2_22, V2_23, V2_24, V2_25),
    *(V3_0, V3_2, V3_3, V3_4, V3_5, V3_6),
)
"""Oldest first."""
