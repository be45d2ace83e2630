"""The parts of the benches: a provider that the real client believes, systems that do their job."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from bench import systems, work
from bench.outcome import Bar, Report
from bench.systems.executus_records import fresh
from executus.request import RunRequest
from executus.stores.sql_audit import SqlAudit

ROOT = Path(__file__).parents[2]
TOOL = {
    "type": "function",
    "name": work.TOOL_NAME,
    "parameters": {"type": "object", "properties": {}},
}


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[str]:
    """URL of a provider process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.provider", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()
    await process.communicate()


def made(call_id: str) -> list[dict[str, str]]:
    """A conversation whose last call was `call_id`."""
    call = {"type": "function_call", "call_id": call_id, "name": work.TOOL_NAME, "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": call_id, "output": work.page_text(1, 50)}
    return [{"role": "user", "content": work.prompt(2, 70)}, call, result]


async def test_the_provider_asks_for_the_next_page_and_then_answers_in_both_forms(provider: str):
    async with AsyncOpenAI(api_key="none", base_url=provider, max_retries=0) as client:
        reply = await client.responses.create(model="m", input=made("call_1"), tools=[TOOL])
        assert reply.output[0].arguments == '{"number":2,"size":70}'
        assert reply.output[0].call_id == "call_2"
        reply = await client.responses.create(model="m", input=made("call_2"), tools=[TOOL])
        assert reply.output_text == work.ANSWER
        events = await client.responses.create(
            model="m", input=made("call_1"), tools=[TOOL], stream=True
        )
        kinds = [event.type async for event in events]
        assert kinds[-1] == "response.completed"


async def test_the_provider_speaks_chat_completions_too(provider: str):
    async with AsyncOpenAI(api_key="none", base_url=provider, max_retries=0) as client:
        chat = [{"role": "user", "content": work.prompt(1, 70)}]
        tools = [{"type": "function", "function": {"name": work.TOOL_NAME}}]
        reply = await client.chat.completions.create(model="m", messages=chat, tools=tools)
        assert reply.choices[0].message.tool_calls[0].id == "call_1"
        reply = await client.chat.completions.create(model="m", messages=chat)
        assert reply.choices[0].message.content == work.ANSWER


OURS = [name for name in systems.available() if name not in systems.RIVALS]


@pytest.mark.parametrize("name", [*OURS, systems.RECORDS])
async def test_a_system_reads_all_pages_and_answers(
    name: str,
    provider: str,
    server: WorkflowEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("BENCH_DATABASE", f"sqlite:///{tmp_path}/records.db")
    records = await fresh(f"sqlite:///{tmp_path}/records.db")
    made = systems.setup(name, provider)
    config = server.client.config()
    config["plugins"] = list(made.plugins)
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    kind, argument = systems.request(name, 3, 500)
    async with Worker(
        Client(**config),
        task_queue=queue,
        workflows=list(made.workflows),
        activities=list(made.activities),
        build_id="bench",
        workflow_runner=systems.runner(),
    ):
        result = await server.client.execute_workflow(kind, argument, id=queue, task_queue=queue)
    assert made.close is not None
    await made.close()
    assert work.ANSWER in str(result)
    history = await server.client.get_workflow_handle(queue).fetch_history()
    results = sum(work.page_text(2, 500)[:90] in str(event) for event in history.events)
    assert results == 1, "a page stands in history once"
    recorded = [run.status for run in await SqlAudit(records).runs()]
    assert recorded == (["ok"] if name == systems.RECORDS else [])
    await records.close()


def test_a_request_of_a_run_is_valid():
    _, argument = systems.request(systems.EXECUTUS, 10, 100)
    assert RunRequest.model_validate(argument).invocation.prompt == work.prompt(10, 100)


def test_pages_have_their_size_and_differ():
    pages = {work.page_text(number, 2_000) for number in range(200)}
    assert len(pages) == 200
    assert {len(page) for page in pages} == {2_000}


@pytest.mark.parametrize(
    ("bar", "ok"),
    [
        (Bar.most("x", [3.0, 1.0, 2.0], 2.0), True),
        (Bar.most("x", [3.0], 2.0), False),
        (Bar.least("x", 2.0, 2.0), True),
        (Bar.most("x", [], 2.0), None),
        (Bar.done("x", ["completed", "stuck"]), False),
    ],
)
def test_a_bar_is_met_missed_or_not_measured(bar: Bar, ok: bool | None):
    assert bar.ok is ok
    assert Report("b", [], [bar]).ok is (ok is not False)
