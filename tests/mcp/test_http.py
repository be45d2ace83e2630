"""Servers at an address, made with the package and served over real HTTP."""

import asyncio
import json
import os
from contextlib import asynccontextmanager

import pytest
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from executus.errors import ToolError, ToolRetry
from executus.mcp import McpServer
from executus.mcp.failures import McpDown
from executus.mcp.http import BoundedClient, Guarded
from executus.mcp.source import McpSource
from executus.plugin import ExecutusPlugin
from executus.tools.context import Secrets

from .calling import call, definition
from .hosting import free_port, serve
from .office import Office


def app(office: Office, **options):
    return office.mcp.streamable_http_app(**options)


@asynccontextmanager
async def office_at(port: int | None = None, legacy: bool = False, **options):
    """An office, and a source that knows it."""
    office = Office()
    served = app(office, json_response=options.pop("json_response", False))
    if legacy:
        served = Legacy(served)
    async with serve(served, port or free_port()) as url:
        source = McpSource([McpServer(name="office", url=url, **options)])
        async with source.serving():
            yield office, source


class Legacy:
    """Lets only the handshake of 2025 through, as servers of that time would."""

    def __init__(self, served) -> None:
        self._served = served

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._served(scope, receive, send)
            return
        body = b""
        while scope["method"] == "POST":
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if b"server/discover" in body:
            error = {"code": -32601, "message": "no such method"}
            answer = {"jsonrpc": "2.0", "id": json.loads(body)["id"], "error": error}
            await JSONResponse(answer)(scope, receive, send)
            return
        given = [{"type": "http.request", "body": body}]
        await self._served(scope, lambda: replay(given, receive), send)


async def replay(given: list, receive):
    return given.pop() if given else await receive()


@pytest.mark.parametrize("legacy", [False, True], ids=["stateless", "sessions"])
@pytest.mark.parametrize("json_response", [False, True], ids=["events", "json"])
async def test_calls_go_through_in_every_dialect(legacy, json_response):
    async with office_at(legacy=legacy, json_response=json_response) as (office, source):
        add = await definition(source, "office", "add")
        parts = await asyncio.gather(
            *(call(source, add, json.dumps({"a": n, "b": 1})) for n in range(10))
        )
        assert [part.text for part in parts] == [str(n + 1) for n in range(10)]
        assert len(office.journal) == 10


async def test_what_a_tool_returns_becomes_text():
    async with office_at() as (_, source):
        granted = await definition(source, "office", "mixed")
        mixed = await call(source, granted, image_bytes=0)
        assert mixed.text == (
            'words\n\n[image/png, 100 bytes: not shown]\n\n[note://1]\ninside\n\n{"n":1}'
        )
        big = await definition(source, "office", "big")
        part = await call(source, big, '{"size": 300000}')
        assert (part.outcome, part.bytes, part.truncated) == ("ok", 300_000, True)
        assert len(part.text) <= big.result_bytes
        part = await call(source, big, '{"size": 9000000}')
        assert part.outcome != "ok"


async def test_what_a_server_refuses_is_a_result():
    async with office_at() as (_, source):
        part = await call(source, await definition(source, "office", "fail"))
        assert (part.outcome, "no such order: 17" in part.text) == ("error", True)
        part = await call(source, await definition(source, "office", "add"), '{"a": "x"}')
        assert part.outcome == "error"
        part = await call(source, await definition(source, "office", "add"), "[1]")
        assert part.text == "invalid arguments for office__add: must be a JSON object, not a list"
        part = await call(source, await definition(source, "office", "ask"))
        assert part.outcome == "error"


async def test_the_key_of_a_call_is_the_same_for_every_attempt_and_names_no_run():
    async with office_at(trust_annotations=True) as (office, source):
        put = await definition(source, "office", "put")
        assert put.effect == "idempotent"
        for _ in range(2):
            await call(source, put, '{"text": "a"}')
        keys = {meta["executus/idempotency-key"] for meta in office.calls}
    assert len(keys) == 1
    assert "run" not in keys.pop()


async def test_a_cancelled_call_is_cancelled_at_the_server():
    for legacy in (False, True):
        async with office_at(legacy=legacy) as (office, source):
            slow = await definition(source, "office", "slow")
            task = asyncio.create_task(call(source, slow))
            while "slow begins" not in office.journal:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while "slow cancelled" not in office.journal:
                await asyncio.sleep(0.01)
            part = await call(source, await definition(source, "office", "add"), '{"a":1,"b":1}')
            assert part.text == "2", "the connection lives"


async def test_progress_is_a_heartbeat():
    beats = []
    async with office_at() as (_, source):
        walk = await definition(source, "office", "walk")
        part = await call(source, walk, beat=lambda *details: beats.append(details))
    assert part.text == "there"
    assert beats == [({"progress": n, "total": 3.0, "message": f"step {n}"},) for n in (1, 2, 3)]


