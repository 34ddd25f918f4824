"""One question over the user's own files, for `rlm-eval ask`. No gold, so no scores.

One file is a text; several are documents, each under a line with its name. Not a benchmark: use
`custom` for rows with answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.tokens import DEFAULT, get_tokenizer
from rlm_eval.core.types import Answer, Density, Sample, Score, canonical_text, text_hash
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, make_context, make_sample


@dataclass(frozen=True)
class Files:
    """See the module's docstring."""

    question: str
    """The question."""
    paths: list[str]
    """Text files, UTF-8."""
    name: str = "files"
    tokenizer: str = DEFAULT
    """Tokenizer that measures the length."""
    length: int = 0
    """Ignored: the files keep their own length."""
    documents: list[str] = field(default_factory=list)
    """Texts in place of files, for callers that hold them in memory."""
    digest: str = ""
    """`core.types.text_hash` of the whole context: other contents are another cell. Empty = the
    files' current contents."""

    own_length: ClassVar[bool] = True
    density: ClassVar[Density] = Density.CONSTANT
    generated: ClassVar[bool] = False
    protected: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("question: nothing is asked")
        if not (self.paths or self.documents):
            raise ValueError("paths: name at least one file")

    def samples(self) -> Iterator[Sample]:
        """Yield the one sample. Raises `ConfigError` naming a file that is not readable as text."""
        value = self._value()
        if self.digest and text_hash(canonical_text(value)) != self.digest:
            raise ConfigError(f"{', '.join(self.paths)}: changed since the question; ask it again")
        context = make_context(value, get_tokenizer(self.tokenizer))
        draft = Draft(self.question, value, None, "ask", "ask", context.tokens)
        yield make_sample(self.name, 0, context.tokens, draft, context, None)

    def current_digest(self) -> str:
        """`digest` of the files' current contents. Raises `ConfigError` as `samples` does."""
        return text_hash(canonical_text(self._value()))

    def _value(self) -> str | tuple[str, ...]:
        texts = [*self.documents, *(self._read(path) for path in self.paths)]
        return texts[0] if len(texts) == 1 else tuple(texts)

    def _read(self, path: str) -> str:
        try:
            text = Path(path).expanduser().read_bytes().decode("utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text; convert it first ({error})") from error
        return text if len(self.paths) + len(self.documents) == 1 else f"# {path}\n{text}"

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:  # noqa: ARG002 the role's
        """No scores: there is no gold."""
        return ()

    def floors(self) -> Mapping[str, Floor]:
        """No floors."""
        return {}
