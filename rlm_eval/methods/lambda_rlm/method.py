"""λ-RLM (arXiv:2603.20105) as a method: a planner fixes a tree, typed combinators execute it.

No model writes code: the model classifies the kind of work (one call), reads the leaves, and
composes results where the kind requires it. Our implementation follows the paper; the prompts and
reply parsers are ours. A setting selects among the paper's contradictory rules (`planner`). The
method has no access to the task: `kind` is detected from the question, or set. Translation and the
other kinds that only the released code has are not implemented.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.spans import Span, share_within
from rlm_eval.core.types import Answer, Call, Message, Role, Sample
from rlm_eval.methods.context_window import MARGIN, chars_per_token
from rlm_eval.methods.lambda_rlm.answers import from_counts
from rlm_eval.methods.lambda_rlm.kinds import KINDS, Kind, bare
from rlm_eval.methods.lambda_rlm.operators import cross, fold, kept, map_each, peek, split
from rlm_eval.methods.lambda_rlm.planner import RULES, Plan, make_plan
from rlm_eval.methods.prompts import fill, load_prompt
from rlm_eval.methods.steps import producer
from rlm_eval.methods.text import sections
from rlm_eval.protocols import Model, Session

FILTERS = ("string", "model", "off")
_PROBE = 500  # first characters of the text, as in the paper
_PREVIEW = 10  # a filter reads a tenth of a leaf, as in the paper
_WORD = re.compile(r"\w{5,}")
_NOT_READERS = ("kind", "filter", "condition")  # their replies are no part of an answer
_PARTS = ("kind", "filter", *KINDS, "best", "merge", "counts", "condition", "answer")
_NO_WINDOW = 25_000  # leaf tokens where the model's window is unknown: as the released code


@dataclass(frozen=True)
class LambdaRlm:
    """See the module's docstring."""

    runs_code: ClassVar[bool] = False
    plans_its_calls: ClassVar[bool] = True  # a prompt that the server cut spoils the answer
    VERSION: ClassVar[int] = 3  # 2: a label with count 0 is kept; 3: markup and lists of labels

    kind: str = "detect"
    """`detect` (one call), or search, classify, aggregate, pairwise, summarise, multi_hop."""
    leaf_tokens: int | None = None
    """Maximum tokens of a leaf, the paper's K; null = the model's window less `reserve_tokens`."""
    reserve_tokens: int = 2048
    """Tokens of the window reserved for a leaf's prompt and reply."""
    k_rule: str = "fit"
    """Fan-out: `fit`, `root` or `two` (see `planner.make_plan`)."""
    k_max: int = 20
    """Maximum fan-out, unless the accuracy target requires more."""
    alpha: float = 0.80
    """Accuracy that the planner requires of composition; lower values allow deeper trees."""
    a_leaf: float = 0.95
    """Accuracy of a leaf assumed by the planner."""
    a_compose: float = 0.90
    """Accuracy of a composition assumed by the planner."""
    filter: str = "string"
    """Filter of pieces by their first characters, for search and multi_hop: `string` (they contain
    a longer word of the question), `model` (one call each), `off`. Where none passes, all are
    kept."""
    best: str = "call"
    """Choice among several candidates of a search: `call` asks a model, `vote` takes the most
    frequent."""
    sub_model: str = "sub"
    """Model slot of all its calls."""
    max_concurrent_sub_calls: int | None = None
    """Maximum concurrent calls; null = the endpoint's own limit."""
    prompt: str = "lambda_rlm/plain"
    """Shipped prompt, in named sections."""
    prompt_file: str | None = None
    """The user's own prompt file, replacing `prompt`."""
    label: str = ""
    """Name in tables; empty = `lambda_rlm`, and the kind where it is set."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("kind", ("detect", *KINDS)),
            ("k_rule", RULES),
            ("filter", FILTERS),
            ("best", ("call", "vote")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)}: one of {', '.join(allowed)}")
        if self.k_max < 2 or self.reserve_tokens < 1:
            raise ValueError("k_max: 2 or more; reserve_tokens: 1 or more")
        if not all(0 < share <= 1 for share in (self.alpha, self.a_leaf, self.a_compose)):
            raise ValueError("alpha, a_leaf, a_compose: above 0, at most 1")
        for name in ("leaf_tokens", "max_concurrent_sub_calls"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: 1 or more, or null")
        if missing := [part for part in _PARTS if part not in self._sections]:
            raise ConfigError(f"prompt {self.prompt_id}: no section === {missing[0]}")

    @property
    def name(self) -> str:
        """`lambda_rlm`, `lambda_rlm_aggregate`, ..."""
        derived = "lambda_rlm" if self.kind == "detect" else f"lambda_rlm_{self.kind}"
        return self.label or derived

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return (self.sub_model,)

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_prompt(self.prompt, self.prompt_file).id

    @property
    def _sections(self) -> Mapping[str, str]:
        return sections(load_prompt(self.prompt, self.prompt_file).text)

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:  # noqa: ARG002
        """Raise `ConfigError` where the model's window leaves nothing for a leaf."""
        self._window_tokens(models[self.sub_model].window)

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Detect the kind, plan, execute the tree. Propagates the session's exceptions."""
        run = _Run(self, sample, session, self._sections)
        try:
            return await run.answer()
        finally:
            for name, value in run.notes.items():
                session.note(f"lambda_{name}", value)
            session.note("evidence_read", share_within(sample.evidence, run.read))

    def plan(self, sample: Sample, window: int | None, kind: Kind[Any]) -> Plan:
        """Plan for a sample and a model with a window of `window` tokens."""
        rate = chars_per_token(sample)
        tokens = self._window_tokens(window)
        return make_plan(
            sample.context.chars,
            max(1, int((tokens or _NO_WINDOW) * rate)),
            rule=self.k_rule,
            k_max=self.k_max,
            compose_cost=kind.compose_cost,
            alpha=self.alpha,
            a_leaf=self.a_leaf,
            a_compose=self.a_compose,
            chars_per_token=rate,
        )

    def _window_tokens(self, window: int | None) -> int | None:
        """Tokens of a leaf; `None` where neither setting nor window decides."""
        if self.leaf_tokens is not None or window is None:
            return self.leaf_tokens
        tokens = int((window - self.reserve_tokens) * (1 - MARGIN))
        if tokens < 1:
            raise ConfigError(
                f"method.reserve_tokens={self.reserve_tokens} leaves nothing of the window of "
                f"{window} tokens for a leaf; make it smaller"
            )
        return tokens


