"""What became of the cells of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Summary:
    """Result of a run."""

    folder: Path
    """The run directory."""
    finished: list[str] = field(default_factory=list)
    """Cells with a result for every sample."""
    attempted: int = 0
    """Samples that this run executed; results of an earlier run are excluded."""
    rescored: int = 0
    """Stored answers that were scored again."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """Cell -> why it has samples without a result."""
    wrong: set[str] = field(default_factory=set)
    """Unfinished cells whose configuration is wrong: the same command fails again."""

    def next_step(self, again: str) -> str:
        """Return the advice for the unfinished cells; `again` says how the others resume."""
        if not self.wrong:
            return again
        told = "fix the error above, then run the same command again"
        if len(self.wrong) < len(self.unfinished):
            return f"{told} for {len(self.wrong)} of them; for the others {again}"
        return told
