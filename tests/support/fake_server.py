"""A fake OpenAI- and Anthropic-compatible server on loopback: real HTTP, real faults, own counters.

Inside a test: `async with FakeServer(reply=...) as server: ... server.url, server.totals`.
As a process of its own (`kill -9` tests, benchmarks): `with FakeProcess("--reply", "echo") as p`
or `python tests/support/fake_server.py --port 0`, which prints one JSON line `{"url": ...}` and
answers `GET /_totals`, `GET /_log` and `POST /_faults`. The counters are the server's own: a meter
is right when its totals equal `totals`; tokens of replies that were made but never delivered are
`lost_*`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Request = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: str
    """`status`, `drop`, `reset`, `stall`, `hang`, `bad_json`, `no_usage`, `absurd_usage`,
    `empty_choices`, `null_content`, `content_filter`, `prompt_filter`, `refusal`, `length`,
    `given_up:{abort,error,...}` (a reply that the server ended itself, by its finish reason),
    `context:{openai,openai_input,vllm,vllm_old,llama_cpp,anthropic}`, `auth`, `unknown_model`,
    `stream_error`, `stream_cut`, `body` and `events` (`body` is sent as it is, as JSON or as a
    stream of events, with status 200 where `status` is left alone)."""
    status: int = 500
    """HTTP status of `status`."""
    body: str = ""
    """Of `body` and `events`; surrogates stand for single bytes that are no UTF-8."""
    retry_after: str | None = None
    """`Retry-After` header, seconds or an HTTP date."""
    seconds: float = 3600.0
    """How long `stall` and `hang` stay silent."""


@dataclass(frozen=True)
class Out:
    """A reply with more than a text."""

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    cached: int | None = None
    seconds: float | None = None
    """Latency of this reply, instead of the server's."""


Reply = Callable[[Request], "str | Out"]
FaultPlan = Callable[[int, Request], Fault | None]

CONTEXT_ERRORS: dict[str, tuple[int, Any]] = {
    "openai": (400, {"error": {"message": "This model's maximum context length is 128000 tokens. "
        "However, your messages resulted in 130021 tokens. Please reduce the length of the "
        "messages.", "type": "invalid_request_error", "param": "messages",
        "code": "context_length_exceeded"}}),
    "openai_input": (400, {"error": {"message": "Input tokens exceed the configured limit of "
        "272000 tokens. Your messages resulted in 300000 tokens. Please reduce the length of the "
        "messages.", "type": "invalid_request_error", "code": None}}),
    "vllm": (400, {"error": {"message": "This model's maximum context length is 8192 tokens. "
        "However, your request has 9001 input tokens. Please reduce the length of the input "
        "messages.", "type": "BadRequestError", "param": None, "code": 400}}),
    "vllm_old": (400, {"object": "error", "message": "'max_tokens' or 'max_completion_tokens' is "
        "too large: 5000. This model's maximum context length is 8192 tokens and your request has "
        "4000 input tokens (5000 > 8192 - 4000).", "type": "BadRequestError", "code": 400}),
    "llama_cpp": (400, {"error": {"code": 400, "message": "request (9001 tokens) exceeds the "
        "available context size (8192 tokens), try increasing it",
        "type": "exceed_context_size_error", "n_prompt_tokens": 9001, "n_ctx": 8192}}),
    "anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
}  # fmt: skip


