"""WHAT is asked. A `Task` provides samples and scores answers; it never calls a model.

Its contract is in `rlm_eval.protocols`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_eval.core.lazy import lazy
from rlm_eval.protocols import Floor as Floor
from rlm_eval.protocols import JudgedTask as JudgedTask
from rlm_eval.protocols import Task as Task

if TYPE_CHECKING:
    from rlm_eval.tasks.browsecomp.gen import BrowseCompGen as BrowseCompGen
    from rlm_eval.tasks.browsecomp.plus import BrowseCompPlus as BrowseCompPlus
    from rlm_eval.tasks.codeqa.changes import CodeQAChanges as CodeQAChanges
    from rlm_eval.tasks.codeqa.gen import CodeQAGen as CodeQAGen
    from rlm_eval.tasks.codeqa.longbench import CodeQA as CodeQA
    from rlm_eval.tasks.codeqa.sets import CodeQASets as CodeQASets
    from rlm_eval.tasks.contract_clauses import ContractClauses as ContractClauses
    from rlm_eval.tasks.custom import Custom as Custom
    from rlm_eval.tasks.files import Files as Files
    from rlm_eval.tasks.graphwalks_gen import GraphWalksGen as GraphWalksGen
    from rlm_eval.tasks.ledger import Ledger as Ledger
    from rlm_eval.tasks.mrcr import MrcrOpenai as MrcrOpenai
    from rlm_eval.tasks.mrcr import MrcrV2 as MrcrV2
    from rlm_eval.tasks.mrcr import MrcrV2Gen as MrcrV2Gen
    from rlm_eval.tasks.needle.paraphrase import Paraphrase as Paraphrase
    from rlm_eval.tasks.needle.ruler import CloseWords as CloseWords
    from rlm_eval.tasks.needle.ruler import FrequentWords as FrequentWords
    from rlm_eval.tasks.needle.ruler import VariableTracking as VariableTracking
    from rlm_eval.tasks.needle.ruler_cwe import CommonWords as CommonWords
    from rlm_eval.tasks.needle.ruler_qa import RulerQA as RulerQA
    from rlm_eval.tasks.needle.s_niah import SNiah as SNiah
    from rlm_eval.tasks.oolong.gen import OolongGen as OolongGen
    from rlm_eval.tasks.oolong.pairs import OolongPairs as OolongPairs
    from rlm_eval.tasks.oolong.pairs import OolongPairsGen as OolongPairsGen
    from rlm_eval.tasks.oolong.real import OolongReal as OolongReal
    from rlm_eval.tasks.oolong.rows import OolongRows as OolongRows
    from rlm_eval.tasks.oolong.synth import OolongSynth as OolongSynth
    from rlm_eval.tasks.server_log import ServerLogIncident as ServerLogIncident


CLUSTERS = 20
"""Contexts in a cell without an explicit n: enough to detect a large difference."""


def per_cluster(task: Task) -> int:
    """Samples that share a context: the task's `per_cluster`, 1 where it has none."""
    found: int = getattr(task, "per_cluster", 1)
    return found


def most_clusters(task: Task) -> int | None:
    """Contexts available at a length (`most_clusters`); `None` = unlimited."""
    found: int | None = getattr(task, "most_clusters", None)
    return found


def has_own_length(task: Task) -> bool:
    """True where the user's texts keep their own length (`own_length`) for any `length=`."""
    return bool(getattr(task, "own_length", False))


def single_question(task: Task) -> str | None:
    """The setting that, at 1, gives every sample its own context; `None` = there is none."""
    found: str | None = getattr(task, "CLUSTER_FIELD", None)
    return found and f"task.{found}"


def default_n(task: Task) -> int:
    """Samples of a cell without an explicit n: `CLUSTERS` contexts, or all that the data have."""
    most = most_clusters(task)
    return per_cluster(task) * (CLUSTERS if most is None else min(CLUSTERS, most))


_CLASSES = {
    "BrowseCompGen": "browsecomp.gen",
    "BrowseCompPlus": "browsecomp.plus",
    "CloseWords": "needle.ruler",
    "CodeQA": "codeqa.longbench",
    "CodeQAChanges": "codeqa.changes",
    "CodeQAGen": "codeqa.gen",
    "CodeQASets": "codeqa.sets",
    "CommonWords": "needle.ruler_cwe",
    "ContractClauses": "contract_clauses",
    "Custom": "custom",
    "Files": "files",
    "FrequentWords": "needle.ruler",
    "GraphWalksGen": "graphwalks_gen",
    "Ledger": "ledger",
    "MrcrOpenai": "mrcr",
    "MrcrV2": "mrcr",
    "MrcrV2Gen": "mrcr",
    "OolongGen": "oolong.gen",
    "OolongPairs": "oolong.pairs",
    "OolongPairsGen": "oolong.pairs",
    "OolongReal": "oolong.real",
    "OolongRows": "oolong.rows",
    "OolongSynth": "oolong.synth",
    "Paraphrase": "needle.paraphrase",
    "RulerQA": "needle.ruler_qa",
    "SNiah": "needle.s_niah",
    "ServerLogIncident": "server_log",
    "VariableTracking": "needle.ruler",
}
"""The shipped tasks: class -> module, imported on first use."""

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _CLASSES, globals())
