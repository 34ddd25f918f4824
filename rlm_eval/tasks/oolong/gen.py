"""`oolong_gen`: our freely licensed data in the shape of OOLONG-synth, under another name.

Windows and questions follow the benchmark (arXiv:2511.02817), with its generator's faults repaired
and with comparisons that a sample of the lines cannot answer (30 % of the headline set). The same
question is asked at every length over nested windows, and its gold is recomputed. The families of
texts are in `oolong_grammar`; `question` has the shape of trec_coarse. The hub's data are in
`oolong_synth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.tasks.oolong.base import LabelledWindows
from rlm_eval.tasks.oolong.grammar import FAMILIES, Family, family
from rlm_eval.tasks.oolong.lines import trained


@dataclass(frozen=True)
class OolongGen(LabelledWindows):
    """See the module's docstring."""

    name: str = "oolong_gen"
    """Name in tables."""
    family: str = "question"
    """Kind of lines: `question` (six answer types), `subject` (of a message), `claims` (true or
    false), `sentiment` (of a customer), `request` (or report), `formal` (or casual)."""

    VERSION: ClassVar[int] = 4
    """Defects of earlier versions. 3: 22 sentences around two drafts revealed the labels of
    `request` and `formal`; 2: single words revealed the labels, and some questions needed none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in FAMILIES:
            raise ValueError(f"family={self.family}: one of {', '.join(FAMILIES)}")

    def source(self) -> Family:
        """The family's text source."""
        return family(self.family)

    def window_key(self, number: int) -> str:
        """See `LabelledWindows`."""
        return window_key(self.family, self.seed, number)

    def keywords(self) -> Mapping[str, Sequence[str]]:
        """The family's keyword lists."""
        return self.source().keywords

    def classifier(self) -> Callable[[str], str]:
        """A bag-of-words classifier trained on other texts of the family."""
        return trained(self.source()).label


def window_key(family: str, seed: int, number: int) -> str:
    """Seed parts from which window `number` is drawn."""
    middle = () if family == FAMILIES[0] else (family,)
    return "|".join(map(str, ("oolong_gen", *middle, seed, number)))
