"""Tables as files: CSV, Markdown and LaTeX of each, and all numbers in `cells.csv`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlm_eval.report import wording
from rlm_eval.report.tables.latex import latex
from rlm_eval.report.tables.table import Table

__all__ = ["latex", "markdown", "write"]


def write(tables: list[Table], cell_table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `cells.csv` with every number, and each table as CSV, Markdown and LaTeX."""
    folder.mkdir(parents=True, exist_ok=True)
    wording.unknown_lengths(cell_table).to_csv(folder / "cells.csv", index=False)
    written = [folder / "cells.csv"]
    for table in tables:
        for ending, text in (
            ("csv", table.csv.to_csv(index=False)),
            ("md", f"## {table.title}\n\n{markdown(table.rows)}\n\n{table.note}\n"),
            ("tex", latex(table)),
        ):
            path = folder / f"{table.name}.{ending}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def markdown(rows: pd.DataFrame) -> str:
    """Return a pipe table with special characters escaped."""
    lines = [list(rows.columns), ["---"] * len(rows.columns), *rows.to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(v).replace("|", "\\|").replace("\n", " ") for v in line) + " |"
        for line in lines
    )
