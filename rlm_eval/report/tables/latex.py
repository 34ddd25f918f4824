"""A table in LaTeX: booktabs, numbers in siunitx columns, the note as its caption.

Needs `booktabs`, `siunitx` (version 2 or 3), `graphicx` and T1 fonts. A cell `62.5 ± 15.0` becomes
two columns, so that the decimal points align; adjacent columns named `GROUP: part` share a heading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlm_eval.report.tables.table import LETTERS, Table

_TEX = str.maketrans(
    {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
     "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
     "→": r"$\rightarrow$", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "≥": r"$\geq$",
     "≤": r"$\leq$", "×": r"$\times$", "·": r"$\cdot$", "–": "--", "…": r"\dots{}",
     "−": "$-$", "λ": r"$\lambda$", "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " "}
    | {mark: rf"\textsuperscript{{{letter}}}"
       for mark, letter in zip(LETTERS, "abcdefghjklmoprstu", strict=True)}
)  # fmt: skip
_NUMBER = re.compile(rf"([-+]?)(\d[\d,]*)(?:\.(\d+))?([*{LETTERS}]*)")
_PAIR = re.compile(rf"(\S+) ± ([\d.,]+)([*{LETTERS}]*)")
_NAME = re.compile(r"`([^`]+)`")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069]")
"""Characters without a shape: TeX stops at some, and direction marks reorder the rest."""
_UNKNOWN_TO_PDFLATEX = re.compile(r"[^\x00-\u017f]")
_WIDE, _TOO_WIDE = 6, 9
"""Column counts above which a table spans both page columns, and above which it is scaled."""


def latex(table: Table) -> str:
    """Return a LaTeX float: `table`, or `table*` for a wide table."""
    columns = [_Column.of(str(name), table.rows.iloc[:, i]) for i, name in enumerate(table.rows)]
    heads = [line for line in (_groups(columns), _heads(columns)) if line]
    rows = [
        " & ".join(column.cell(value) for column, value in zip(columns, line, strict=True))
        for line in table.rows.astype(str).to_numpy().tolist()
    ]
    tabular = [
        rf"\begin{{tabular}}{{{''.join(column.kind for column in columns)}}}", r"\toprule",
        *heads, r"\midrule", *(f"{_guarded(row)} \\\\" for row in rows), r"\bottomrule",
        r"\end{tabular}",
    ]  # fmt: skip
    taken = sum(column.span for column in columns)
    if taken > _TOO_WIDE:
        tabular = [r"\resizebox{\linewidth}{!}{%", *tabular, "}"]
    float_ = "table*" if taken > _WIDE else "table"
    told = _text(_caption(table))
    others = _UNKNOWN_TO_PDFLATEX.search("".join([told, *heads, *rows]))
    lines = [
        *([_ENGINE] if others else ()),
        r"% \usepackage[T1]{fontenc} \usepackage{booktabs,siunitx,graphicx}",
        rf"\begin{{{float_}}}", r"\centering", rf"\caption{{{told}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}", r"\small", *tabular,
        rf"\end{{{float_}}}", "",
    ]  # fmt: skip
    return "\n".join(lines)


_ENGINE = (
    "% Has characters that pdflatex cannot set: use xelatex or lualatex, with a font for them."
)


def _guarded(row: str) -> str:
    """Protect a row that begins with `[` or `*`, which the end of the row above would take."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _caption(table: Table) -> str:
    return f"{table.title}. {table.note}" if table.note else table.title


def _text(value: str) -> str:
    """Escape for LaTeX; a name in backticks is set in typewriter."""
    value = _CONTROL.sub("", value).replace(">=", "≥").replace("<=", "≤")
    return _NAME.sub(r"\\texttt{\1}", value.translate(_TEX))


