"""Classes that moved: old paths in run directories and YAML resolve, and code hashes stay."""

import importlib

import pytest

from rlm_eval.config.builder import locate
from rlm_eval.core import moved
from rlm_eval.core.code_hash import class_hash
from rlm_eval.core.code_hash.walk import Walk
from rlm_eval.core.errors import ConfigError

OLD = {
    "rlm_eval.models.http.OpenAIModel": "rlm_eval.models.http.model.OpenAIModel",
    "rlm_eval.models.vllm.VLLM": "rlm_eval.models.servers.vllm.VLLM",
    "rlm_eval.tasks.oolong_gen.OolongGen": "rlm_eval.tasks.oolong.gen.OolongGen",
    "rlm_eval.tasks.codeqa.CodeQA": "rlm_eval.tasks.codeqa.longbench.CodeQA",
    "rlm_eval.tasks.s_niah.SNiah": "rlm_eval.tasks.needle.s_niah.SNiah",
    "rlm_eval.cluster.Cluster": "rlm_eval.cluster.jobs.Cluster",
}


@pytest.mark.parametrize("old", OLD)
def test_an_old_class_path_resolves(old):
    cls = locate(old, "task")
    assert (
        f"{cls.__module__}.{cls.__qualname__}" == OLD[old] == moved.now(old) == moved.now(OLD[old])
    )
    assert moved.former(OLD[old]) == old == moved.former(old)


@pytest.mark.parametrize("old", OLD)
def test_code_has_one_hash_under_both_paths(old):
    assert class_hash(old) == class_hash(OLD[old]) is not None


def test_a_module_name_in_the_code_is_hashed_as_it_was_before_the_move():
    text = Walk("rlm_eval", "").text("rlm_eval.models.servers.llama_cpp", "LlamaCpp", "")
    assert "'rlm_eval.models.llama_cpp'" in text  # the program that it starts
    assert "rlm_eval.models.servers.llama_cpp" not in text


def test_every_module_that_moved_is_where_the_table_says():
    for name in moved.MOVED.values():
        importlib.import_module(f"rlm_eval.{name}")


def test_a_class_that_was_never_there_is_named_as_the_user_wrote_it():
    with pytest.raises(ConfigError, match=r"cannot import 'rlm_eval.tasks.nowhere.Task'"):
        locate("rlm_eval.tasks.nowhere.Task", "task")


@pytest.mark.parametrize(
    ("module", "today"),
    [
        ("rlm_eval.tasks.s_niah", "; today: rlm_eval.tasks.needle.s_niah"),
        ("rlm_eval.types", "; today: rlm_eval.core.types"),
        ("rlm_eval.tasks.nowhere", ""),
        ("rlm_eval", ""),
        ("their_own.types", ""),
        (None, ""),
    ],
)
def test_an_import_of_a_module_that_moved_says_where_it_is(module, today):
    assert moved.hint(module) == today
