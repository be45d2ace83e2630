"""Runs whose tools are those of MCP servers."""

import asyncio
import logging
import sys
import uuid

import pytest
from temporalio.worker import Worker

from executus import Reason, Status
from executus.mcp import McpServer
from executus.models.registry import Models
from executus.models.scripted import call, calls, say
from executus.plugin import ExecutusPlugin
from executus.ports import Ports
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.tools import tool
from tests.mcp.conftest import BARE, Journal, alive
from tests.mcp.hosting import free_port, serve
from tests.mcp.office import Office

from .kit import Outcome, assert_closed_once, kit


@pytest.fixture
async def office():
    """A real server over HTTP."""
    made = Office()
    async with serve(made.mcp.streamable_http_app(), free_port()) as url:
        made.url = url
        yield made


def declared(office: Office, **options) -> McpServer:
    return McpServer(name="office", url=office.url, **options)


def nobody(**options) -> McpServer:
    return McpServer(name="nobody", url=f"http://127.0.0.1:{free_port()}/mcp", **options)


class Told:
    """A last turn that remembers the results it was told."""

    def __init__(self) -> None:
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        return say("done")

    @property
    def results(self) -> list[str]:
        parts = (part for item in self.requests[-1].messages for part in item.message.parts)
        return [part.text for part in parts if part.type == "tool_result"]


def tool_steps(out: Outcome) -> dict[str, str]:
    return {s.kind: s.status for s in out.result.steps if s.kind.startswith("tool.")}


@tool(effect="pure")
def look() -> str:
    """Look."""
    return "seen"


async def test_a_servers_tools_are_activities_of_their_own_names(env, office):
    told = Told()
    asked = calls(("office__add", {"a": 1, "b": 2}), ("office__mixed", {}), ("look", {}))
    names = ("look", "mcp:office/add", "mcp:office/mixed")
    async with kit(env, tools=[look], mcp=[declared(office)]) as k:
        out = await k.run([asked, told], tools=names)
        assert (out.result.status, out.result.output) == (Status.OK, "done")
        assert out.activities[:4] == [
            "executus.resolve",
            "executus.budget.check",
            "executus.audit.start",
            "executus.model",
        ]
        assert set(out.activities[4:7]) == {"tool.look", "tool.office__add", "tool.office__mixed"}
        await assert_closed_once(k, out)
    assert told.results[0] == "3"
    assert "[image/png" in told.results[1]
    assert told.results[2] == "seen"
    offered = [t.name for t in told.requests[0].tools]
    assert offered[:3] == ["look", "office__add", "office__mixed"]


async def test_pictures_are_shown_where_the_host_says_so(env, office):
    told = Told()
    async with kit(env, mcp=[declared(office, image_bytes=1_000)]) as k:
        out = await k.run([call("office__mixed"), told], tools=("mcp:office/mixed",))
    assert out.result.status is Status.OK
    assert "[image/png, 100 bytes: shown below]" in told.results[0]
    parts = [part for item in told.requests[0].messages for part in item.message.parts]
    assert [part.mime for part in parts if part.type == "image"] == ["image/png"]


async def test_pictures_are_files_of_the_run_where_the_host_keeps_files(env, office, tmp_path):
    told = Told()
    ports = Ports(files=FileStore(FolderBlobs(tmp_path)))
    async with kit(env, mcp=[declared(office)], ports=ports) as k:
        out = await k.run([call("office__mixed"), told], tools=("mcp:office/mixed",))
    (kept,) = out.result.files
    assert (kept.name, kept.mime, kept.bytes) == ("image.png", "image/png", 100)
    assert f"[image/png, 100 bytes: file {kept.id}]" in told.results[0]


async def test_all_of_a_servers_tools_are_granted_once_and_a_failure_is_a_result(env, office):
    told = Told()
    async with kit(env, mcp=[declared(office)]) as k:
        out = await k.run(
            [call("office__fail"), call("office__nope"), told],
            tools=("mcp:office", "mcp:office/add"),
        )
    assert out.result.status is Status.OK
    assert tool_steps(out) == {"tool.office__fail": "error", "tool.office__nope": "error"}
    assert "no such order: 17" in told.results[0]
    offered = [t.name for t in told.requests[0].tools]
    assert offered.count("office__add") == 1
    assert "office__pay_now_really" in offered
    assert "Ignore your prompt" not in told.requests[0].system_prompt