@dataclass(frozen=True)
class _Column:
    """A column of the table: text, numbers, or numbers with a half-width."""

    name: str
    kind: str
    """Column specification in the preamble of `tabular`."""
    paired: bool
    numbers: bool

    @classmethod
    def of(cls, name: str, values: object) -> _Column:
        cells = [str(value) for value in values]  # type: ignore[attr-defined]
        if pairs := [found for cell in cells if (found := _PAIR.fullmatch(cell))]:
            left, right = ([pair[i] for pair in pairs] for i in (1, 2))
            ends = [found[3] for found in pairs]
            kind = f"{_format(left)}@{{\\,$\\pm$\\,}}{_format(right, ends)}"
            return cls(name, kind, True, True)
        numbers = [number for cell in cells if (number := _NUMBER.fullmatch(cell))]
        if numbers and 2 * len(numbers) >= len(cells):
            return cls(name, _format([number[0] for number in numbers]), False, True)
        return cls(name, "l", False, False)

    @property
    def head(self) -> str:
        """The column name without its group heading."""
        return self.name.partition(": ")[2] or self.name

    @property
    def span(self) -> int:
        """Number of `tabular` columns."""
        return 2 if self.paired else 1

    def cell(self, value: str) -> str:
        """Return one cell as LaTeX."""
        if self.paired:
            if found := _PAIR.fullmatch(value):
                return f"{_plain(found[1])} & {_plain(found[2])}{_marks(found[3])}"
            return rf"\multicolumn{{2}}{{c}}{{{_text(value)}}}"
        if not self.numbers:
            return _text(value)
        found = _NUMBER.fullmatch(value)
        if found is None:
            return f"{{{_text(value)}}}" if value else "{}"
        return f"{_plain(value[: found.start(4)])}{_marks(found[4])}"


def _format(numbers: list[str], ends: list[str] | None = None) -> str:
    """Return an `S` column wide enough for all numbers and the marks after them."""
    found = [match for text in numbers if (match := _NUMBER.fullmatch(text))]
    whole = max((len(match[2].replace(",", "")) for match in found), default=1)
    part = max((len(match[3] or "") for match in found), default=0)
    sign = "-" if any(match[1] for match in found) else ""
    marks = max((len(match[4]) for match in found), default=0)
    marks = max([marks, *map(len, ends or [])])
    post = f",table-space-text-post={{{_marks('*' * marks)[1:-1]}}}" if marks else ""
    return f"S[table-format={sign}{whole}.{part}{post}]"


def _plain(number: str) -> str:
    """Format a number for siunitx, in which a comma is a decimal point."""
    return number.replace(",", "")


def _marks(marks: str) -> str:
    return "{" + "".join(_text(m) if m != "*" else "$^{*}$" for m in marks) + "}" if marks else ""


def _heads(columns: list[_Column]) -> str:
    shared = {c.name for own in _grouped(columns) if len(own) > 1 for c in own}
    told = []
    for column in columns:
        words = _text(column.head if column.name in shared else column.name)
        told.append(
            rf"\multicolumn{{2}}{{c}}{{{words}}}"
            if column.paired
            else f"{{{words}}}"
            if column.numbers
            else words
        )
    return " & ".join(told) + r" \\"


def _groups(columns: list[_Column]) -> str:
    """Return a line of group headings; empty without groups."""
    groups = _grouped(columns)
    if all(len(own) == 1 for own in groups):
        return ""
    cells, rules, at = [], [], 1
    for own in groups:
        width = sum(column.span for column in own)
        if len(own) == 1:
            cells += [""] * width
        else:
            words = _text(own[0].name.partition(": ")[0])
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{words}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return " & ".join(cells) + r" \\" + "\n" + " ".join(rules)


def _grouped(columns: list[_Column]) -> list[list[_Column]]:
    """Group adjacent columns by the part of their name before `: `."""
    found: list[list[_Column]] = []
    for column in columns:
        head, _, rest = column.name.partition(": ")
        before = found[-1][0].name.partition(": ") if found else ("", "", "")
        if rest and before[2] and before[0] == head:
            found[-1].append(column)
        else:
            found.append([column])
    return found
