"""Servers that are programs: what they get of the worker, how they die, and with whom."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from executus.errors import ToolError, ToolRetry
from executus.mcp import McpServer
from executus.mcp.failures import McpDown
from executus.mcp.source import McpSource
from executus.mcp.stdio import _oversized
from executus.tools.context import Secrets

from .calling import call, definition
from .conftest import alive

ROOT = Path(__file__).parent.parent.parent


async def gone(pid: int) -> None:
    while alive(pid):
        await asyncio.sleep(0.01)


async def test_a_call_goes_through_and_the_program_leaves_with_the_worker(bare, journal):
    source = McpSource([bare()])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        results = await asyncio.gather(
            *(call(source, echo, json.dumps({"text": f"t{n}"})) for n in range(20))
        )
        assert [r.text for r in results] == [f"t{n}" for n in range(20)]
        assert len(journal.pids) == 1, "one connection for all"
        assert alive(journal.pids[0])
    assert not alive(journal.pids[0])
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("mcp ")]


async def test_a_server_made_with_the_package_speaks_stdio_to_the_end(journal, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leaked-leaked")
    args = ("-m", "tests.mcp.office", str(journal.path))
    server = McpServer(
        name="office", command=sys.executable, args=args, cwd=ROOT, connect_seconds=40
    )
    source = McpSource([server])
    async with source.serving():
        tools = {n: await definition(source, "office", n) for n in ("add", "slow", "crash")}
        assert (await call(source, tools["add"], '{"a": 1, "b": 2}')).text == "3"
        seen = json.loads(
            (await call(source, await definition(source, "office", "variables"))).text
        )
        assert seen.keys() <= {"LC_CTYPE"}
        task = asyncio.create_task(call(source, tools["slow"]))
        while "slow begins" not in journal.lines:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while "slow cancelled" not in journal.lines:
            await asyncio.sleep(0.01)
        part = await call(source, tools["crash"])
        assert (part.outcome, journal.lines[-1]) == ("unknown", "crash")


async def test_nothing_of_the_workers_environment_reaches_the_program(bare, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leaked-leaked")
    source = McpSource([bare()])
    async with source.serving():
        seen = json.loads((await call(source, await definition(source, "bare", "env"))).text)
    # Python itself sets this one in the child when there is no locale.
    assert seen.keys() <= {"LC_CTYPE"}


async def test_what_the_host_names_does_and_secrets_do_not_come_back(bare, monkeypatch):
    monkeypatch.setenv("BARE_TOKEN", "very-secret-value")
    monkeypatch.setenv("LANG", "C")
    source = McpSource(
        [bare(inherit=("LANG", "NOT_SET"), env={"AUTH": "Bearer ${BARE_TOKEN}", "MODE": "x"})]
    )
    async with source.serving():
        env = await definition(source, "bare", "env")
        secrets = Secrets((), os.environ, source.variables)
        seen = json.loads((await call(source, env, secrets=secrets)).text)
    del seen["LC_CTYPE"]
    assert seen == {"LANG": "C", "AUTH": "Bearer [secret:BARE_TOKEN]", "MODE": "x"}


async def test_a_secret_that_is_not_set_is_named_and_nothing_starts(bare, journal):
    source = McpSource([bare(env={"A": "${BARE_TOKEN}"})], environment={})
    async with source.serving():
        with pytest.raises(McpDown, match=r"MCP server `bare` .*'BARE_TOKEN' is not set"):
            await source.listing("bare")
    assert journal.pids == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-program", "no program `no-such-program` on the worker's PATH"),
        ("/no/such/program", "exited with code 1"),
    ],
)
async def test_a_program_that_is_not_there_is_named(command, why):
    source = McpSource([McpServer(name="x", command=command)])
    async with source.serving():
        with pytest.raises(McpDown, match=why):
            await source.listing("x")


async def test_a_program_that_dies_at_start_is_told_and_its_last_words_are_logged_without_secrets(
    bare, caplog
):
    environment = {"BARE_TOKEN": "very-secret-value"}
    source = McpSource([bare("die", env={"BARE_TOKEN": "${BARE_TOKEN}"})], environment)
    async with source.serving():
        with pytest.raises(McpDown) as caught:
            await source.listing("bare")
    assert str(caught.value) == "MCP server `bare` exited with code 1"
    assert "cannot start: the token is [secret:BARE_TOKEN]" in caplog.text
    assert "very-secret-value" not in caplog.text


async def test_a_program_that_does_not_answer_is_given_up(bare, journal, monkeypatch):
    monkeypatch.setattr("executus.mcp.stdio.GRACE", 0.1)
    source = McpSource([bare("mute", connect_seconds=0.5)])
    async with source.serving():
        with pytest.raises(McpDown, match=r"did not answer within 0\.5 s"):
            await source.listing("bare")
    await gone(journal.pids[0])


async def test_whoever_waits_for_a_slow_start_may_leave_and_come_back(bare, journal, monkeypatch):
    monkeypatch.setattr("executus.mcp.stdio.GRACE", 0.1)
    source = McpSource([bare("mute", connect_seconds=1)])
    async with source.serving():
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await source.listing("bare")
        assert len(journal.pids) <= 1, "the second one joined the first start"
        with pytest.raises(McpDown):
            await source.listing("bare")
        assert len(journal.pids) == 1


@pytest.mark.parametrize(
    ("effect", "outcome"), [("once", "unknown"), ("idempotent", "unknown"), ("pure", "error")]
)
async def test_a_crash_in_mid_call_is_unknown_unless_nothing_can_have_happened(
    bare, journal, effect, outcome
):
    source = McpSource([bare("crash", effects={"echo": effect})])
    async with source.serving():
        part = await call(source, await definition(source, "bare", "echo"))
    assert part.outcome == outcome
    assert part.text.startswith("MCP server `bare` ended during the call")
    assert ("verify before trying it again" in part.text) == (outcome == "unknown")
    assert journal.lines.count("echo {}") == 1


async def test_after_a_crash_the_next_attempt_has_a_new_process(bare, journal):
    source = McpSource([bare("crash-once", effects={"echo": "idempotent"})])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        with pytest.raises(ToolRetry):
            await call(source, echo, last=False)
        part = await call(source, echo, '{"text": "again"}')
        assert (part.outcome, part.text) == ("ok", "again")
        assert len(set(journal.pids)) == 2


async def test_a_process_that_died_between_calls_is_replaced_before_the_call(bare, journal):
    source = McpSource([bare()])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        connection = source._pool._open["bare"]
        os.kill(journal.pids[0], signal.SIGKILL)
        await connection.task
        assert connection.ended == "killed by signal 9"
        assert (await call(source, echo, '{"text": "b"}')).text == "b"
        assert len(journal.pids) == 2


async def test_a_tool_whose_schema_changed_is_not_run(bare, journal):
    source = McpSource([bare("changing")])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        assert (await call(source, echo, '{"text": "b"}')).text == "b"
        part = await call(source, echo, '{"text": "c"}')
    assert part.outcome == "error"
    assert part.text == (
        "`bare__echo` is not the one this run was granted (its schema changed); not run"
    )
    assert journal.lines.count('echo {"text": "c"}') == 0


@pytest.mark.parametrize("way", ["time-out", "cancel"])
async def test_a_listing_that_fails_puts_no_old_one_in_force(bare, journal, way):
    source = McpSource([bare("changing-silently", connect_seconds=3)])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        assert (await call(source, echo, '{"text": "b"}')).text == "b"
        if way == "cancel":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await call(source, echo, '{"text": "c"}')
        else:
            part = await call(source, echo, '{"text": "c"}')
            assert "did not list its tools within 3 s" in part.text
        part = await call(source, echo, '{"text": "d"}')
    assert part.text == (
        "`bare__echo` is not the one this run was granted (its schema changed); not run"
    )
    assert [line for line in journal.lines if line.startswith("echo")] == ['echo {"text": "b"}']


async def test_a_secret_that_a_server_quotes_when_it_is_to_list_its_tools_is_hidden(bare):
    environment = {"BARE_TOKEN": "very-secret-value"}
    source = McpSource([bare("quoting", env={"BARE_TOKEN": "${BARE_TOKEN}"})], environment)
    async with source.serving():
        with pytest.raises(ToolError, match=r"refused \[secret:BARE_TOKEN\]"):
            await source.listing("bare")


async def test_an_answer_of_nine_megabytes_is_dropped_and_the_connection_lives(bare, journal):
    source = McpSource([bare("huge")])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        for _ in range(2):
            part = await call(source, echo)
            assert (part.outcome, part.bytes < 300) == ("error", True)
            assert "answered with more than 8,388,608 bytes" in part.text
        assert len(journal.pids) == 1


async def test_an_oversized_answer_whose_request_stands_last_is_no_other_calls(bare, journal):
    source = McpSource([bare("huge-last")])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        held = asyncio.create_task(call(source, echo, '{"text": "first"}'))
        while 'echo {"text": "first"}' not in journal.lines:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            part = await call(source, echo, '{"text": "second"}')
        assert "answered with more than 8,388,608 bytes" in part.text
        assert ((await held).outcome, (await held).text) == ("ok", "held")


@pytest.mark.parametrize(
    ("head", "tail", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":[{"id":8', b'"id":8}]}}\n', 7),
        (b'{ "id" : 7, "jsonrpc": "2.0", "error": {"id": 8', b'"id":8}}\n', 7),
        (b'{"jsonrpc":"2.0","result":{"a":{"id":8', b'}},"id":7}\n', 7),
        (b'{"result":{"id":8', b'"id":8}, "id": 7, "jsonrpc": "2.0" }\r\n', 7),
        (b'{"result":{"id":8', b'"text":"x","id":8}}\n', None),
        (b'{"result":{"id":8', b'a string with ,\\"id\\":8}"}}\n', None),
        (b'{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{', b"}}\n", None),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"id":8', b"}}\n", None),
        (b'{"result":{"id":8', b"", None),
    ],
)
def test_only_an_id_of_the_message_itself_says_whose_an_oversized_answer_is(head, tail, request_id):
    made = _oversized(head, tail)
    assert (json.loads(made)["id"] if made else None) == request_id


async def test_what_is_no_result_is_a_failed_call(bare):
    source = McpSource([bare("no-result")])
    async with source.serving():
        part = await call(source, await definition(source, "bare", "echo"))
    assert part.outcome == "unknown"
    assert "answered with what is no result" in part.text


async def test_noise_on_stdout_and_endless_lists_do_no_harm(bare):
    source = McpSource([bare("garbage")])
    async with source.serving():
        assert (await call(source, await definition(source, "bare", "echo"))).outcome == "ok"
    source = McpSource([bare("pages")])
    async with source.serving():
        listing = await source.listing("bare")
    assert set(listing.tools) == {"echo", "env"}


async def test_an_idle_program_is_ended_and_started_again_at_need(bare, journal):
    source = McpSource([bare(idle_seconds=0.05)])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        await gone(journal.pids[0])
        assert (await call(source, echo, '{"text": "b"}')).text == "b"
        assert len(journal.pids) == 2


async def test_what_a_program_started_and_left_behind_ends_with_it(bare, journal):
    source = McpSource([bare("helper")])
    async with source.serving():
        await source.listing("bare")
        (helper,) = [int(line.split()[1]) for line in journal.lines if line.startswith("helper")]
        assert alive(helper)
    await gone(helper)


async def test_a_program_that_ignores_every_wish_is_killed(bare, journal, monkeypatch):
    monkeypatch.setattr("executus.mcp.stdio.GRACE", 0.1)
    source = McpSource([bare("stubborn")])
    async with source.serving():
        await source.listing("bare")
    assert not alive(journal.pids[0])


async def test_a_call_that_blocks_is_cut_off_and_ends_with_the_worker(bare, journal, monkeypatch):
    monkeypatch.setattr("executus.mcp.stdio.GRACE", 0.1)
    source = McpSource([bare("sleep")])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        task = asyncio.create_task(call(source, echo))
        while "echo {}" not in journal.lines:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not alive(journal.pids[0])


async def test_the_program_dies_with_a_worker_that_was_killed(bare, journal):
    server = bare("sleep")
    code = f"""
