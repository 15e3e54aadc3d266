"""What every benchmark prints: a figure, its unit, and what it should reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measurement.

    Attributes:
        what: was measured.
        value: of it.
        unit: of the value; `x` for a ratio within this run.
        wanted: the figure to reach, in words; empty where there is none.
    """

    what: str
    value: float
    unit: str
    wanted: str

    def __str__(self) -> str:
        wanted = f"   (wanted: {self.wanted})" if self.wanted else ""
        return f"{self.what:<66} {self.value:>9.3f} {self.unit:<4}{wanted}"
