"""LongBench-v2 CodeQA: four-way questions about code repositories (50 rows, 23K to 4.2M tokens).

`zai-org/LongBench-v2` (arXiv 2412.15204) at a pinned revision, or a local file with its columns.
Two prompt surfaces: the benchmark's own (letters) and the RLM paper's (numbers 0 to 3).
Guessing scores 0.25. Other domains are not loaded; generated packages are in `codeqa_gen`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.choice import DIGITS, LETTERS, choice_recommended, longbench_v2
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, rng
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubRows, hub_or_file

REPOSITORY, DOMAIN = "zai-org/LongBench-v2", "Code Repository Understanding"
SURFACES = ("official", "rlm")
_NEEDED = ("_id", "question", "context", "answer", *(f"choice_{letter}" for letter in LETTERS))


def ask(question: str, choices: Sequence[str], surface: str) -> str:
    """The question with its four choices, in a surface's wording."""
    if surface == "rlm":
        listed = "\n".join(f"{i}: {choice}" for i, choice in enumerate(choices))
        return (
            "You are a helpful assistant that can answer questions about code repositories. You "
            f"must answer the given question: {question} based on the stored context answer with "
            f"exactly one number choice using only the choices provided:\n{listed}"
        )
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices))  # noqa: B905
    return (
        f"What is the correct answer to this question: {question}\nChoices:\n{listed}\n\n"
        'Format your response as follows: "The correct answer is (insert answer here)".'
    )


def check_surface(surface: str) -> None:
    """Raise `ValueError` for an unknown surface."""
    if surface not in SURFACES:
        raise ValueError(f"surface={surface}: {' or '.join(SURFACES)}")


def answer_choice(letter: str, surface: str) -> str:
    """The statement of the choice `letter` on a surface."""
    return (
        DIGITS[LETTERS.index(letter)] if surface == "rlm" else f"The correct answer is ({letter})"
    )


class FourWay:
    """Shared by both tasks, which define the fields and the samples."""

    surface: str

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """Scores; the official extraction is first where the surface is the benchmark's own."""
        letter, text = str(sample.target), answer.text or ""
        if self.surface == "rlm":
            return (choice_recommended(DIGITS[LETTERS.index(letter)], text, DIGITS),)
        return longbench_v2(letter, text), choice_recommended(letter, text)

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold choice in the required form."""
        return Answer(answer_choice(str(sample.target), self.surface))

    def floors(self) -> Mapping[str, Floor]:
        """Always the first choice; a random choice."""
        return {
            "first": lambda _: answer_choice("A", self.surface),
            "random": lambda s: answer_choice(rng("choice", s.id).choice(LETTERS), self.surface),
        }


@dataclass(frozen=True)
class CodeQA(FourWay, LoadedTask):
    """See the module's docstring."""

    name: str = "codeqa"
    surface: str = "official"
    """`official` (letters) or `rlm` (0 to 3)."""
    revision: str = "2b48e49"
    """Commit of the data set; the default is 2b48e494f2c7a2f0af81aae178e05c7e1dde0fe9."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_surface(self.surface)

    @property
    def _rows(self) -> HubRows:
        return HubRows(REPOSITORY, self.revision, "train", where=(("domain", "==", DOMAIN),))

    def sources(self) -> Sequence[HubRows]:
        """See `LoadedTask`."""
        return () if self.path is not None else (self._rows,)

    def drafts(self) -> Iterator[Draft]:
        """Yield the rows of the code domain, in the data set's order."""
        for row in hub_or_file(self.path, self._rows, _NEEDED):
            with self.reading(f"row {row['_id']}"):
                if row["answer"] not in tuple(LETTERS):
                    raise ValueError(f"the answer {row['answer']!r:.60} is not one of A to D")
            choices = [str(row[f"choice_{letter}"]) for letter in LETTERS]
            question = ask(str(row["question"]), choices, self.surface)
            meta = {"difficulty": row.get("difficulty"), "length_class": row.get("length")}
            name = str(row["_id"])
            yield Draft(question, str(row["context"]), row["answer"], name, name, meta=meta)
