"""The floor's activities: one openai client, the conversation kept in the worker, asked for by
query on a miss; the messages go around the SDK's recursive transform by `extra_body`."""

import json
from collections import OrderedDict
from typing import Any

from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseOutputItem, ResponseOutputMessage
from temporalio import activity

from bench.systems import Setup
from bench.systems.floor_workflow import FloorRun
from bench.work import MODEL, SYSTEM_PROMPT, TOOL_DOC, TOOL_NAME, page_text

Item = dict[str, Any]
KEPT_RUNS = 500
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": TOOL_NAME,
        "description": TOOL_DOC,
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "integer"}, "size": {"type": "integer"}},
            "required": ["number", "size"],
        },
    }
]


class Floor:
    def __init__(self, url: str) -> None:
        self._client = AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
        self._runs: OrderedDict[str, list[Item]] = OrderedDict()
        self._results: dict[tuple[str, str], Item] = {}

    async def close(self) -> None:
        await self._client.close()

    @activity.defn(name="floor.model")
    async def model(self, step: Item) -> list[Item]:
        run = activity.info().workflow_run_id or ""
        items = await self._load(run, step)
        response: Response = await self._client.responses.create(
            model=MODEL,
            instructions=SYSTEM_PROMPT,
            tools=TOOLS,
            store=False,
            extra_body={"input": items},
        )
        reply = [_item(item) for item in response.output]
        items += reply
        return reply

    async def _load(self, run: str, step: Item) -> list[Item]:
        items = self._runs.get(run)
        if items is None and step["prompt"] is not None:
            items = [{"role": "user", "content": step["prompt"]}]
        results = [self._results.pop((run, call), None) for call in step["new"]]
        if items is None or None in results or len(items) + len(results) != step["count"]:
            info = activity.info()
            handle = activity.client().get_workflow_handle(info.workflow_id or "", run_id=run)
            items = list(await handle.query(FloorRun.items))
        else:
            items += [item for item in results if item is not None]
        self._runs[run] = items
        while len(self._runs) > KEPT_RUNS:
            self._runs.popitem(last=False)
        return items

    @activity.defn(name="floor.tool")
    async def tool(self, call: Item) -> str:
        text = page_text(**json.loads(call["arguments"]))
        call_id = call["call_id"]
        item = {"type": "function_call_output", "call_id": call_id, "output": text}
        self._results[activity.info().workflow_run_id or "", call_id] = item
        return text


def _item(item: ResponseOutputItem) -> Item:
    if item.type == "function_call":
        return {
            "type": "function_call",
            "call_id": item.call_id,
            "name": item.name,
            "arguments": item.arguments,
        }
    assert isinstance(item, ResponseOutputMessage)
    text = "".join(part.text for part in item.content if part.type == "output_text")
    return {"type": "message", "role": "assistant", "content": text}


def setup(_name: str, url: str) -> Setup:
    floor = Floor(url)
    return Setup(workflows=[FloorRun], activities=[floor.model, floor.tool], close=floor.close)
