"""The base of every record in this package."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")
