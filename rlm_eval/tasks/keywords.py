"""Answer questions about labels from keyword lists, without understanding any line.

The lists are generic: a person could write them in a few minutes for labels of these names. An item
gets the first label whose list it matches, otherwise the last label. Counts of labels answer which
is the most or least common, how many there are, and which of two is more common.
"""

from __future__ import annotations

import re
from collections import Counter

from rlm_eval.tasks.items import Page

_LISTS = {
    "abbreviation": r"abbreviat|acronym|initials|stand for|stands for|short for|letters",
    "numeric value": (
        r"how (?:many|much|long|far|old|tall|high|fast|often|big|deep|wide|heavy|late|early)|when|"
        r"what year|which year|what date|number|percent|distance|population|temperature|speed|age"
    ),
    "human being": (
        r"who|whom|whose|actor|actress|poet|singer|king|queen|author|writer|person|president|"
        r"captain|inventor|painter|composer|explorer|founder|woman|man|name of the"
    ),
    "location": (
        r"where|town|city|state|country|river|island|mountain|lake|street|place|capital|continent|"
        r"county|village|birthplace"
    ),
    "description and abstract concept": (
        r"why|how|mean|means|meaning|definition|define|difference|origin|reason|describe|explain|"
        r"cause|what is|what are|involves|known about"
    ),
    "entity": r"what|which",
    "spam": (
        r"free|win|won|winner|prize|claim|cash|urgent|txt|text|call now|reply|offer|guaranteed|"
        r"http|www|voucher|award|mobile|£\d+|\$\d+"
    ),
    "negative": (
        r"not|no|bad|worst|terrible|awful|hate|boring|poor|waste|disappoint\w*|broken|never|wrong|"
        r"horrible|fail\w*|crash\w*|useless|refund"
    ),
    "positive": (
        r"good|great|love|loved|best|excellent|wonderful|enjoy\w*|perfect|amazing|nice|happy|"
        r"recommend|works|thanks"
    ),
    "formal": r"please|therefore|however|regarding|shall|would|may|sincerely|furthermore|upon",
    "informal": r"hey|gonna|wanna|lol|yeah|cool|stuff|guys|ok|u|ya|dude|kinda",
    "request": r"please|could you|can you|would you|send|need|want|kindly|\?",
    "report": r"was|were|has|had|did|reported|found|happened",
    "sports": r"game|team|season|coach|player|score\w*|win|cup|league|match|goal",
    "business": r"company|market|stock\w*|profit|sales|bank|shares|economy|price\w*|oil",
    "sci/tech": r"software|internet|computer|nasa|research\w*|technology|microsoft|scientists",
    "world": r"government|minister|war|police|killed|iraq|president|election|troops|un",
    "ham": r"(?!)",
    "neutral": r"(?!)",
}
"""Label -> pattern of whole words, the most specific first."""
_COMPILED = {
    label: re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
    for label, words in _LISTS.items()
}
_QUOTED = re.compile(r"'([^'\n]+)'")
_HEAD = 3000  # characters at the start of the context in which labels may be listed


def known_labels(page: Page) -> list[str]:
    """The labels of `_LISTS` that the question or the start of the context lists."""
    said = f"{page.sample.question}\n{page.text[:_HEAD]}".lower()
    return [label for label in _LISTS if re.search(rf"['\"\s,(]{re.escape(label)}['\".,)\n]", said)]


def counted(page: Page, labels: list[str]) -> Counter[str]:
    """Label -> number of items, over the items that the question is about (all where unknown)."""
    spans = page.sample.evidence
    items = [page.text[start:end] for start, end in spans] if len(spans) > 1 else page.items
    counts = Counter(dict.fromkeys(labels, 0))
    for item in items:
        told = item.rsplit(" || ", 1)[-1]  # a record's text is its last field
        counts[next((la for la in labels if _COMPILED[la].search(told)), labels[-1])] += 1
    return counts


def by_keywords(page: Page) -> str | None:
    """The bare answer to a question about two or more known labels, otherwise `None`."""
    labels = known_labels(page)
    if len(labels) < 2:
        return None
    question = page.sample.question
    asked = [la for la in dict.fromkeys(_QUOTED.findall(question)) if la in labels]
    counts = counted(page, labels)
    ranked = [label for label, _ in counts.most_common()]
    if len(asked) == 1:
        return str(counts[asked[0]])
    if len(asked) == 2:
        first, second = (counts[label] for label in asked)
        told = "more common than" if first > second else "less common than"
        return "same frequency as" if first == second else told
    return ranked[-1] if "least" in question or "rarest" in question else ranked[0]
