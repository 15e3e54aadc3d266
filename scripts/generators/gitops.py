"""The health check of InferenceService in Argo CD, from one Lua file: for its own ConfigMap and for OpenShift GitOps."""

from typing import Final

from generators.repository import MANIFESTS, Files

_FOLDER: Final = MANIFESTS / "gitops"
_HEADER: Final = "# Written by scripts/generate from ../inferenceservice.lua.\n"
_CONFIG_MAP: Final = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/part-of: argocd
data:
  resource.customizations.health.serving.kserve.io_InferenceService: |
"""
_OPERATOR: Final = """\
apiVersion: argoproj.io/v1beta1
kind: ArgoCD
metadata:
  name: openshift-gitops
  namespace: openshift-gitops
spec:
  resourceHealthChecks:
    - group: serving.kserve.io
      kind: InferenceService
      check: |
"""


def files() -> Files:
    """The two manifests."""
    lua = (_FOLDER / "inferenceservice.lua").read_text(encoding="utf-8").splitlines()
    return {
        _FOLDER / "argocd/configmap.yaml": _HEADER + _CONFIG_MAP + _indented(lua, 4),
        _FOLDER / "openshift-gitops/argocd.yaml": _HEADER + _OPERATOR + _indented(lua, 8),
    }


def _indented(lines: list[str], columns: int) -> str:
    return "".join(f"{' ' * columns}{line}".rstrip() + "\n" for line in lines)
