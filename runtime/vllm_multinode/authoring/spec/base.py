"""What every part of a deployment spec has in common, and the texts that several of them take."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from vllm_multinode.contract.frozen import Frozen

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_QUALIFIED = re.compile(rf"({_SUBDOMAIN.pattern}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Part(Frozen):
    """One mapping of the spec: camelCase in a file, snake_case in Python; both are read in both."""

    # Built once, as a part of the whole, instead of each alone as well.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, defer_build=True)


def _quantity(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    text = str(value).strip()
    if not _QUANTITY.fullmatch(text):
        raise ValueError(f"'{value}' is not a quantity; write it as Kubernetes does, such as 16Gi, 500m or 8")
    return text


def _label(value: str) -> str:
    if len(value) > 63 or not _LABEL.fullmatch(value):
        raise ValueError(
            f"'{value}' is not a valid Kubernetes name: lower-case letters, digits and hyphens, 63 at most, "
            "with a letter or digit first and last"
        )
    return value


def _subdomain(value: str) -> str:
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise ValueError(
            f"'{value}' is not a valid Kubernetes name: lower-case letters, digits, hyphens and dots, "
            "with a letter or digit first and last"
        )
    return value


def _qualified(value: str) -> str:
    if not _QUALIFIED.fullmatch(value):
        raise ValueError(f"'{value}' is not a valid Kubernetes key, such as example.com/name")
    return value


def _label_value(value: object) -> object:
    text = scalar(value)
    if not isinstance(text, str):
        return value
    if not _LABEL_VALUE.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a valid label value: letters, digits, '-', '_' and '.', 63 at most"
        )
    return text


def scalar(value: object) -> object:
    """A YAML scalar as the text that was meant; everything else as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Quantity = Annotated[str, BeforeValidator(_quantity, json_schema_input_type=str | float)]
"""An amount as Kubernetes writes it: 16Gi, 500m, 8."""
LabelName = Annotated[str, AfterValidator(_label)]
"""RFC 1123 label: Services, namespaces."""
Name = Annotated[str, AfterValidator(_subdomain)]
"""RFC 1123 subdomain: claims, Secrets, ServingRuntimes."""
Key = Annotated[str, AfterValidator(_qualified)]
"""Of a label, an annotation or a resource."""
LabelValue = Annotated[str, BeforeValidator(_label_value, json_schema_input_type=str | float | bool)]
Text = Annotated[str, BeforeValidator(scalar, json_schema_input_type=str | float | bool)]
"""A text that may be written as a number or as true and false."""
Labels = Mapping[Key, LabelValue]
Annotations = Mapping[Key, Text]
Object = Mapping[str, Any]
"""An object of the Kubernetes API, passed on as it is."""
Count = Annotated[int, Field(ge=1, le=65536, strict=True)]
