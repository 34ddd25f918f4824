"""The columns of a run's records: name, type and meaning of each."""

from __future__ import annotations

from collections.abc import Callable

from rlm_eval.core.types import Call

CallCost = Callable[[Call], tuple[float | None, float | None]]
"""US dollars of one call, including its failed attempts: (every input token at full rate, with
cache hits); `None` = no price known."""

COUNTERFACTUAL = "counterfactual: "
"""Prefix of a counterfactual's `variant`: its rows are never pooled with the original's."""

COLUMNS: dict[str, tuple[str, str]] = {
    # -- identity
    "schema": ("int", "Version of this table's layout."),
    "run": ("str", "Name of the run directory."),
    "cell_id": ("str", "Hash of the resolved configuration of the cell, run-time knobs left out."),
    "sample_id": ("str", "Hash of what determines the sample."),
    "item": ("str", "Underlying item: equal across lengths where only the filler grows."),
    "cluster": ("str", "Samples with the same value share a context (standard errors)."),
    "epoch": ("int", "Repeat number, from 0."),
    "index": ("int", "Number of the sample within its cell, from 0."),
    "seed": ("int", "Seed of the cell."),
    "imported": ("str", "Kind of foreign log that the row was imported from; null = run here."),
    "source_sha256": ("str", "SHA-256 of the file that held the imported row; null = run here."),
    "source_row": ("str", "Where in that file it stood; null = run here."),
    # -- the task and sample
    "task": ("str", "Task."),
    "task_variant": ("str", "Task settings other than the defaults; null = none."),
    "density": ("str", "How much must be processed as the context grows."),
    "generated": ("bool", "True where the data come from the harness's own generator."),
    "protected": ("bool", "True where the task's text must not leave the run directory."),
    "length": ("int", "Nominal context length in tokens: the key of the cell."),
    "tokens": ("int", "Tokens of the context under `tokenizer`."),
    "tokenizer": ("str", "Tokenizer that measured the context."),
    "chars": ("int", "Characters of the context."),
    # -- the method and models
    "method": ("str", "Method."),
    "root": ("str", "Root model as configured."),
    "sub": ("str", "Sub-model as configured; null where the method has none."),
    "judge": ("str", "Judge as configured; null = the task needs none."),
    "variant": ("str", "Method settings other than the defaults; null = none."),
    "depth_limit": ("int", "Configured recursion depth; null where the method has none."),
    "prompt": ("str", "Name of the method's prompt."),
    "prompt_hash": ("str", "Hash of the method's prompt."),
    "isolation": ("str", "Sandbox in force; null where the method runs no code."),
    "scripted": ("bool", "True where the replies come from a script, not from a model."),
    "root_window": ("int", "Context window of the root model, tokens."),
    "concurrency": ("int", "Samples in flight during the run."),
    "temperature": ("float", "Temperature set for the root model; null = its default."),
    "remark": ("str", "What every figure with this row must say of its method and models."),
    # -- the outcome
    "outcome": ("str", "Typed outcome (`core.types.Outcome`)."),
    "score": ("float", "Headline score in [0, 1]; null = not scored."),
    "scorer": ("str", "Scorer of the headline score."),
    "answer_chars": ("int", "Characters of the answer."),
    "provenance": ("str", "Where the answer came from."),
    "first_reply_hash": ("str", "Hash of the root's first reply: equal repeats."),
    "first_reply_chars": ("int", "Characters of the root's first reply."),
    "question_hash": ("str", "Hash of the question's words and the gold: equal samples."),
    "failure": ("str", "Where a wrong answer went wrong (`records.coverage.FAILURES`)."),
    # -- calls
    "n_calls": ("int", "Model calls at every depth, judges left out."),
    "n_root_calls": ("int", "Calls of the root model by the root trajectory."),
    "n_sub_calls": ("int", "Plain sub-calls."),
    "n_child_calls": ("int", "Root calls of child trajectories (recursion)."),
    "n_other_calls": ("int", "Summary, embedding and re-ranking calls."),
    "n_judge_calls": ("int", "Judge calls."),
    "used_recursion": ("bool", "True where at least one sub-call or child trajectory was made."),
    "max_depth": ("int", "Deepest call; 0 = the root only."),
    "turns": ("int", "Turns of the root trajectory."),
    "first_sub_turn": ("int", "Root turn of the first sub-call; null where there is none."),
    "max_fanout": ("int", "Most sub-calls under one root call."),
    "n_truncated_calls": ("int", "Calls that stopped at their output cap."),
    "n_runaway_calls": ("int", "Replies that echo the prompt or repeat themselves up to the cap."),
    "n_unknown_ends": ("int", "Calls whose finish reason is missing or not known: cut or not."),
    "n_replies": ("int", "Replies, those of judges and embedders left out."),
    "n_textless_replies": ("int", "Of these: without text, only reasoning or tool calls."),
    "unknown_ends": ("str", "Those finish reasons, comma-separated (`none` = missing)."),
    "served_models": ("str", "Names of models in the replies, by slot; null = none was named."),
    "requested_models": ("str", "Names of models in the requests, by slot; null = unknown."),
    "n_failed_calls": ("int", "Calls that failed for good."),
    "n_server_cut_calls": ("int", "Calls whose prompt the server cut without an error."),
    "n_retried_calls": ("int", "Calls that needed more than one request."),
    "n_lost_attempts": ("int", "Attempts whose reply never arrived: they may have been billed."),
    "n_replayed_calls": ("int", "Calls taken from the journal after an interruption."),
    "diverged_calls": ("int", "Stored replies that a resumed sample did not ask for again."),
    "re_rolls": ("int", "Times the sample was redone after an error."),
    # -- tokens, judges excluded
    "input_tokens": ("int", "Prompt tokens, cached ones included."),
    "cached_tokens": ("int", "Prompt tokens that the provider read from its cache."),
    "output_tokens": ("int", "Completion tokens, reasoning included."),
    "reasoning_tokens": ("int", "Completion tokens spent on reasoning."),
    "root_input_tokens": ("int", "Prompt tokens of root calls."),
    "root_output_tokens": ("int", "Completion tokens of root calls."),
    "sub_input_tokens": ("int", "Prompt tokens of sub-calls and child trajectories."),
    "sub_output_tokens": ("int", "Completion tokens of sub-calls and child trajectories."),
    "judge_input_tokens": ("int", "Prompt tokens of judges."),
    "judge_output_tokens": ("int", "Completion tokens of judges."),
    "peak_prompt_tokens": ("int", "Largest prompt of a single call."),
    "lost_tokens_estimated": (
        "int",
        "Tokens of attempts that reported none, judges too: an estimate, in no other column.",
    ),
    # -- money and time
    "cost_cold": ("float", "USD at list price, every input token at full rate; null = unknown."),
    "cost_observed": ("float", "USD at list price with the cache hits seen; null = unknown."),
    "cost_with_gpu": (
        "float",
        "USD: GPU seconds of our own servers at `gpu_hour_usd`, other calls cold; null = unknown.",
    ),
    "failed_cost": ("float", "USD of failed attempts, cold, which the costs above contain."),
    "judge_cost": ("float", "USD of the judges, cold; null = unknown."),
    "lost_cost_estimated": (
        "float",
        "USD of `lost_tokens_estimated`, in no other column; null = unknown.",
    ),
    "prices": ("str", "Price table and its date."),
    "core_seconds": (
        "float",
        "Share of the cores of servers that the harness started, judges too; null = none.",
    ),
    "gpu_seconds": (
        "float",
        "Share of the GPUs of servers that the harness started, judges too; null = none.",
    ),
    "wall_seconds": ("float", "Start to end at the run's concurrency."),
    "critical_path_seconds": ("float", "Longest chain of calls and code: an unloaded wait."),
    "service_seconds": ("float", "Sum of the calls' own seconds: from sending (last) to the end."),
    "queue_seconds": ("float", "Sum of the calls' waits in our queues, for retries, to be sent."),
    "first_token_seconds": ("float", "Mean wait for a call's first token; null = not streamed."),
    "token_seconds": ("float", "Mean seconds per later token of a call; null = not streamed."),
    # -- code and reading
    "n_steps": ("int", "Executed code blocks."),
    "n_error_steps": ("int", "Blocks that raised or hit a block limit."),
    "step_cpu_seconds": ("float", "Processor seconds of the blocks."),
    "coverage": ("float", "Share of the context that some model call was shown; null = unknown."),
    "reread": ("float", "Times each shown character was sent to a model."),
    "evidence_seen": ("float", "Share of the evidence spans that models saw; null = no spans."),
}
"""Name -> (type, meaning). Further columns: `score_<scorer>`, `note_<name>`, `meta_<name>`; and, if
code ran or sub-calls were made, `habit_<name>` (`records.call_patterns.METRICS`) and
`depth<d>_calls`, `depth<d>_input_tokens`, `depth<d>_output_tokens` (judges excluded)."""
