"""Refresh `rlm_eval/budget/data/prices.json` from the price table that the litellm wheel carries.

    python scripts/refresh_prices.py [--version X.Y.Z]

The wheel is data: downloaded without its dependencies, one member read, nothing installed or
executed. Each entry's `origin` names its row in that table; an entry without `origin` is kept as
it is. Add a model by adding `"KEY": {"origin": "ROW"}` and running this.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "rlm_eval" / "budget" / "data" / "prices.json"
MEMBER = "litellm/model_prices_and_context_window_backup.json"
NAMES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
}


def download(version: str | None) -> tuple[str, dict[str, Any]]:
    """(wheel name, table)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        requirement = f"litellm=={version}" if version else "litellm"
        subprocess.run([*command, "-q", "-d", folder, requirement], check=True)  # noqa: S603
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return "-".join(wheel.name.split("-")[:2]), json.loads(archive.read(MEMBER))


def rates(row: dict[str, Any], suffix: str = "") -> dict[str, float]:
    """Dollars per million tokens of one tier."""
    found = {ours: row.get(theirs + suffix) for ours, theirs in NAMES.items()}
    return {name: round(value * 1e6, 6) for name, value in found.items() if value is not None}


def entry(origin: str, row: dict[str, Any], wheel: str) -> dict[str, Any]:
    """Our form of one row."""
    where = row.get("source") or f"table of {wheel}"
    new: dict[str, Any] = {
        "origin": origin,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "source": f"{where} (by way of {wheel})",
        "window": row.get("max_input_tokens"),
        "base": rates(row),
    }
    tiers = {
        int(match.group(1)) * 1000: rates(row, match.group(0))
        for name in row
        if (match := re.search(r"_above_(\d+)k_tokens$", name)) and name.startswith("input_cost")
    }
    if tiers:
        new["long"] = [{"above": above, **tiers[above]} for above in sorted(tiers)]
    if row.get("input_cost_per_token_batches"):
        new["batch"] = round(row["input_cost_per_token_batches"] / row["input_cost_per_token"], 4)
    return new


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", help="exact version of the wheel; the newest by default")
    wheel, rows = download(parser.parse_args().version)
    document = json.loads(FILE.read_text())
    for key, old in document["prices"].items():
        origin = old.get("origin")
        if origin is None:
            continue
        if origin not in rows:
            print(f"{key}: {origin} is no longer in {wheel}; kept as it was", file=sys.stderr)
            continue
        document["prices"][key] = entry(origin, rows[origin], wheel)
    FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
