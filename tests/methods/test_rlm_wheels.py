"""Prompts out of a wheel: read as data, by exact hash, or one error that names the ways out."""

import hashlib
import zipfile

import pytest

from rlm_eval.config.identity import identity
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.methods.rlm import RLM, official_prompts
from rlm_eval.methods.rlm.official import Official011, OfficialLatest, PaperV1
from rlm_eval.methods.rlm.protocol import PromptVars

VIEW = PromptVars("Why?", "str", (10,), depth=0, max_depth=1, max_turns=5)
PROMPTS = '''
raise SystemExit("must never run")
import textwrap
RLM_SYSTEM_PROMPT = textwrap.dedent(
    """Line one {{{{x}}}}.
{custom_tools_section}End."""
)
ORCHESTRATOR_ADDENDUM = "\\n\\n".join(["First.", ("Sec" "ond.")])
USER_PROMPT = "Turn {iter_1}/{max_iter}:"
USER_PROMPT_WITH_ROOT = """Do "{root_prompt}"."""

def build_rlm_system_prompt(query_metadata):
    metadata_prompt = f"A {query_metadata.context_type} of {total}."
    metadata_body = f"It is a {query_metadata.context_type}."

def build_user_prompt():
    safeguard = "Careful.\\n\\n"
'''
CORE = '''
class RLM:
    def _default_answer(self, history):
        """Not this."""
        return history + [{"role": "assistant", "content": "Say it."}]
'''


@pytest.fixture
def own_wheels(tmp_path, monkeypatch):
    """A cache with small wheels of our own, pinned in place of the real ones."""
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    (tmp_path / "wheels").mkdir()
    for version in official_prompts.SHA256:
        path = tmp_path / "wheels" / f"rlms-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(official_prompts.PROMPTS, PROMPTS)
            archive.writestr(official_prompts.CORE, CORE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(official_prompts.SHA256, version, digest)
    official_prompts._module.cache_clear()
    yield tmp_path
    official_prompts._module.cache_clear()


def contents(messages):
    return [(m.role, m.content) for m in messages]


def test_texts_are_read_without_running_anything(own_wheels):
    assert contents(OfficialLatest().opening(VIEW)) == [
        ("system", "Line one {{x}}.\nEnd.\n\nFirst.\n\nSecond."),
        ("user", "Answer the following: Why?\n\nIt is a str."),
    ]
    assert OfficialLatest().turn_prompt(VIEW, 0).content == "Careful.\n\nTurn 1/5:"
    assert OfficialLatest().turn_prompt(VIEW, 1).content == "Turn 2/5:"
    assert OfficialLatest(orchestrator=False).opening(VIEW)[0].content.endswith("End.")
    assert PaperV1().opening(VIEW)[0].content.startswith("Line one {{{{x}}}}.\n{custom")
    assert PaperV1().turn_prompt(VIEW, 0).content == 'Careful.\n\nDo "Why?".'
    assert contents([Official011().last_request]) == [("assistant", "Say it.")]


def test_a_line_for_one_model_is_config(own_wheels):
    system = Official011(addition="Few sub-calls, please.").opening(VIEW)[0].content
    assert system.endswith("End.\n\nFew sub-calls, please.")


def test_a_prologue_of_the_users_is_appended_by_its_hash(own_wheels, tmp_path):
    file = tmp_path / "prologue.txt"
    file.write_text("Labels are six.\n")
    given = {
        "addition_file": str(file),
        "addition_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    plain, own = OfficialLatest(), OfficialLatest(**given)
    assert own.opening(VIEW)[0].content.endswith("Second.\n\nLabels are six.")
    assert own.prompt_id == f"{plain.prompt_id}+{given['addition_sha256'][:8]}"
    assert given["addition_sha256"][:12] in RLM(protocol=own).remark
    assert "addition_file" not in identity(own), "where the file lies changes nothing"
    assert identity(own)["addition_sha256"] == given["addition_sha256"]
    assert identity(plain).keys() == {"class", "addition", "orchestrator", "prompt_file"} | (
        identity(plain).keys() & {"version"}
    )
    user = OfficialLatest(**given, addition_role="user")
    assert contents(user.opening(VIEW))[1:] == [
        ("user", "Answer the following: Why?\n\nIt is a str."),
        ("user", "Labels are six."),
    ]
    assert len(user.history) == len(plain.history) + 1
    for wrong, message in (
        ({**given, "addition_file": str(tmp_path / "none")}, "no such file; it is not shipped"),
        ({**given, "addition_sha256": "0" * 64}, "take the file that was meant"),
    ):
        with pytest.raises(ConfigError, match=message):
            OfficialLatest(**wrong)
    with pytest.raises(ValueError, match="give both"):
        OfficialLatest(addition_file=str(file))


def test_another_file_under_the_name_is_refused(own_wheels):
    path = own_wheels / "wheels" / "rlms-0.1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(MissingDependency, match=r"SHA-256 is .* pinned is .*prompt_file=PATH"):
        PaperV1().opening(VIEW)


def test_without_wheel_and_index_one_error_names_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    official_prompts._module.cache_clear()
    with pytest.raises(MissingDependency) as caught:
        _ = OfficialLatest().prompt_id
    text = str(caught.value)
    assert all(part in text for part in ("rlms 0.1.3", str(tmp_path), "prompt_file=PATH"))


def test_a_users_verbatim_copy_needs_no_wheel_for_its_words(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = tmp_path / "appendix.md"
    file.write_text("The paper's words. A {context_type}, {context_total_length} long.")
    protocol = PaperV1(prompt_file=str(file))
    assert contents(protocol.opening(VIEW)) == [("system", "The paper's words. A str, 10 long.")]
    assert protocol.prompt_id.startswith("appendix@")


def test_depths_that_a_dialect_has_no_words_for_are_refused():
    with pytest.raises(ConfigError, match=r"depth=0.*prompt_file"):
        RLM(protocol=OfficialLatest(), depth=0)
    with pytest.raises(ConfigError, match="does not know rlm_query"):
        RLM(protocol=PaperV1(), depth=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "identity"),
    [
        (PaperV1(), "paper_v1/rlms-0.1.0@"),
        (Official011(), "official_0_1_1/rlms-0.1.1@"),
        (OfficialLatest(), "official_latest/rlms-0.1.3@"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_real_wheels_can_be_fetched_and_read(protocol, identity):
    try:
        assert protocol.prompt_id.startswith(identity)
    except MissingDependency as error:
        if "could not be fetched" in str(error):
            pytest.skip(str(error))
        raise
    assert len(protocol.opening(VIEW)[0].content) > 2000
