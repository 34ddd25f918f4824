"""vLLM on GPUs, simulated by `fake_vllm`: two models, memory, what a failed start says."""

import asyncio
import contextlib
import dataclasses
import json
import re

import fake_vllm
import pytest
from fake_server import FakeServer, Fault
from omegaconf import OmegaConf
from runs import ROOT, cells_of, overrides, run_here

from rlm_eval.commands.doctor import main as doctor
from rlm_eval.config.builder import build
from rlm_eval.config.identity import identity
from rlm_eval.core.errors import BadRequest, ConfigError, ContextOverflow, EndpointUnusable
from rlm_eval.core.types import Message
from rlm_eval.models import EndpointInfo, Sampling
from rlm_eval.models.endpoint import RemoteServer
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.servers import devices, gpu_memory, start_errors
from rlm_eval.models.servers.managed import LOGS, START_WINDOWS
from rlm_eval.models.servers.placement import PLACEMENT, Placement
from rlm_eval.models.servers.vllm import VLLM
from rlm_eval.runner.planning import job_window

ASK = [Message("user", "hello")]


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """An interpreter with the stand-in; one GPU of 80 GiB."""
    monkeypatch.setenv("RLM_EVAL_DEVICES", str(tmp_path / "notes"))
    monkeypatch.setenv("FAKE_GPUS", str(tmp_path / "gpus"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(devices, "memory_gib", lambda ids: 80.0)
    monkeypatch.setattr(VLLM, "fetch", lambda self: None)
    return tmp_path / "env", fake_vllm.environment(tmp_path / "env")


def model(python, name="qwen3-8b", **fields):
    node = OmegaConf.load(ROOT / "configs" / "model" / f"{name}.yaml")
    engine = {"python": str(python), **fields.pop("engine", {})}
    return build(OmegaConf.merge(node, {"retries": 0, **fields, "engine": engine}), "root")


def starts(folder):
    """Environment and options of each start, in order."""
    lines = (folder / "calls").read_text().splitlines()
    return [line for line in lines if " serve " in line]


async def opened(*models):
    """Open them together, as a run does, and ask each; the clients' infos."""
    token = PLACEMENT.set(Placement([models]))
    try:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(one.open()) for one in models]
            for client in clients:
                assert (await client.complete(ASK, Sampling(max_output_tokens=8))).text
            return [await client.check() for client in clients]
    finally:
        PLACEMENT.reset(token)


@pytest.mark.slow
@pytest.mark.parametrize("visible", ["3,5", "3"])
async def test_a_root_and_another_sub_model_start_together(gpus, monkeypatch, visible):
    folder, python = gpus
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    infos = await opened(model(python, "rlm-qwen3-8b"), model(python))
    first, second = starts(folder)
    shares = [re.findall(r"--gpu-memory-utilization ([\d.]+)", line) for line in (first, second)]
    if visible == "3,5":
        assert first.startswith("3 ")
        assert second.startswith("5 ")
        assert shares == [[], []]
        assert [info.gpus for info in infos] == [1, 1]
    else:
        assert first.startswith("3 ")
        assert second.startswith("3 ")
        assert sum(float(share) for (share,) in shares) <= gpu_memory.SHARE
        assert sum(info.gpus for info in infos) == 1
    assert infos[0].cache_tokens == 4 * 40960


@pytest.mark.slow
async def test_a_run_on_gpus_keeps_the_servers_log(gpus, tmp_path, monkeypatch):
    folder, python = gpus
    given = overrides(tmp_path, "http://x/v1", "method=long_context", "n=1")
    given = [word for word in given if not word.startswith(("model@root", "root."))]
    given += ["model@root=qwen3-8b", f"root.engine.python={python}"]
    assert (await run_here(given)).finished
    (log,) = (tmp_path / "test" / "servers").glob("*.log")
    assert "KV cache size" in log.read_text()
    assert "--generation-config vllm" in starts(folder)[0]


async def test_a_failed_start_quotes_its_cause_and_the_next_step(gpus, tmp_path, monkeypatch):
    _, python = gpus
    monkeypatch.setenv("FAKE_CACHE", "30000")
    LOGS.set(tmp_path / "servers")
    with pytest.raises(EndpointUnusable) as told:
        await opened(model(python))
    LOGS.set(None)
    text = str(told.value)
    assert "larger than the available KV cache memory" in text
    assert "next: lower the window (root.window=N)" in text
    assert "See root cause above" not in text
    (log,) = (tmp_path / "servers").glob("*.log")
    assert str(log) in text
    assert "frame_299" in log.read_text()


@pytest.mark.parametrize(
    ("log", "cause", "step"),
    [
        ("(APIServer pid=6) ERROR 11-29 12:00:00 [utils.py:12] OSError: You are trying to access a "
         "gated repo.\nRuntimeError: Engine core initialization failed. See root cause above.",
         "OSError: You are trying", "export HF_TOKEN"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\nx",
         "CUDA out of memory", "use more GPUs"),
        ("vllm: error: unrecognized arguments: --frob\n", "--frob", "change engine.extra"),
        ("ValueError: World size (4) is larger than the number of available GPUs (1) in this node.",
         "World size", "ask for more"),
        ("INFO loading\nINFO still loading", "INFO still loading", None),
        ("", "its log is empty", None),
    ],
)  # fmt: skip
def test_the_cause_is_found_in_the_whole_log(log, cause, step):
    told = start_errors.quoted(log + "\n" * 3)
    assert cause in told
    assert (step in told) if step else ("next:" not in told)


@pytest.mark.slow
async def test_a_gpu_that_another_user_fills_is_told(gpus, tmp_path):
    _, python = gpus
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "0-1").write_text("0.5")
    with pytest.raises(EndpointUnusable, match=r"(?s)Free memory on device.*next: another process"):
        await opened(model(python))