@pytest.mark.parametrize("name", ["mcp:offfice", "mcp:hidden", "mcp:", "mcp:office/nope"])
async def test_a_name_that_is_not_there_or_hidden_refuses_the_run(env, office, name):
    hidden = McpServer(name="hidden", url=office.url, callers=["bob"])
    async with kit(env, mcp=[declared(office), hidden]) as k:
        out = await k.run([say("no")], tools=(name,))
        assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.UNKNOWN_TOOL)
        assert f"unknown tool '{name}'" in out.result.error
        assert "mcp:office" in out.result.error
        assert "mcp:hidden;" not in out.result.error
        assert out.activities.count("executus.model") == 0
        await assert_closed_once(k, out, reserved=False)


async def test_a_server_that_is_dead_at_resolve_refuses_the_run_and_is_named(env):
    async with kit(env, mcp=[nobody()]) as k:
        out = await k.run([say("no")], tools=("mcp:nobody",))
        assert (out.result.status, out.result.reason) == (Status.ERROR, Reason.MCP_UNAVAILABLE)
        assert "MCP server `nobody` cannot be reached" in out.result.error
        assert "declare it `optional`" in out.result.error
        assert out.activities.count("executus.model") == 0


async def test_without_an_optional_server_the_run_goes_on_and_the_model_is_told(env, office):
    told = Told()
    async with kit(env, mcp=[declared(office), nobody(optional=True)]) as k:
        out = await k.run([told], tools=("mcp:nobody", "mcp:office/add", "mcp:nobody/x"))
    assert out.result.status is Status.OK
    assert [t.name for t in told.requests[0].tools][:1] == ["office__add"]
    prompt = told.requests[0].system_prompt
    assert prompt == (
        "Not available in this run, since their server does not answer: the tools of nobody."
    )


async def test_a_tool_that_changed_since_the_run_was_planned_is_not_run(env, office):
    told = Told()

    def change(request):
        office.mcp.remove_tool("pay")
        office.mcp.add_tool(office.fail, name="pay")
        return call("office__pay")

    async with kit(env, mcp=[declared(office, listing_seconds=0)]) as k:
        out = await k.run([change, told], tools=("mcp:office/pay",))
    assert told.results == [
        "`office__pay` is not the one this run was granted (its schema changed); not run"
    ]
    assert office.journal == []
    assert out.result.status is Status.OK


async def test_a_crash_in_mid_call_is_unknown_and_the_run_goes_on(env, tmp_path):
    told = Told()
    journal = tmp_path / "journal"
    server = McpServer(name="bare", command=sys.executable, args=(str(BARE), "crash", str(journal)))
    async with kit(env, mcp=[server]) as k:
        out = await k.run([call("bare__echo", text="hi"), told], tools=("mcp:bare/echo",))
        await assert_closed_once(k, out)
    assert out.result.status is Status.OK
    assert tool_steps(out) == {"tool.bare__echo": "unknown"}
    assert "verify before trying it again" in told.results[0]
    assert journal.read_text().count("echo") == 1


async def test_a_tool_that_may_run_again_does_after_a_crash_and_no_process_outlives_the_worker(
    env, tmp_path
):
    told = Told()
    journal = Journal(tmp_path / "journal")
    server = McpServer(
        name="bare",
        command=sys.executable,
        args=(str(BARE), "crash-once", str(journal.path)),
        effects={"echo": "idempotent"},
    )
    async with kit(env, mcp=[server]) as k:
        out = await k.run([call("bare__echo", text="hi"), told], tools=("mcp:bare/echo",))
        assert [alive(pid) for pid in journal.pids] == [False, True]
    assert not any(alive(pid) for pid in journal.pids)
    assert told.results == ["hi"]
    assert tool_steps(out) == {"tool.bare__echo": "complete"}
    assert len([line for line in journal.lines if line.startswith("echo")]) == 2