import asyncio
from executus.mcp import McpServer
from executus.mcp.source import McpSource
from tests.mcp.calling import call, definition

async def main():
    source = McpSource([McpServer(name="bare", command={server.command!r}, args={server.args!r})])
    async with source.serving():
        await call(source, await definition(source, "bare", "echo"))

asyncio.run(main())
"""
    worker = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", code], cwd=ROOT)
    try:
        while "echo {}" not in journal.lines:
            assert worker.poll() is None
            await asyncio.sleep(0.02)
    finally:
        worker.kill()
        worker.wait()
    await gone(journal.pids[0])


async def test_what_the_package_logs_of_a_server_holds_no_traceback_and_no_secret(bare, caplog):
    source = McpSource([bare(env={"A": "${TOKEN}"})], environment={"TOKEN": "very-secret-value"})
    logger = logging.getLogger("mcp.shared.jsonrpc_dispatcher")
    async with source.serving():
        await source.listing("bare")
        error = ValueError("very-secret-value")
        logger.error("it said %s", "very-secret-value", exc_info=error)
    assert caplog.records[-1].getMessage() == "it said [secret:TOKEN]"
    assert "very-secret-value" not in caplog.text
    assert logger.filters == []


async def test_a_program_that_hangs_is_replaced_after_twice_its_time(bare, journal, monkeypatch):
    monkeypatch.setattr("executus.mcp.stdio.GRACE", 0.1)
    monkeypatch.setattr("executus.mcp.connection.STUCK", 1.5)
    server = bare(timeout=1.0, connect_seconds=5.0, listing_seconds=86_400)
    source = McpSource([server])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        os.kill(journal.pids[0], signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2):  # as the activity's own time-out does
                await call(source, echo)
        lost = await call(source, echo)  # asks for a sign of life, though the list is not old
        assert lost.text.endswith("did not list its tools within 5 s; nothing ran")
        assert (await call(source, echo, '{"text": "back"}')).text == "back"
    assert len(journal.pids) == 2


async def test_a_program_that_is_only_busy_is_left_alone(bare, journal):
    """It does one thing at a time: a long call, and then all that was asked meanwhile."""
    server = bare(timeout=30.0, connect_seconds=5.0, listing_seconds=0)
    source = McpSource([server])
    async with source.serving():
        echo = await definition(source, "bare", "echo")
        os.kill(journal.pids[0], signal.SIGSTOP)
        assert "did not list its tools" in (await call(source, echo)).text
        os.kill(journal.pids[0], signal.SIGCONT)
        assert (await call(source, echo, '{"text": "same"}')).text == "same"
    assert len(journal.pids) == 1