@pytest.mark.slow
async def test_a_late_start_is_given_up_with_what_to_change(gpus, monkeypatch):
    _, python = gpus
    monkeypatch.setenv("FAKE_LATE", "600")
    with pytest.raises(EndpointUnusable, match=r"(?s)not ready after 2 s; give .*startup_s=4"):
        await opened(model(python, engine={"startup_s": 2.0}))


def test_weights_that_are_nowhere_are_told_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EndpointUnusable, match="no such folder of weights; name another"):
        VLLM(source=str(tmp_path / "none")).fetch()
    VLLM(source=str(tmp_path)).fetch()


def options(python, **fields):
    launch = VLLM(source="x", python=str(python), **fields).launch("m", 8192, 1, "secret")
    return " ".join(launch.command), launch.environment


def test_options_that_have_a_field_are_stated_there(gpus):
    _, python = gpus
    told, environment = options(
        python, pipeline_parallel=2, tensor_parallel=4, reasoning_parser="qwen3",
        hf_overrides={"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, startup_s=60,
        reply_environment={"VLLM_BATCH_INVARIANT": "1"},
    )  # fmt: skip
    assert "-m vllm.entrypoints.cli.main serve x" in told
    for pair in ("--pipeline-parallel-size 2", "--reasoning-parser qwen3",
                 '--hf-overrides {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}',
                 "--generation-config vllm"):  # fmt: skip
        assert pair in told
    assert environment["VLLM_ENGINE_READY_TIMEOUT_S"] == "60"
    assert environment["VLLM_BATCH_INVARIANT"] == "1"
    assert VLLM(source="x", pipeline_parallel=2, tensor_parallel=4).gpus == 8
    wrapped, _ = options(python, wrapper=["env", "-u", "NOTHING"])
    assert wrapped.startswith("env -u NOTHING ")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"extra": ["--tensor-parallel-size=4"]}, "state it as tensor_parallel"),
        ({"extra": ["-tp", "4"]}, "state it as tensor_parallel"),
        ({"extra": ["--gpu_memory_utilization", "0.5"]}, "state it as gpu_memory"),
        ({"extra": ["--max-model-len", "100"]}, "root.window=N"),
        ({"extra": ["--nnodes", "2"]}, "runs on one node"),
        ({"environment": {"VLLM_BATCH_INVARIANT": "1"}}, "state it in reply_environment"),
        ({"gpu_memory": 92}, "a share above 0"),
        ({"pipeline_parallel": 0}, "at least 1"),
    ],
)
def test_what_would_be_counted_nowhere_is_refused(fields, why):
    with pytest.raises(ValueError, match=why):
        VLLM(source="x", **fields)


def test_an_exported_variable_that_changes_replies_must_be_stated(gpus, monkeypatch):
    _, python = gpus
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    with pytest.raises(ConfigError, match="state root.engine.reply_environment="):
        options(python)
    assert options(python, reply_environment={"VLLM_BATCH_INVARIANT": "1"})


