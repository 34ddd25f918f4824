"""Meaning of every column of a report's tables (`tables/NAME.csv`), for the reference pages.

A `*` in a column's name is a placeholder for a name from the records: outcome, scorer, series.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_CELL = {
    "task": "Task, with its settings other than the defaults in brackets.",
    "length": "Nominal context length.",
    "method": "Series: the method, with its settings and models where they tell series apart.",
    "n": "Samples. Repeats of a sample count once.",
}
_PAIR = {
    "task": _CELL["task"],
    "length": _CELL["length"],
    "A": "First side of the comparison.",
    "B": "Second side of the comparison.",
    "pairs": "Samples with a score on both sides.",
    "A - B, pp": "Mean paired difference of the scores, in percentage points.",
    "95 % interval": "Interval of the difference, percentage points, clustered by context.",
    "given these contexts": "Interval with questions as units, conditional on these contexts.",
    "A better": "Pairs in which A scores higher.",
    "B better": "Pairs in which B scores higher.",
    "p": "P value of the paired test, before adjustment.",
    "p, Holm": "P value after Holm's adjustment over the table.",
    "cost A / B": "Ratio of total costs over the pairs; `unknown` without a price on both sides.",
    "verdict": "What may be concluded (docs/statistics.md).",
}

TABLES: dict[str, dict[str, str]] = {
    "leaderboard": {
        **_CELL,
        "attempted": "Samples attempted; each counts in every column of this table.",
        "score %": "Mean score in percent; a sample without an answer counts as 0.",
        "95 % interval": "Interval of that mean, percent.",
        "skimmer %": "Score of the best rule that reads at most 25 % of the text, without a model.",
        "no model %": "Score of the best rule that uses no model and no reading.",
        "tokens": "Mean tokens per sample, input and output, by this package's meter.",
        "calls": "Mean model calls per sample, by this package's meter.",
        "seconds": "Mean seconds per sample.",
        "failures": "Outcomes other than ok with their counts, and the engine's reason.",
        "forced": "Samples whose turns ran out and whose answer was demanded.",
        "failed calls": "Requests that failed while the engine went on.",
        "missed calls": "Calls that the engine's own account lacks; `unknown` without an account.",
        "missed tokens": "Tokens that the engine's own account lacks.",
        "at once": "Most requests of a sample in flight at once.",
        "first prompt": "Characters of the first request to the root model, mean.",
    },
    "score_by_length": {
        "task": _CELL["task"],
        "method": _CELL["method"],
        "*": "Score in percent at the length that the column names; ` low` and ` high` are the "
        "ends of its 95 % interval, ` n` its samples.",
    },
    "score_by_task": {
        "method": _CELL["method"],
        "*": "Score in percent on the task that the column names, at its longest length; ` low` "
        "and ` high` are the ends of its 95 % interval, ` n` its samples, ` USD` the mean cost.",
    },
    "model_pairs": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "settings": "Prompt and settings of the method, where its lines differ in them.",
        "root model": "Model of the root.",
        "*": "Score in percent with the sub-model that the column names; ` low`, ` high`, ` n` and "
        "` USD` as in `score_by_task`.",
    },
    "margins": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "method": _CELL["method"],
        "*: n": "Samples with a question of this type: `count` (how many lines have a label), "
        "`equal`, `close` and `clear` (comparison of two labels, by the gap of their counts), "
        "`label` (the most or least common), `other` (dates and users).",
        "*: contexts": "Contexts of those samples.",
        "*: score %": "Mean official score on this type, percent; empty = known as bounds only, or "
        "no such question.",
        "*: score low": "Lower end of its 95 % interval, or lower bound; empty below 8 contexts.",
        "*: score high": "Upper end of its 95 % interval, or upper bound; empty below 8 contexts.",
        "*: relative %": "Mean of 1 - error / true count, at least 0, percent; counts only.",
        "*: relative low": "Lower end of its 95 % interval, or lower bound.",
        "*: relative high": "Upper end of its 95 % interval, or upper bound.",
    },
    "paper_table": {
        "models": "Set of models of the suite.",
        "method": _CELL["method"],
        "*": "Published score (`paper`) and cost (`paper USD`) of a task, and ours (`ours`, its "
        "interval `ours low` and `ours high`, `ours n` samples, `USD`).",
    },
    "outcomes": {
        **_CELL,
        "repeats": "Repeats of each sample (`epochs`); a range where samples differ.",
        "scored": "Samples with a score.",
        "*": "Samples, repeats counted, that ended with this outcome.",
        "calls cut at output cap": "Model calls that stopped at their output cap.",
        "failed calls": "Model calls that failed after all retries.",
        "re-rolled": "Times that a sample was redone after an earlier finished attempt.",
        "calls with a cut prompt": "Calls whose prompt the server cut without an error.",
    },
    "accuracy": {
        **_CELL,
        "clusters": "Contexts: samples that share one are not independent.",
        "score %": "Mean score in percent, or the two bounds where it is known only as bounds.",
        "95 % interval": "Interval of the mean score, percent; `bounds` where there is none.",
        "how": "Name of the interval, or why the score is given as bounds.",
        "skimmer %": "Score of the best rule that reads at most 25 % of the text, without a model.",
        "no model %": "Score of the best rule that uses no model and no reading.",
        "bag of words %": "Score of a word classifier trained on other seeds.",
        "text needed %": "Share of the text that the best skimmer of the same score reads.",
        "given these contexts": _PAIR["given these contexts"],
        "pass@K %": "Samples with at least one right answer in K repeats, percent.",
        "pass^K %": "Samples with K right answers in K repeats, percent.",
        "* %": "Mean score under this scorer, percent, or the two bounds where the headline's "
        "rules allow no number.",
        "* %, n": "Samples to which this scorer applies, where it does not apply to all.",
    },
    "cost": {
        **_CELL,
        "USD mean": "Mean cost per sample at list price, every input token at full rate, with its "
        "95 % interval.",
        "median": "Median cost per sample with its 95 % interval, US dollars.",
        "p25 to p75": "Quartiles of the cost per sample, US dollars.",
        "p95": "95th percentile of the cost per sample, US dollars; needs n >= 72.",
        "max": "Largest cost of a sample, US dollars.",
        "total": "Cost of all samples, US dollars.",
        "mean, cache hits seen": "Mean cost per sample with the provider's cache hits, US dollars.",
        "tokens in": "Mean prompt tokens per sample, cached ones included.",
        "of them cached": "Mean prompt tokens per sample that the provider read from its cache.",
        "tokens out": "Mean completion tokens per sample, reasoning included.",
        "in, root": "Mean prompt tokens of root calls per sample.",
        "in, sub": "Mean prompt tokens of sub-calls and child trajectories per sample.",
        "GPU s": "Mean GPU-seconds per sample on servers that the harness started.",
        "core s": "Mean core-seconds per sample on servers that the harness started.",
        "GPU h, cell": "GPU-hours of the cell, idle time left out.",
        "GPU h/correct": "GPU-hours per point of score, idle time left out.",
    },
    "latency": {
        **_CELL,
        "timed": "Samples with a latency; resumed samples have none.",
        "in flight": "Samples in flight during the run.",
        "wall s, *": "Seconds from start to end of a sample at that many samples in flight: "
        "median with its 95 % interval, quartiles, 95th percentile, largest.",
        "critical path s, *": "Seconds of the longest chain of calls and code, queueing left out: "
        "median with its 95 % interval, quartiles, 95th percentile, largest.",
        "calls' own s": "Mean sum of the calls' seconds from sending to the end, per sample.",
        "queued s": "Mean sum of the calls' seconds before they were sent, per sample.",
        "first token s": "Mean seconds to a call's first token, where replies were streamed.",
        "s per token": "Mean seconds per later token of a call, where replies were streamed.",
        "*, n": "Samples behind the mean on its left, where some lack the value.",
    },
    "behaviour": {
        **_CELL,
        "calls": "Mean model calls per sample, judges left out.",
        "turns": "Mean turns of the root per sample.",
        "sub-calls": "Mean plain sub-calls per sample.",
        "with a sub-call": "Samples, repeats counted, with at least one sub-call, and of how many.",
        "coverage %": "Mean share of the context that some model call was shown, percent.",
        "re-read": "Mean number of times that a shown character was sent.",
        "evidence seen %": "Mean share of the evidence spans that models saw, percent.",
        "error blocks": "Mean code blocks per sample that raised or hit a block limit.",
        "prompt": "Name of the method's prompt; `none` where it has none.",
        "isolation": "Sandbox of the REPL; `no code run` where the method runs none.",
        "*, n": "Samples behind the mean on its left, where some lack the value.",
    },
    "comparisons": _PAIR,
    "planned": _PAIR,
    "added": _PAIR,
    "baselines": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "n": "Samples on which the rules were computed (at most 100, docs/report.md).",
        "prior %": "Score of the best constant answer, or of chance, percent.",
        "skimmer %": "Score of the best skimmer, percent.",
        "skimmer: rule": "The skimmer's rule.",
        "reads": "Share of the text that the skimmer reads.",
        "skimmer of * % at most": "Score of the best skimmer that reads at most this share.",
        "no model %": "Score of the best rule without a model, percent.",
        "no model: rule": "That rule.",
        "bag of words %": "Score of a word classifier trained on other seeds, percent.",
        "bag of words: rule": "That classifier.",
        "solved by code": "`by design` where a search or a program solves the task.",
    },
    "failures": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "method": _CELL["method"],
        "not right": "Answers that scored less than 1.",
        "*": "Of those, answers of this kind of failure (docs/report.md).",
    },
    "budgets": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "root": "Root model, where the run has several.",
        "budget": "Methods for which the budget is just enough.",
        "per sample": "The budget of a sample, in `unit`.",
        "unit": "`USD`, or `tokens` where a price is unknown.",
        "*": "Score of this series within the budget, percent, with its 95 % interval or as "
        "bounds.",
    },
    "right_and_wrong": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "method": _CELL["method"],
        "right": "Trajectories with a score of 0.5 or more.",
        "wrong": "Trajectories with a score below 0.5.",
        "sub-calls, *": "Mean sub-calls of those trajectories.",
        "coverage %, *": "Mean coverage of those trajectories, percent.",
        "syntax error %, *": "Those trajectories with a block that was no Python, percent.",
    },
    "prompts": {
        "task": _CELL["task"],
        "length": "Nominal context length; `all` = all places together.",
        "method": _CELL["method"],
        "prompts": "Prompts that were run.",
        "n": "Samples with a score under every prompt.",
        "clusters": "Contexts of those samples.",
        "mean %": "Mean score over the prompts, percent.",
        "worst %": "Mean score of the worst prompt, percent.",
        "worst prompt": "Name of the worst prompt.",
        "best %": "Mean score of the best prompt, percent.",
        "best prompt": "Name of the best prompt.",
        "range, pp": "Best minus worst, percentage points.",
        "by chance, pp": "Range to be expected if the wording did not matter.",
        "p": "P value of the range, from exchanges of the prompts within each cluster.",
        "p, Holm": "P value after Holm's adjustment over the table.",
        "verdict": "What may be concluded.",
    },
    "published": {
        "task": _CELL["task"],
        "length": _CELL["length"],
        "method": "Method.",
        "models": "Models.",
        "metric": "What was measured.",
        "published": "The published number, percent; `~` = read off a figure.",
        "its n": "Its number of samples, where the source states it.",
        "ours, %": "Our mean score, percent.",
        "95 % interval": "Interval of our mean score, percent.",
        "our n": "Our number of samples.",
        "verdict": "`lower`, `higher`, `compatible`, `n too small to tell` or why there is none "
        "(docs/suites.md).",
        "source": "Where the number was published.",
    },
}
"""Table -> column -> meaning, in the order of the columns."""

_SPREAD = {
    "cost": "List price per sample, every input token at full rate, US dollars",
    "observed": "List price per sample with the cache hits seen, US dollars",
    "tokens": "Prompt and completion tokens per sample",
    "wall": "Seconds from start to end of a sample",
    "path": "Seconds of a sample's longest chain of calls and code",
}

TABLES["cells"] = {
    "task": "Task.",
    "task_variant": "Task settings other than the defaults; empty = none.",
    "length": "Nominal context length, tokens.",
    "method": "Method.",
    "variant": "Method settings other than the defaults; empty = none.",
    "root": "Root model.",
    "sub": "Sub-model; empty where the method has none.",
    "prompt": "Name of the method's prompt.",
    "series": "Label of the line in tables and figures.",
    "task_label": "Task with its settings, as in the other tables.",
    "n": _CELL["n"],
    "repeats": "Repeats of each sample; the most where samples differ.",
    "repeats_least": "The least repeats of a sample, where samples differ.",
    "n_scored": "Samples with a score.",
    "clusters": "Contexts of the scored samples.",
    "outcomes": "Count of each outcome, repeats counted.",
    "missing": "Samples that lack the score of a repeat, or of all.",
    "cut_share": "Share of samples that a cap or a limit cut off, or may have cut off.",
    "overflow_share": "Share of rows with the outcome `context_overflow`.",
    "refused": "Rows whose prompt was refused before anything was read: no cost, no latency.",
    "as_bounds": "True where the score is known only as bounds.",
    "accuracy": "Mean score of the scored samples, 0 to 1.",
    "low": "Lower end of its 95 % interval.",
    "high": "Upper end of its 95 % interval.",
    "given_low": "Lower end of the interval with questions as units; empty = not shown.",
    "given_high": "Upper end of that interval.",
    "interval": "Name of the interval.",
    "bound_low": "Mean score with cut samples and missing repeats counted wrong.",
    "bound_high": "Mean score with cut samples and missing repeats counted right.",
    "n_priced": "Samples with a known price.",
    "n_counted": "Samples with a known number of tokens.",
    "n_timed": "Samples with a latency.",
    "recursion": "Rows with at least one sub-call or child trajectory; empty = unknown.",
    "imported": "True where a row was imported from a foreign log.",
    "rows": "Rows of the records: samples times repeats.",
    "window": "Context window of the root model, tokens.",
    "concurrency": "Samples in flight.",
    "scripted": "True where replies came from a script.",
    "generated": "True where the harness generated the data.",
    "protected": "True where the task's text must not leave the run directory.",
    "isolation": "Sandbox of the REPL.",
    "prices": "Price table and its date.",
    "gpu_priced": "True where GPU time at a given price stands in for a list price.",
    "pass_at": "Share of samples with at least one right answer in K repeats; empty = no repeats, "
    "not equally many of every sample, or some have no score.",
    "pass_hat": "Share of samples with K right answers in K repeats; empty = as `pass_at`.",
    "base_prior": "Score of the best constant answer, or of chance; empty = not computed.",
    "base_no_model": "Score of the best rule without a model.",
    "base_skimmer": "Score of the best skimmer of at most 25 % of the text.",
    "base_bag_of_words": "Score of a word classifier trained on other seeds.",
    "base_read": "Share of the text that the skimmer reads.",
    "base_by_code": "True where a search or a program solves the task by design.",
    "base_n": "Samples on which the baselines were computed.",
    "base_at_*_read": "Share of the text that that skimmer reads.",
    "base_at_*": "Score of the best skimmer of at most this percentage of the text.",
    "base_*_rule": "Name of the rule behind that baseline.",
    "base_*_difference": "Method minus baseline on the samples that both have.",
    "base_*_low": "Lower end of the 95 % interval of that difference.",
    "base_*_high": "Upper end of the 95 % interval of that difference.",
    **{
        f"{name}_*": f"{text}: `mean`, `median` (each with `_low` and `_high`, the ends of its "
        "95 % interval), `p5`, `p25`, `p75`, `p90`, `p95`, `max`, `total`; empty = unknown."
        for name, text in _SPREAD.items()
    },
    "mean_*_n": "Samples behind that mean, where some lack the value.",
    "mean_*": "Mean over the samples (repeats averaged first) of the column of the records with "
    "this name (`root_tokens` and `sub_tokens`: prompt tokens; `calls`, `sub_calls`, "
    "`error_steps`: `n_...`; `service`, `queue`, `first_token`, `token`: `..._seconds`). "
    "Tokens, GPU- and core-seconds: empty where a row lacks them.",
    "score_*": "Mean score under this scorer, computed as `accuracy`; empty = bounds or none.",
    "bound_low_*": "Lower bound of the score under this scorer, where it has no single number.",
    "bound_high_*": "Upper bound of the score under this scorer.",
    "n_*": "Samples to which this scorer applies, where it does not apply to all.",
    "truncated_calls": "Model calls that stopped at their output cap.",
    "failed_calls": "Model calls that failed after all retries.",
    "server_cut_calls": "Calls whose prompt the server cut without an error.",
    "re_rolls": "Times that a sample was redone.",
    "diverged": "Stored replies that a resumed sample did not ask for again.",
    "replayed_calls": "Calls taken from the journal after an interruption.",
    "lost_attempts": "Attempts whose reply never arrived.",
    "gpu_hours": "GPU-hours of the cell on servers that the harness started, idle time left out.",
    "gpu_hours_per_correct": "GPU-hours per point of score.",
}


def described(table: str) -> str:
    """Name under which `TABLES` describes a table: pivots have a table per set of lengths."""
    pivot = "score_by_length"
    return pivot if table.startswith(f"{pivot}_") else table


def meaning(table: str, column: str) -> str | None:
    """Return the meaning of a column of `tables/TABLE.csv`; `None` if it has none.

    A name without `*` is preferred, then the first matching pattern.
    """
    columns = TABLES.get(described(table), {})
    if column in columns:
        return columns[column]
    patterns = (name for name in columns if "*" in name and name != "*")
    fit = next((name for name in patterns if fnmatchcase(column, name)), "*")
    return columns.get(fit)