class _Run:
    """Execution for one sample: its calls and notes."""

    def __init__(
        self, method: LambdaRlm, sample: Sample, session: Session, parts: Mapping[str, str]
    ) -> None:
        self._method = method
        self._sample = sample
        self._session = session
        self._parts = parts
        self._text = sample.context.text()
        self._head = self._text[:_PROBE]
        self._calls: list[Call] = []
        self._asked = 0
        self._allowed = 1
        most = method.max_concurrent_sub_calls
        self._gate = asyncio.Semaphore(most) if most else nullcontext()
        self.read: list[Span] = []
        """The text that the leaves read."""
        self.notes: dict[str, Any] = {
            "unparsed": 0,
            "unparsed_lines": 0,
            "cut_leaves": 0,
            "dropped": 0,
        }

    async def answer(self) -> Answer:
        method = self._method
        kind = KINDS[method.kind] if method.kind != "detect" else await self._detected()
        plan = method.plan(self._sample, self._session.window_of(method.sub_model), kind)
        filters = kind.filters and method.filter == "model"
        composes = kind.composes and not self._votes(kind)
        self._allowed = plan.bound(
            detects=method.kind == "detect", filters=filters, composes=composes, final=kind.final
        )
        rate = chars_per_token(self._sample)
        self.notes |= {
            "kind": kind.name,
            "k": plan.k,
            "depth": plan.depth,
            "leaf_tokens": round(plan.leaf / rate),
            "calls_claimed": plan.claimed,
            "calls_bound": self._allowed,
            "tokens_planned": plan.tokens(rate, composes=composes),
        }
        result = await self._phi(kind, plan, (0, len(self._text)), ())
        text, value = await self._finish(kind, result)
        made = producer(text, self._calls[::-1])
        return Answer(text or None, value, made.id if made else None, "program")

    async def _detected(self) -> Kind[Any]:
        menu = "\n".join(f"{n} {k.name}: {k.menu}" for n, k in enumerate(KINDS.values(), 1))
        chars = str(self._sample.context.chars)
        reply = await self._ask("kind", "kind", chars=chars, head=self._head, menu=menu)
        digit = re.search(rf"[1-{len(KINDS)}]", reply)
        self.notes["kind_unread"] = digit is None
        # A summary can answer any question, so it replaces the paper's general kind.
        name = list(KINDS)[int(digit.group()) - 1] if digit else "summarise"
        return KINDS[name]

    async def _phi(self, kind: Kind[Any], plan: Plan, span: Span, path: tuple[int, ...]) -> Any:
        """The paper's Φ: a leaf reads; an inner node splits, filters, maps and composes."""
        if len(path) == plan.depth:
            return await self._leaf(kind, span, path)
        pieces = split(self._text, span, plan.k, plan.room(len(path) + 1))
        places = [(*path, n) for n in range(len(pieces))]
        nodes = list(zip(pieces, places, strict=True))
        if kind.filters:
            nodes = await self._filtered(nodes, plan.leaf // _PREVIEW)

        async def walk(node: tuple[Span, tuple[int, ...]]) -> Any:
            return await self._phi(kind, plan, *node)

        return await self._composed(kind, await map_each(walk, nodes), path)

    async def _leaf(self, kind: Kind[Any], span: Span, path: tuple[int, ...]) -> Any:
        piece = self._text[span[0] : span[1]]
        reply = await self._ask(kind.name, _place("leaf", path), piece=piece, head=self._head)
        self.read.append(span)
        result = kind.read(reply)
        self.notes["unparsed"] += result is None
        self.notes["unparsed_lines"] += kind.unread(reply)
        return kind.empty if result is None else result

    async def _filtered(
        self, nodes: Sequence[tuple[Span, tuple[int, ...]]], chars: int
    ) -> list[tuple[Span, tuple[int, ...]]]:
        previews = [peek(self._text, span, max(50, chars)) for span, _ in nodes]
        if self._method.filter == "model":

            async def matters(item: tuple[str, tuple[int, ...]]) -> bool:
                reply = await self._ask("filter", _place("filter", item[1]), piece=item[0])
                return "yes" in reply.lower()

            keep = await map_each(
                matters, [(p, path) for p, (_, path) in zip(previews, nodes, strict=True)]
            )
        elif self._method.filter == "string":
            words = set(_WORD.findall(self._sample.question.lower()))
            keep = [bool(words & set(_WORD.findall(p.lower()))) for p in previews]
        else:
            return list(nodes)
        left = kept(nodes, keep)
        self.notes["dropped"] += len(nodes) - len(left)
        return left

    async def _composed(self, kind: Kind[Any], results: list[Any], path: tuple[int, ...]) -> Any:
        """REDUCE by the kind's merge, and by a model where the kind composes."""
        merged = fold(kind.merge, results, kind.empty)
        if not kind.composes or len(set(merged)) < 2:
            return merged[:1] if kind.composes else merged
        if self._votes(kind):
            # The vote needs the wordings of all candidates, so only the root decides.
            return merged if path else (Counter(merged).most_common(1)[0][0],)
        section = "best" if kind.name == "search" else "merge"
        return (await self._ask(section, _place(section, path), results=_listed(merged)),)

    def _votes(self, kind: Kind[Any]) -> bool:
        return kind.name == "search" and self._method.best == "vote"

    async def _finish(self, kind: Kind[Any], result: Any) -> tuple[str, Any]:
        """Return (text, value) of the answer."""
        if kind.name == "aggregate":
            found = from_counts(self._sample.question, result)
            self.notes["answered_in_code"] = found is not None
            if found is not None:
                return found, None
            table = "\n".join(f"{label}: {count}" for label, count in result.most_common())
            return await self._ask("counts", "counts", results=table or "nothing"), None
        if kind.name == "pairwise":
            return await self._pairs(result)
        if kind.name == "multi_hop":
            if not result:
                return "NONE", None
            return await self._ask("answer", "answer", results=_listed(result)), None
        if kind.name == "classify":
            return "\n".join(result), None
        return (result[0] if result else "NONE"), None

    async def _pairs(self, labels: Mapping[str, frozenset[str]]) -> tuple[str, Any]:
        """Pairs of items whose labels meet the condition."""
        known = sorted({label for own in labels.values() for label in own})
        if not known:
            return "[]", []
        reply = await self._ask("condition", "condition", results=", ".join(known))
        named = {bare(part.strip(" -")) for part in re.split(r"[,\n]", reply)}
        self.notes["condition"] = ", ".join(sorted(named & set(known)))
        chosen = [item for item, own in labels.items() if own & named]
        numbers = sorted(int(item) for item in chosen if item.isdigit())
        pairs: list[tuple[Any, Any]] = list(cross(numbers))
        if len(numbers) < len(chosen):
            pairs = list(cross(sorted(chosen)))
        return "\n".join(f"({a}, {b})" for a, b in pairs) or "[]", pairs

    async def _ask(self, section: str, position: str, **values: str) -> str:
        """Call a model with the section's prompt. Raises where the plan's bound is exceeded."""
        self._asked += 1
        self.notes["calls"] = self._asked
        if self._asked > self._allowed:
            raise RlmEvalError(f"lambda_rlm: more than the planned {self._allowed} calls: a bug")
        text = fill(self._parts[section], question=self._sample.question, **values)
        slot = self._method.sub_model
        async with self._gate:
            call = await self._session.call(
                [Message("user", text)],
                role=Role.SUB,
                position=f"t0.{position}",
                model=slot,
                depth=1,
            )
        if section not in _NOT_READERS:
            self._calls.append(call)
        self.notes["cut_leaves"] += call.is_cut
        return call.reply.strip()


def _place(what: str, path: tuple[int, ...]) -> str:
    return ".".join([what, *map(str, path)])


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
