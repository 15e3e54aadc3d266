"""A deployment spec that is being gathered from a source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_multinode.authoring.planned import service_name

Fields = dict[str, Any]


@dataclass
class Draft:
    """What is known so far of one service.

    Attributes:
        name: as the source has it.
        fields: of the deployment spec, camelCase.
        gpu: accelerator or node shape of the catalogue; empty where the source does not say.
        nodes: that the source has; 0 where it does not say.
        most_nodes: that the source lets it have; 0 for any number.
        plan_context: tokens to plan with where the spec names no number.
        by_hand: what is left to do, a sentence each.
        notes: what was decided, a sentence each.
    """

    name: str
    fields: Fields = field(default_factory=dict)
    gpu: str = ""
    nodes: int = 0
    most_nodes: int = 0
    plan_context: int = 0
    by_hand: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def service(self) -> str:
        """Its name as Kubernetes takes it."""
        return service_name(self.name)

    def set(self, target: str, value: Any) -> None:
        """Write a field, such as parallelism.tensor; parents are added."""
        *parents, last = target.split(".")
        place = self.fields
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value

    def put(self, target: str, key: str, value: Any) -> None:
        """Write an entry of a mapping whose keys may hold dots, such as labels or env."""
        place = self.fields
        for part in target.split("."):
            place = place.setdefault(part, {})
        place[key] = value

    def add(self, target: str, value: Any) -> None:
        """Add to a list."""
        *parents, last = target.split(".")
        place = self.fields
        for parent in parents:
            place = place.setdefault(parent, {})
        place.setdefault(last, []).append(value)

    def get(self, target: str) -> Any:
        """A field's value; None where it is not written."""
        place: Any = self.fields
        for part in target.split("."):
            if not isinstance(place, Mapping) or part not in place:
                return None
            place = place[part]
        return place

    def todo(self, sentence: str) -> None:
        """Name something that is left to do, once."""
        if sentence not in self.by_hand:
            self.by_hand.append(sentence)