def test_new_settings_enter_the_identity_away_from_their_default():
    plain = VLLM(source="x")
    same = dataclasses.replace(plain, pipeline_parallel=2, gpu_memory=0.5, wrapper=["a"])
    assert identity(same) == identity(plain)
    assert identity(plain)["version"] == 2
    for fields in ({"generation_config": "auto"}, {"reply_environment": {"A": "1"}},
                   {"hf_overrides": {"a": 1}}, {"reasoning_parser": "qwen3"}):  # fmt: skip
        assert identity(dataclasses.replace(plain, **fields)) != identity(plain)


CONFIGS = [
    path
    for path in sorted((ROOT / "configs" / "model").glob("*.yaml"))
    if OmegaConf.load(path).get("server") == "spawn"
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_sampling_is_what_the_manifest_says(path):
    """No engine of ours takes sampling from elsewhere: see `VLLM.generation_config`."""
    built = build(OmegaConf.merge(OmegaConf.load(path), {"model": "x"}), "root")
    body = built.dialect.body("m", ASK, built.sampling, False)
    if built.engine.label == "vllm":
        assert built.engine.generation_config == "vllm"
        for name in ("temperature", "top_p", "top_k"):
            assert body.get(name) == getattr(built.sampling, name)
        assert body.items() >= built.sampling.extra.items()
    elif built.engine.label == "transformers":
        assert built.engine.at_once == 1
        stated = body["generation_config"]
        for name in ("top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens"):
            assert f'"{name}"' in stated
            assert name not in body


@pytest.mark.parametrize(
    ("source", "billions", "kib", "tp"),
    [
        ("Qwen/Qwen3-8B", 8.19, 144.0, 1),
        ("meta-llama/Llama-3.1-8B-Instruct", 8.03, 128.0, 1),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", 7.62, 56.0, 1),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", 480.15, 31.0, 8),
    ],
)
def test_memory_by_formula_agrees_with_the_published_sizes(source, billions, kib, tp):
    shape = gpu_memory.shape_of(gpu_memory.read_config(source))
    layout = gpu_memory.layout_of(shape, tensor=tp)
    assert shape.weights / 1e9 == pytest.approx(billions, abs=0.01)
    assert gpu_memory.cache_bytes(shape, layout) / 1024 == kib


def test_memory_of_other_shapes():
    latent = {
        "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
        "num_key_value_heads": 128, "vocab_size": 129280, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "q_lora_rank": 1536,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
        "n_shared_experts": 1, "first_k_dense_replace": 3,
        "quantization_config": {"quant_method": "fp8"},
    }  # fmt: skip
    shape = gpu_memory.shape_of(latent)
    assert shape.weights / 1e9 == pytest.approx(671, rel=0.01)  # DeepSeek-V3
    layout = gpu_memory.layout_of(shape, tensor=8)
    assert gpu_memory.cache_bytes(shape, layout) == 61 * 576 * 2  # kept whole on every GPU
    assert gpu_memory.cache_tokens(shape, layout, 80.0) == 0
    with pytest.raises(ValueError, match="config.json has no 'hidden_size'"):
        gpu_memory.shape_of({})
    assert gpu_memory.read_config("no-such/repository") is None
    assert VLLM(source="no-such/repository").needed_gib(1024) is None


@pytest.mark.slow
def test_doctor_starts_a_model_as_a_run_would_and_says_what_it_found(gpus, capsys, monkeypatch):
    folder, python = gpus
    monkeypatch.setenv("RLM_EVAL_CACHE", str(folder))
    assert doctor(["--model", "qwen3-8b", f"root.engine.python={python}"]) == 0
    told = capsys.readouterr().out
    assert "qwen3-8b: vllm, 1 GPU(s); GPUs here: 0 of 80 GiB (CUDA_VISIBLE_DEVICES)" in told
    assert "needs 22.9 GiB a GPU by formula, for one request of 40,960" in told
    assert "cache, tokens: 163,840" in told
    assert "requests of the whole window at once: 4.0" in told
    assert "tokens a second alone" in told
    assert told.rstrip().endswith("stopped")