def tokens_of(text: str) -> int:
    """The fake tokenizer: four characters a token, rounded up."""
    return -(-len(text) // 4)


def text_of(request: Request) -> str:
    """Every message of a request, joined by newlines."""
    messages = request.get("messages", [])
    system = [str(request["system"])] if request.get("system") else []
    return "\n".join(system + [str(message["content"]) for message in messages])


def tail_of(request: Request, tokens: int) -> Request:
    """The request as a server reads it that drops all but the last tokens of its prompt."""
    kept, room = [], 4 * tokens
    for message in reversed(request["messages"]):
        content = str(message["content"])[-room:] if room else ""
        kept.append({**message, "content": content})
        room -= len(content)
    return {**request, "messages": kept[::-1]}


def echo(request: Request) -> str:
    """Replies with the last message."""
    return str(request["messages"][-1]["content"])


def find_number(request: Request) -> str:
    """Replies with the last number of at least four digits in the prompt, else `none`."""
    numbers = re.findall(r"\d{4,}", text_of(request))
    return numbers[-1] if numbers else "none"


def scripted(replies: Iterable[str]) -> Reply:
    """Replies in order, then repeats the last one."""
    stream = iter(replies)
    last = ""

    def reply(_request: Request) -> str:
        nonlocal last
        last = next(stream, last)
        return last

    return reply


def rules(table: Sequence[dict[str, str]]) -> Reply:
    """First rule whose `match` (a regular expression) is found in the prompt, and whose `model`,
    where it names one, is the request's, gives `reply`; `\\1` stands for its first group."""

    def reply(request: Request) -> str:
        for rule in table:
            if rule.get("model", request.get("model")) != request.get("model"):
                continue
            found = re.search(rule["match"], text_of(request), re.S)
            if found:
                return found.expand(rule["reply"])
        return "no rule matches"

    return reply


def in_order(*faults: Fault | None) -> FaultPlan:
    """The n-th request meets the n-th fault; later ones are fine."""
    return lambda n, _request: faults[n] if n < len(faults) else None


def every(k: int, fault: Fault) -> FaultPlan:
    """Every k-th request fails."""
    return lambda n, _request: fault if n % k == k - 1 else None


def always(fault: Fault) -> FaultPlan:
    """Every request fails."""
    return lambda _n, _request: fault


@dataclass
class FakeServer:
    """See the module docstring. Use as an async context manager."""

    reply: Reply = echo
    latency: float = 0.0
    """Seconds from request to reply."""
    faults: FaultPlan | None = None
    models: Sequence[str] | None = None
    """Known models; `None` accepts any name."""
    api_key: str | None = None
    """Where set, other keys get 401."""
    window: int | None = None
    """Tokens of prompt and `max_tokens` together above which a request is refused."""
    cuts: int | None = None
    """Tokens of prompt of which only the last are read and counted, without an error (Ollama)."""
    counts: bool = False
    """Count whole prompts at `/tokenize`, as vLLM does."""
    dialect: str = "vllm"
    """Wording of the window error."""
    usage_dialect: str = "openai"
    """`openai`, `deepseek` or `bare` (no details)."""
    reasoning_field: str = "reasoning_content"
    """`reasoning_content`, `reasoning` or `think` (inside the text)."""
    metrics: bool = False
    """Tell of a prefix cache on `/metrics`, in vLLM's words."""
    pages: dict[str, str] = field(default_factory=dict)
    """Further pages: path -> body."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of every response, as a gateway adds them."""
    chunk_seconds: float = 0.0
    """Pause between the chunks of a stream."""
    port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    """Requests in order of arrival: model, time, prompt, headers of interest, fault."""
    totals: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Per model: requests, replies, prompt_tokens, completion_tokens, cached_tokens, lost_*."""
    in_flight: int = 0
    peak: int = 0
    """Most requests at once."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first request."""
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL as OpenAI clients want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> FakeServer:
        app = web.Application(client_max_size=1 << 30)
        app.on_response_prepare.append(self._add_headers)
        app.router.add_post("/v1/chat/completions", self._openai)
        app.router.add_post("/v1/messages", self._anthropic)
        app.router.add_get("/v1/models", self._models)
        if self.counts:
            app.router.add_post("/tokenize", self._tokenize)
        for path, value in {"/health": {}, "/_totals": self.totals, "/_log": self.log}.items():
            app.router.add_get(path, _teller(value))
        app.router.add_post("/_faults", self._set_faults)
        for path, body in self.pages.items():
            app.router.add_get(path, _page(body))
        if self.metrics:
            app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def total(self) -> Counter[str]:
        """`totals` summed over the models."""
        return sum(self.totals.values(), Counter())

    async def _add_headers(self, _http: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.headers)

    async def _set_faults(self, http: web.Request) -> web.Response:
        """Body: `{"every": k, "fault": {...}}`, `{"in_order": [{...} | null]}` or `{}`."""
        plan = await http.json()
        if "every" in plan:
            self.faults = every(plan["every"], Fault(**plan["fault"]))
        else:
            start = len(self.log)
            chosen = in_order(*(Fault(**f) if f else None for f in plan.get("in_order", [])))
            self.faults = lambda n, request: chosen(n - start, request)
        return _json({})

    async def _tokenize(self, http: web.Request) -> web.Response:
        return _json({"count": tokens_of(text_of(await http.json()))})

    async def _metrics(self, _http: web.Request) -> web.Response:
        figures = {"queries": self.total["prompt_tokens"], "hits": self.total["cached_tokens"]}
        return web.Response(
            text="# HELP vllm:prefix_cache_queries_total tokens\n"
            + "".join(
                f'vllm:prefix_cache_{name}_total{{engine="0"}} {float(value)}\n'
                for name, value in figures.items()
            )
        )

    async def _models(self, _http: web.Request) -> web.Response:
        rows = [{"id": name, "object": "model"} for name in self.models or ["fake"]]
        if self.window:
            of_llama = {"meta": {"n_ctx": self.window}}
            own = of_llama if self.dialect == "llama_cpp" else {"max_model_len": self.window}
            rows = [row | own for row in rows]
        return _json({"object": "list", "data": rows})

    def _key_of(self, http: web.Request) -> str:
        bearer = http.headers.get("Authorization", "").removeprefix("Bearer ")
        return http.headers.get("x-api-key", bearer)

    async def _openai(self, http: web.Request) -> web.StreamResponse:
        return await self._serve(http, OpenAIShape(self))

    async def _anthropic(self, http: web.Request) -> web.StreamResponse:
        return await self._serve(http, AnthropicShape(self))

    async def _serve(self, http: web.Request, shape: OpenAIShape) -> web.StreamResponse:
        request = await http.json()
        number, model = len(self.log), str(request.get("model"))
        fault = self.faults(number, request) if self.faults else None
        if fault is None and self.api_key is not None and self._key_of(http) != self.api_key:
            fault = Fault("auth")
        if fault is None and self.models is not None and model not in self.models:
            fault = Fault("unknown_model")
        prompt = tokens_of(text_of(request))
        if self.cuts is not None and prompt > self.cuts:
            request, prompt = tail_of(request, self.cuts), self.cuts
        wanted = prompt + int(request.get("max_tokens") or 0)
        if fault is None and self.window is not None and wanted > self.window:
            fault = Fault(f"context:{self.dialect}")
        self.log.append(
            {"model": model, "time": time.monotonic(), "request": request,
             "fault": asdict(fault) if fault else None}
        )  # fmt: skip
        self.arrived.set()
        counts = self.totals[model]
        counts["requests"] += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            refusal = await self._refuse(http, fault, model, shape)
            if refusal is not None:
                return refusal
            out = self.reply(request)
            out = Out(out) if isinstance(out, str) else out
            if fault and fault.kind == "length":
                out = Out(out.text[: len(out.text) // 2], out.reasoning, "length", out.cached)
            await asyncio.sleep(self.latency if out.seconds is None else out.seconds)
            return await self._deliver(http, request, shape, out, prompt, fault, counts)
        finally:
            self.in_flight -= 1

    async def _refuse(
        self, http: web.Request, fault: Fault | None, model: str, shape: OpenAIShape
    ) -> web.Response | None:
        """The faults that come instead of any work."""
        kind = fault.kind if fault else ""
        if fault and kind == "status":
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            told = f"trouble with {self._key_of(http)}"  # some servers do echo keys
            return _json(shape.error(told, "server_error"), fault.status, headers)
        if fault and kind in ("body", "events"):
            return web.Response(
                body=fault.body.encode("utf-8", "surrogateescape"),
                status=200 if fault.status == 500 else fault.status,
                content_type="application/json" if kind == "body" else "text/event-stream",
            )
        if fault and kind == "hang":
            await asyncio.sleep(fault.seconds)
        if kind == "drop":
            assert http.transport is not None
            http.transport.abort()
        if kind == "auth":
            shown = self._key_of(http)[:12]
            body = shape.error(f"Incorrect API key provided: {shown}", "invalid_api_key")
            return _json(body, 401)
        if kind == "unknown_model":
            body = shape.error(f"The model `{model}` does not exist.", "model_not_found")
            return _json(body, 404)
        if kind.startswith("context:"):
            status, body = CONTEXT_ERRORS[kind.partition(":")[2]]
            return _json(body, status)
        if kind == "prompt_filter":
            return _json(shape.error("The prompt was filtered.", "content_filter"), 400)
        return None

    async def _deliver(
        self, http: web.Request, request: Request, shape: OpenAIShape, out: Out, prompt: int,
        fault: Fault | None, counts: Counter[str],
    ) -> web.StreamResponse:  # fmt: skip
        kind = fault.kind if fault else ""
        body = shape.body(request, out, prompt, kind)
        billed = {
            "prompt_tokens": prompt,
            "completion_tokens": tokens_of(out.text) + tokens_of(out.reasoning),
            "cached_tokens": out.cached or 0,
        }
        lost = {"drop", "reset", "stall", "bad_json", "no_usage", "absurd_usage", "stream_cut",
                "stream_error"}  # fmt: skip
        for name, value in billed.items():
            counts[f"lost_{name}" if kind in lost else name] += value
        counts["replies"] += kind not in lost
        if request.get("stream"):
            return await self._stream(http, shape.events(body, request, kind), fault)
        payload = json.dumps(body).encode()
        if kind == "bad_json":
            return web.Response(body=payload[:-9], content_type="application/json")
        if kind in ("reset", "stall"):
            return await self._half(http, payload, fault)
        return web.Response(body=payload, content_type="application/json")

    async def _half(
        self, http: web.Request, payload: bytes, fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(payload))})
        await response.prepare(http)
        await response.write(payload[: len(payload) // 2])
        await self._break(http, fault)
        return response

    async def _break(self, http: web.Request, fault: Fault | None) -> None:
        assert fault is not None
        assert http.transport is not None
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds)
        http.transport.abort()

    async def _stream(
        self, http: web.Request, events: list[bytes], fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        for number, event in enumerate(events):
            if fault and fault.kind in ("reset", "stall") and number == 1:  # within the text
                await self._break(http, fault)
                return response
            await response.write(event)
            await asyncio.sleep(self.chunk_seconds)
        return response


@dataclass(frozen=True)
class OpenAIShape:
    """Bodies of the chat completions API."""

    server: FakeServer
    numbers = itertools.count()

    def error(self, message: str, code: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "invalid_request_error", "code": code}}

    def usage(self, out: Out, prompt: int, kind: str) -> Any:
        if kind == "absurd_usage":
            return {"prompt_tokens": -5, "completion_tokens": "many", "total_tokens": 10**15}
        reasoning = tokens_of(out.reasoning)
        completion = tokens_of(out.text) + reasoning
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion,
                                 "total_tokens": prompt + completion}  # fmt: skip
        if self.server.usage_dialect == "deepseek" and out.cached is not None:
            usage |= {"prompt_cache_hit_tokens": out.cached}
        if self.server.usage_dialect == "openai":
            usage["prompt_tokens_details"] = {"cached_tokens": out.cached or 0}
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        return usage

    def body(self, request: Request, out: Out, prompt: int, kind: str) -> dict[str, Any]:
        style = self.server.reasoning_field
        message: dict[str, Any] = {"role": "assistant", "content": out.text}
        if out.reasoning and style == "think":
            message["content"] = f"<think>\n{out.reasoning}\n</think>\n\n{out.text}"
        elif out.reasoning:
            message[style] = out.reasoning
        finish = out.finish_reason
        if kind == "content_filter":
            finish, message["content"] = "content_filter", out.text[:4]
        if kind.startswith("given_up:"):
            finish, message["content"] = kind.partition(":")[2], out.text[:4]
        if kind == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if kind == "null_content":
            message["content"] = None
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        body = {"id": f"fake-{next(self.numbers)}", "object": "chat.completion",
                "model": f"{request.get('model')}-fake-1",
                "choices": [] if kind == "empty_choices" else choices}  # fmt: skip
        return body if kind == "no_usage" else body | {"usage": self.usage(out, prompt, kind)}

    def events(self, body: dict[str, Any], request: Request, kind: str) -> list[bytes]:
        """The same reply as server-sent events."""
        usage = body.pop("usage", None)
        base = {"id": body["id"], "model": body["model"], "object": "chat.completion.chunk"}
        chunks: list[dict[str, Any]] = []
        for choice in body["choices"]:
            message = dict(choice["message"])
            message.pop("role")
            for name, value in message.items():
                pieces = re.findall(r".{1,7}", str(value or ""), re.S)
                chunks += [{"choices": [{"index": 0, "delta": {name: p}}]} for p in pieces]
            last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
            chunks.append({"choices": [last]})
        if kind == "stream_error":
            chunks[-1] = {"error": {"message": "engine died", "code": 500}}
        if kind == "stream_cut":
            chunks = chunks[:-1]
        elif usage is not None and request.get("stream_options", {}).get("include_usage"):
            chunks.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(base | chunk)}\n\n".encode() for chunk in chunks]
        if kind == "bad_json":
            lines[-1] = b"data: {broken\n\n"
        return lines if kind == "stream_cut" else [*lines, b"data: [DONE]\n\n"]