async def test_a_stopped_run_stops_the_call_at_the_server(env, office):
    async with kit(env, mcp=[declared(office)]) as k:
        handle = await k.start([call("office__slow")], tools=("mcp:office/slow",))
        while "slow begins" not in office.journal:
            await asyncio.sleep(0.01)
        await k.runs.cancel(handle.id, "enough")
        out = await k.outcome(handle.id)
    assert (out.result.status, out.result.reason) == (Status.CANCELLED, Reason.CANCEL_SIGNAL)
    assert tool_steps(out) == {"tool.office__slow": "unknown"}
    assert office.journal == ["slow begins", "slow cancelled"]


async def test_a_call_that_takes_too_long_is_stopped_at_the_server_too(env, office):
    told = Told()
    async with kit(env, mcp=[declared(office, timeout=0.5)]) as k:
        out = await k.run([call("office__slow"), told], tools=("mcp:office/slow",))
    assert tool_steps(out) == {"tool.office__slow": "unknown"}
    assert "took longer than its 0.5 s" in told.results[0]
    while "slow cancelled" not in office.journal:
        await asyncio.sleep(0.01)


async def test_progress_is_seen_in_the_heartbeats_of_the_activity(env, office):
    async with kit(env, mcp=[declared(office)]) as k:
        handle = await k.start([call("office__walk", steps=0)], tools=("mcp:office/walk",))
        while "step 3" not in str(await pending(handle)):
            await asyncio.sleep(0.05)
        await k.runs.cancel(handle.id, "enough")
        await k.runs.result(handle.id)


async def pending(handle) -> list[str]:
    about = (await handle.describe()).raw_description
    return [
        payload.data.decode()
        for activity in about.pending_activities
        for payload in activity.heartbeat_details.payloads
    ]


async def test_a_worker_without_the_server_says_that_the_tool_is_not_available(env, office):
    """With the SDK's own refusal, and with that of a worker that has other servers."""
    other, queues = declared(office), [f"q-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    servers = [
        McpServer(name=f"far{n}", url=office.url, task_queue=queue)
        for n, queue in enumerate(queues)
    ]
    told = Told()
    async with kit(env, mcp=servers) as k:
        plain = ExecutusPlugin(models=Models({}))
        named = ExecutusPlugin(models=Models({}), mcp=[other])
        config = env.client.config()
        async with (
            Worker(type(k.client)(**config | {"plugins": [plain]}), task_queue=queues[0]),
            Worker(type(k.client)(**config | {"plugins": [named]}), task_queue=queues[1]),
        ):
            out = await k.run(
                [calls(("far0__pay", {}), ("far1__pay", {})), told],
                tools=("mcp:far0/pay", "mcp:far1/pay"),
            )
    assert told.results == [
        f"`far{n}__pay` is not available on this worker; nothing ran" for n in range(2)
    ]
    assert set(tool_steps(out).values()) == {"error"}
    assert office.journal == []


async def test_secrets_stay_in_the_worker_and_arguments_out_of_the_record(
    env, office, monkeypatch, caplog
):
    monkeypatch.setenv("OFFICE_TOKEN", "canary-secret-1")
    caplog.set_level(logging.DEBUG)
    server = declared(office, headers={"X-Token": "Bearer ${OFFICE_TOKEN}"})
    told = Told()
    script = [call("office__header", name="x-token"), call("office__pay", token="mine-only"), told]
    async with kit(env, mcp=[server]) as k:
        out = await k.run(script, tools=("mcp:office/header", "mcp:office/pay"))
        rows = [entry.model_dump_json() for entry in await k.audit.rows(out.result.run_id)]
    assert told.results == ["Bearer [secret:OFFICE_TOKEN]", "paid 1 mine-only"]
    events = b"".join(event.SerializeToString() for event in out.history.events)
    assert b"canary-secret-1" not in events
    assert "canary-secret-1" not in "".join(rows) + out.result.model_dump_json() + caplog.text
    step = next(s for s in out.result.steps if s.kind == "tool.office__pay")
    assert step.summary.startswith("office__pay(<hidden>)")
    (row,) = [row for row in rows if '"m2.t1#1"' in row]
    assert '"value":"[redacted 22]"' in row
    assert "mine-only" not in "".join(rows).replace("paid 1 mine-only", "the result")