async def test_headers_are_filled_with_secrets_that_never_come_back():
    seen = []

    async def answer(request: Request) -> Response:
        seen.append(request.headers["authorization"])
        return PlainTextResponse(f"no: {request.headers['authorization']}", 401)

    served = Starlette(routes=[Route("/mcp", answer, methods=["POST"])])
    async with serve(served, free_port()) as url:
        server = McpServer(name="web", url=url, headers={"Authorization": "Bearer ${WEB_TOKEN}"})
        source = McpSource([server], {"WEB_TOKEN": "very-secret-value"})
        async with source.serving():
            with pytest.raises(ToolError) as caught:
                await source.listing("web")
    assert seen[0] == "Bearer very-secret-value"
    assert str(caught.value) == "MCP server `web` answered HTTP 401 Unauthorized"


@pytest.mark.parametrize(
    ("headers", "quoted"),
    [
        ({"X-Api-Key": "hunter2-written-here"}, "[secret:X-Api-Key]"),
        ({"Proxy-Authorization": "Custom written-token"}, "[secret:Proxy-Authorization]"),
        ({"X-Tenant": "no-secret-at-all"}, "no-secret-at-all"),
    ],
)
async def test_a_secret_that_stands_in_the_declaration_does_not_come_back_either(headers, quoted):
    async def answer(request: Request) -> Response:
        (said,) = (request.headers[name].rpartition(" ")[2] for name in headers)
        error = {"code": -32001, "message": f"bad: {said}"}
        message = {"jsonrpc": "2.0", "id": (await request.json())["id"], "error": error}
        return Response(json.dumps(message), 401, media_type="application/json")

    served = Starlette(routes=[Route("/mcp", answer, methods=["POST"])])
    async with serve(served, free_port()) as url:
        source = McpSource([McpServer(name="web", url=url, headers=headers)])
        async with source.serving():
            with pytest.raises(ToolError) as caught:
                await source.listing("web")
    assert str(caught.value) == f"MCP server `web` answered bad: {quoted}"


def test_the_plugin_hides_written_secrets_in_results():
    made = ExecutusPlugin(
        mcp=[McpServer(name="web", command="x", env={"WEB_TOKEN": "written-secret"})]
    )
    assert made.host.secrets.hide("it is written-secret") == "it is [secret:WEB_TOKEN]"


async def test_a_name_that_leads_inside_is_not_followed_unless_the_host_allows_the_network(
    monkeypatch,
):
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("executus.delivery.egress.system_resolver", inside)
    any_host = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    async with serve(app(Office(), transport_security=any_host), free_port()) as url:
        named = url.replace("127.0.0.1", "tools.example.com")
        source = McpSource(
            [
                McpServer(name="web", url=named),
                McpServer(name="ours", url=named, networks=("127.0.0.0/8",)),
            ]
        )
        async with source.serving():
            with pytest.raises(McpDown) as caught:
                await source.listing("web")
            assert "add" in (await source.listing("ours")).tools
    assert str(caught.value) == (
        "MCP server `web` cannot be reached: tools.example.com leads to 127.0.0.1, which is not a "
        "public address; the host can allow its network with `networks`"
    )


@pytest.mark.parametrize(
    ("variables", "guarded"),
    [
        ({}, True),
        ({"https_proxy": "http://proxy:3128"}, False),
        ({"all_proxy": "http://proxy:3128"}, False),
        ({"http_proxy": "http://proxy:3128"}, True),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.com"}, True),
    ],
)
async def test_where_a_proxy_connects_it_decides(monkeypatch, variables, guarded):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server = McpServer(name="web", url="https://mcp.example.com/mcp")
    async with BoundedClient(server, {}, silence=1) as client:
        proxied = [url for url, mount in client._mounts.items() if mount is not None]
        assert isinstance(client._transport, Guarded) is guarded
        assert bool(proxied) is not guarded


