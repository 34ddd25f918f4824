"""A report's page as a test reads it: its links, its sections, the data of its scripts."""

from __future__ import annotations

import json
import operator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs


class Page(HTMLParser):
    """Ids, local addresses and section titles of `report.html`, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sections: list[str] = []
        self.feed(self.text)
        block = self.text.split('<script type="application/json" id="data">')[1]
        self.data: dict[str, Any] = json.loads(block.split("</script>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what is asked for."""
        found = dict(attrs)
        if name := found.get("id"):
            self.ids.append(name)
            if tag == "section":
                self.sections.append(name)
        if tag == "a" and (href := found.get("href") or "").startswith("#"):
            self.links.append(href[1:])

    def rows(self) -> list[dict[str, Any]]:
        """The listed samples."""
        columns = {
            name: [column[0][code] for code in column[1]]
            if len(column) == 2 and all(isinstance(part, list) for part in column)
            else column
            for name, column in self.data["rows"].items()
        }
        return [
            {name: column[at] for name, column in columns.items()}
            for at in range(len(columns["sample"]))
        ]

    def selected(self, link: str) -> list[dict[str, Any]]:
        """The samples that a link of a table lists."""
        asked = parse_qs(link)
        if "c" in asked:
            task, length, method = self.data["cells"][int(asked.pop("c")[0])]
            asked |= {"task": [task], "length": [length], "method": [method]}
        score = asked.pop("score", None)
        better = asked.pop("better", None)
        found = [r for r in self.rows() if all(r[name] in values for name, values in asked.items())]
        if score:
            holds = operator.ge if score[0].startswith(">=") else operator.lt
            bound = float(score[0].lstrip("<>="))
            found = [r for r in found if r["score"] is not None and holds(r["score"], bound)]
        if better:
            scores: dict[str, dict[str, float]] = {}
            for row in found:
                scores.setdefault(row["sample"], {})[row["method"]] = row["score"]
            won = {
                s
                for s, of in scores.items()
                if of[better[0]] == max(of.values()) > min(of.values())
            }
            found = [row for row in found if row["sample"] in won]
        return found