def narrow(python, length="1k", *more):
    """Cells on one server that is started as the longest needs."""
    return cells_of([
        "task=s_niah", "method=long_context", "tokenizer=approx4", f"length={length}", "name=x",
        "model@root=qwen3-8b", f"root.engine.python={python}", "root.engine.window_of_job=true",
        "root.sampling.max_output_tokens=1000", *more,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("length", "more", "window"),
    [
        ("1k,2k", [], 8192),  # of the longest: 2,560 tokens of context, 4,096 beside it, the reply
        ("1k,8k", [], 16384),
        ("32k", [], None),  # not less than the model's
        ("1k", ["root.window=null"], None),  # the model's own is not known here
        ("1k", ["root.sampling.max_output_tokens=null"], None),
        ("1k", ["root.engine.window_of_job=false"], None),
        ("1k", ["root.server=shared"], None),
    ],
)
def test_the_window_of_a_server_follows_the_longest_cell(tmp_path, length, more, window):
    cells = narrow("python3", length, f"root.engine.source={tmp_path}", *more)
    found = list(job_window.start_windows(cells).values())
    assert found == ([] if window is None else [(window, 40960)])


def test_a_window_that_is_not_stated_is_that_of_the_weights(tmp_path):
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99,
             "intermediate_size": 128, "max_position_embeddings": 9000}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(small))
    given = [f"root.engine.source={tmp_path}", "root.window=null"]
    found = [
        list(job_window.start_windows(narrow("python3", of, *given)).values())
        for of in ("1k", "8k")
    ]
    assert found == [[(8192, 9000)], []]


def test_the_window_of_a_server_is_no_part_of_a_cells_identity():
    (with_it,), (without,) = (
        narrow("python3"),
        narrow("python3", "1k", "root.engine.window_of_job=false"),
    )
    assert with_it.id == without.id


class _Narrow(RemoteServer):
    """A host whose server was started with less than its model's window."""

    async def widen(self):
        object.__setattr__(self, "info", dataclasses.replace(self.info, started_window=None))


@pytest.mark.parametrize("narrow", [True, False])
async def test_what_a_smaller_window_did_to_a_reply_is_undone(narrow):
    """A cap that it refused, and a reply that it cut; with the whole window both are final."""

    def faults(number, request):
        said = {"message": "max_tokens=90 cannot be greater than max_model_len=64.", "code": 400}
        plan = [Fault("body", status=400, body=json.dumps({"error": said}))]
        plan += [Fault("length"), Fault("length")]
        return plan[number] if number < len(plan) else None

    async with FakeServer(reply=lambda request: "word " * 100, faults=faults) as server:
        info = EndpointInfo("m", started_window=64 if narrow else None)
        one = OpenAIModel("m", "m", base_url=server.url, retries=0)
        async with one._client(_Narrow(server.url, info), None) as client:
            if not narrow:
                with pytest.raises(BadRequest):
                    await client.complete(ASK, Sampling())
                assert (await client.complete(ASK, Sampling())).finish_reason == "length"
                return
            reply = await client.complete(ASK, Sampling())
            assert (reply.finish_reason, reply.attempts, reply.failed) == ("length", 1, ())
            object.__setattr__(client._host, "info", info)
            reply = await client.complete(ASK, Sampling())
            assert (reply.finish_reason, reply.attempts, len(reply.failed)) == ("stop", 2, 1)


@pytest.mark.slow
async def test_a_request_that_needs_more_gets_the_whole_window(gpus, monkeypatch, capsys):
    """Several at once: replies in flight end, the server starts again once, nothing is lost."""
    folder, python = gpus
    monkeypatch.setenv("FAKE_LATENCY", "0.3")
    (cell,) = narrow(python)
    root = cell.models["root"]
    START_WINDOWS.set(job_window.start_windows([cell]))
    long = [Message("user", "word " * 12_000)]
    async with root.open() as client:
        info = await client.check()
        assert (info.window, info.started_window) == (40960, 8192)
        calls = (client.complete(of, Sampling()) for of in (ASK, long, ASK, long, ASK))
        replies = await asyncio.gather(*calls)
        assert all(reply.text for reply in replies)
        assert {reply.lost_attempts for reply in replies} == {0}
        with pytest.raises(ContextOverflow):
            await client.complete([Message("user", "word " * 60_000)], Sampling())
        info = await client.check()
        assert (info.window, info.started_window) == (40960, None)
    START_WINDOWS.set(None)
    windows = [re.findall(r"--max-model-len (\d+)", line)[0] for line in starts(folder)]
    assert windows == ["8192", "40960"]
    assert "a request needs more than the 8,192 tokens" in capsys.readouterr().err
