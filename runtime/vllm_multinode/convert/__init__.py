"""From what runs elsewhere to a deployment spec: every field of the source, and what became of it."""

from vllm_multinode.convert.conversion import Conversion, Service, convert
from vllm_multinode.convert.record import Row, Status

__all__ = ["Conversion", "Row", "Service", "Status", "convert"]
