"""Links of the pages: every target exists, every anchor is a heading, every page is in the site."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*/README.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """The text of a page without its code blocks and inline code."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as a code host and the site make them."""
    found: dict[str, int] = {}
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(), flags=re.S | re.M)
    every = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", text, re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        every.add(f"{slug}-{count}" if count else slug)
    return every


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = path.parent / target if target else path
        if not place.exists() or (
            anchor and place.suffix == ".md" and anchor not in anchors(place)
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(path):
    assert broken(path) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    (tmp_path / "b.md").write_text(
        "# One two: three!\n\n```\n# no heading\n```\n\n## One two three"
    )
    (tmp_path / "a.md").write_text(
        "[1](b.md#one-two-three) [2](b.md#one-two-three-1) [3](c.md) [4](b.md#no-heading) [5](#x) "
        "[6](https://example.org/x) `[7](no.md)`\n\n```\n[8](no.md)\n```\n\n## x\n"
    )
    assert broken(tmp_path / "a.md") == ["c.md", "b.md#no-heading"]


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml: its `!!python/...` tags name functions of the site's generator."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_the_site_holds_every_page_of_docs():
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Loader)

    def pages(node):
        if isinstance(node, str):
            yield node
        for inner in node.values() if isinstance(node, dict) else node:
            if not isinstance(node, str):
                yield from pages(inner)

    named = list(pages(site["nav"]))
    docs = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    outside = {"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    assert len(named) == len(set(named))
    assert set(named) == docs | outside
    assert [next(iter(part)) for part in site["nav"]] == [
        "Home", "Tutorial", "How-to guides", "Reference", "Explanation",
    ]  # fmt: skip
    assert (ROOT / site["hooks"][0]).is_file()