async def test_a_redirect_to_elsewhere_is_not_followed_and_takes_no_secret_along():
    seen = []

    async def elsewhere(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return PlainTextResponse("got it")

    other = free_port()

    async def away(request: Request) -> Response:
        return Response(status_code=307, headers={"location": f"http://127.0.0.1:{other}/mcp"})

    route = {"methods": ["GET", "POST"]}
    async with (
        serve(Starlette(routes=[Route("/mcp", elsewhere, **route)]), other),
        serve(Starlette(routes=[Route("/mcp", away, **route)]), free_port()) as url,
    ):
        server = McpServer(name="web", url=url, headers={"Authorization": "Bearer ${TOKEN}"})
        source = McpSource([server], environment={"TOKEN": "very-secret-value"})
        async with source.serving():
            with pytest.raises(ToolError):
                await source.listing("web")
    assert seen == []


async def test_a_server_that_is_down_is_named_and_one_that_comes_back_is_found():
    port = free_port()
    source = McpSource([McpServer(name="office", url=f"http://127.0.0.1:{port}/mcp")])
    async with source.serving():
        with pytest.raises(McpDown, match="MCP server `office` cannot be reached"):
            await source.listing("office")
        async with serve(app(Office()), port):
            add = await definition(source, "office", "add")
            assert (await call(source, add, '{"a":1,"b":1}')).text == "2"
        part = await call(source, add, '{"a":1,"b":1}')
        assert (part.outcome, part.text) == (
            "error",
            "MCP server `office` cannot be reached (ConnectError); nothing ran",
        )
        async with serve(app(Office()), port):
            assert (await call(source, add, '{"a":1,"b":1}')).text == "2"


async def test_a_restarted_server_that_forgot_the_session_gets_a_new_one():
    port = free_port()
    source = McpSource([McpServer(name="office", url=f"http://127.0.0.1:{port}/mcp")])
    async with source.serving():
        async with serve(Legacy(app(Office())), port):
            add = await definition(source, "office", "add")
        office = Office()
        async with serve(Legacy(app(office)), port):
            assert (await call(source, add, '{"a":1,"b":1}')).text == "2"
        assert office.journal == ["add 1 1"]


async def test_a_restarted_server_with_another_schema_is_not_called():
    port = free_port()
    source = McpSource([McpServer(name="office", url=f"http://127.0.0.1:{port}/mcp")])
    async with source.serving():
        async with serve(app(Office()), port):
            put = await definition(source, "office", "put")
            pay = await definition(source, "office", "pay")
        assert (await call(source, put, '{"text": "a"}')).outcome == "error"
        office = Office()
        office.mcp.remove_tool("put")
        office.mcp.remove_tool("pay")
        office.mcp.add_tool(office.fail, name="put")
        async with serve(app(office), port):
            part = await call(source, put, '{"text": "a"}')
            assert part.text.endswith("(its schema changed); not run")
            part = await call(source, pay)
            assert part.text == "MCP server `office` does not offer `pay` any more"
        assert office.journal == []


class Breaks:
    """A real server that, when told, takes a call and breaks off before its answer."""

    def __init__(self, office: Office, how: str) -> None:
        self.office, self.how, self.broken = office, how, False
        self._served = app(office, json_response=True)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http" or not self.broken:
            await self._served(scope, receive, send)
            return
        self.office.note("taken")
        kind = {"events": "text/event-stream"}.get(self.how, "application/json")
        status = {"gateway": 502, "busy": 429}.get(self.how, 200)
        headers = [(b"content-type", kind.encode())]
        if self.how in {"json", "events"}:
            headers += [(b"content-length", b"500")] if self.how == "json" else []
        if self.how == "packed":
            headers += [(b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b": hello\n\n" if self.how == "events" else b'{"jsonrpc"'
        if self.how == "huge":
            body = b'"' + b"x" * 9_000_000 + b'"'
        await send({"type": "http.response.body", "body": body, "more_body": self.how == "json"})


@pytest.mark.parametrize(
    ("how", "outcome", "text"),
    [
        ("json", "unknown", "brought no answer that can be read"),
        ("events", "unknown", "ended during the call"),
        ("gateway", "unknown", "HTTP 502"),
        ("packed", "unknown", "compressed"),
        ("huge", "error", "answered with more than 8,388,608 bytes"),
        ("busy", "error", "answered HTTP 429 Too Many Requests; nothing ran"),
    ],
)
async def test_a_call_that_breaks_off_is_unknown_and_one_that_was_refused_is_not(
    how, outcome, text
):
    office = Office()
    breaks = Breaks(office, how)
    async with serve(breaks, free_port()) as url:
        source = McpSource([McpServer(name="office", url=url, trust_annotations=True)])
        async with source.serving():
            pay, put, add = [await definition(source, "office", n) for n in ("pay", "put", "add")]
            breaks.broken = True
            part = await call(source, pay)
            assert (part.outcome, text in part.text) == (outcome, True), part.text
            if outcome == "unknown":
                with pytest.raises(ToolRetry):
                    await call(source, put, '{"text": "a"}', last=False)
            breaks.broken = False
            assert (await call(source, add, '{"a":1,"b":1}')).text == "2", "it goes on afterwards"


async def test_two_workers_of_one_process_share_connections_until_the_last_one_leaves():
    async with serve(app(Office()), free_port()) as url:
        source = McpSource([McpServer(name="office", url=url)])
        async with source.serving():
            async with source.serving():
                await source.listing("office")
                connection = source._pool._open["office"]
            assert connection.ended is None
        assert connection.ended == "was closed"
        assert connection.task.done()


async def test_secrets_are_hidden_in_results():
    async with office_at() as (_, source):
        pay = await definition(source, "office", "pay")
        secrets = Secrets((), {"TOKEN": "very-secret-value"}, {"TOKEN"})
        part = await call(source, pay, '{"token": "very-secret-value"}', secrets=secrets)
    assert part.text == "paid 1 [secret:TOKEN]"
