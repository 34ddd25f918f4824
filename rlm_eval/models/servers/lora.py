"""A LoRA adapter on a vLLM server: its source, and the options that load it.

The adapter is served under the model's own name, and the base model as `NAME-base`, so that no
request can reach the base by mistake. An adapter of the hub is downloaded by its commit before the
server starts, since vLLM's option takes no revision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.paths import cache_dir

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # accepted by every vLLM since 0.10


@dataclass(frozen=True)
class Lora:
    """One adapter in PEFT's format (`adapter_config.json` next to its weights)."""

    source: str
    """Repository on the hub, or a local folder; `{cache}` stands for our cache folder."""
    revision: str | None = None
    """Commit of the repository; required there, so that the weights are fixed."""
    rank: int | None = None
    """`--max-lora-rank`; `None` = the smallest allowed one that covers the adapter's rank."""

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank not in _RANKS:
            raise ValueError(
                f"lora.rank={self.rank}: one of {', '.join(map(str, _RANKS))}, or null"
            )

    def options(self, model: str) -> list[str]:
        """Return the options that serve the adapter as `model`; may download it (blocking).

        Raises `ConfigError` where there is no adapter, or one of a rank that vLLM does not accept.
        """
        folder = self._folder()
        file = folder / "adapter_config.json"
        if not file.is_file():
            raise ConfigError(
                f"engine.lora.source={self.source}: {folder} has no adapter_config.json; name the "
                "folder of a PEFT adapter"
            )
        return [
            "--enable-lora",
            "--max-loras",
            "1",
            "--max-lora-rank",
            str(self.rank or self._rank_of(file)),
            "--lora-modules",
            f"{model}={folder}",
        ]

    def _rank_of(self, file: Path) -> int:
        try:
            own = int(json.loads(file.read_text(encoding="utf-8"))["r"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{file}: states no rank `r`; set engine.lora.rank to it or above"
            ) from error
        allowed = [rank for rank in _RANKS if rank >= own]
        if not allowed:
            raise ConfigError(f"{file}: rank {own}; vLLM takes {_RANKS[-1]} at most")
        return allowed[0]

    def _folder(self) -> Path:
        local = Path(self.source.replace("{cache}", str(cache_dir()))).expanduser()
        if local.is_dir():
            return local
        if self.revision is None:
            raise ConfigError(
                f"engine.lora.source={self.source}: no such folder, and a repository on the hub "
                "needs engine.lora.revision=COMMIT"
            )
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.source, revision=self.revision))
        except (OSError, ValueError) as error:  # the hub's own errors are of these kinds
            raise ConfigError(
                f"engine.lora.source={self.source} at {self.revision}: not to be had from the hub "
                f"({str(error).splitlines()[0]}); set engine.lora.source to a local copy's folder"
            ) from error
