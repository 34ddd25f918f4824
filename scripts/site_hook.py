"""Hook of mkdocs.yml: pages of the repository outside docs/ that the site holds, and links to them.

Pages keep the links that work in a clone. On the site, `docs/` is the root: a link is rewritten to
where its target is, and one to a file that the site does not hold becomes plain text. That each
target exists is checked by tests/test_links.py.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = (
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/*/README.md",
    "benchmarks/*/results.txt",
)  # fmt: skip
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Add the page of each suite to the navigation."""
    pages = sorted(ROOT.glob("benchmarks/*/README.md"))
    suites = [{path.parent.name: path.relative_to(ROOT).as_posix()} for path in pages]
    config["nav"].append({"Benchmarks": suites})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/ under their path in the repository."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Rewrite the links of a page for the site."""
    place = page.file.src_uri
    is_outside = (
        any(Path(place).match(pattern) for pattern in OUTSIDE)
        and not (ROOT / "docs" / place).exists()
    )
    in_repository = place if is_outside else f"docs/{place}"
    held = {file.src_uri for file in files}
    return "".join(_rewritten(markdown, in_repository, place, held))


def _rewritten(markdown: str, source: str, place: str, held: set[str]) -> list[str]:
    """Parts of the page; code blocks are not changed."""
    parts = re.split(r"(```.*?```)", markdown, flags=re.S)

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if ":" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        on_site = path.removeprefix("docs/")
        if on_site not in held:
            return text
        relative = posixpath.relpath(on_site, posixpath.dirname(place) or ".")
        return f"[{text}]({relative}{anchor})"

    return [part if part.startswith("```") else _LINK.sub(link, part) for part in parts]