class AnthropicShape(OpenAIShape):
    """Bodies of the messages API."""

    def error(self, message: str, code: str) -> dict[str, Any]:
        kinds = {"invalid_api_key": "authentication_error", "model_not_found": "not_found_error"}
        return {"type": "error", "error": {"type": kinds.get(code, code), "message": message}}

    def usage(self, out: Out, prompt: int, kind: str) -> Any:
        cached = out.cached or 0
        return {"input_tokens": -1 if kind == "absurd_usage" else prompt - cached,
                "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0,
                "output_tokens": tokens_of(out.text) + tokens_of(out.reasoning)}  # fmt: skip

    def body(self, request: Request, out: Out, prompt: int, kind: str) -> dict[str, Any]:
        reasons = {"stop": "end_turn", "length": "max_tokens"}
        blocks = [{"type": "thinking", "thinking": out.reasoning}] if out.reasoning else []
        blocks.append({"type": "text", "text": out.text})
        body = {"id": f"fake-{next(self.numbers)}", "type": "message", "role": "assistant",
                "model": f"{request.get('model')}-fake-1",
                "content": [] if kind == "empty_choices" else blocks,
                "stop_reason": reasons.get(out.finish_reason, out.finish_reason)}  # fmt: skip
        if kind in ("refusal", "content_filter"):
            body["stop_reason"] = "refusal"
        return body if kind == "no_usage" else body | {"usage": self.usage(out, prompt, kind)}

    def events(self, body: dict[str, Any], request: Request, kind: str) -> list[bytes]:
        usage, blocks, reason = body.pop("usage", None), body.pop("content"), body["stop_reason"]
        start = {"type": "message_start", "message": body | {"usage": usage}}
        events: list[dict[str, Any]] = [start, {"type": "ping"}]
        for index, block in enumerate(blocks):
            name = "thinking" if block["type"] == "thinking" else "text"
            for piece in re.findall(r".{1,7}", block[name], re.S):
                delta = {"type": f"{name}_delta", name: piece}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
        if kind == "stream_error":
            error = {"type": "overloaded_error", "message": "Overloaded"}
            events.append({"type": "error", "error": error})
        elif kind != "stream_cut":
            delta = {"stop_reason": reason}
            events.append({"type": "message_delta", "delta": delta, "usage": usage})
            events.append({"type": "message_stop"})
        lines = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]
        return [*lines[:-1], b"data: {broken\n\n"] if kind == "bad_json" else lines


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def _page(body: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def tell(_http: web.Request) -> web.Response:
        return web.Response(text=body)

    return tell


def _teller(value: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def tell(_http: web.Request) -> web.Response:
        return _json(value)

    return tell


class FakeProcess:
    """The server as a child process. Use as a context manager; arguments as on the command line."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    def __enter__(self) -> FakeProcess:
        command = [sys.executable, str(Path(__file__)), *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def get(self, path: str) -> Any:
        """`/_totals` or `/_log`."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, timeout=10) as response:
            return json.load(response)

    def set_faults(self, plan: dict[str, Any]) -> None:
        """See `FakeServer._set_faults`."""
        url = self.url.removesuffix("/v1") + "/_faults"
        data = json.dumps(plan).encode()
        urllib.request.urlopen(urllib.request.Request(url, data), timeout=10).close()


def _parse() -> FakeServer:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--reply", default="echo", help="echo, find_number, or a JSON rules file")
    parser.add_argument("--window", type=int)
    parser.add_argument("--api-key")
    options = parser.parse_args()
    named: dict[str, Reply] = {"echo": echo, "find_number": find_number}
    reply = named.get(options.reply) or rules(json.loads(Path(options.reply).read_text()))
    return FakeServer(
        reply=reply,
        latency=options.latency,
        port=options.port,
        window=options.window,
        api_key=options.api_key,
    )


async def _main(server: FakeServer) -> None:
    async with server:
        print(json.dumps({"url": server.url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(_parse()))
