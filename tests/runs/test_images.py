"""Images in the opening and from tools, on real runs (seed: a35c176b42, AttachImages)."""

import asyncio

from executus import Status
from executus.message import ImagePart, TextPart
from executus.models.scripted import call, calls, say
from executus.tools import ToolContext, tool

from .kit import assert_closed_once, kit

PNG = b"\x89PNG\r\n\x1a\n"


@tool(effect="pure", image_bytes=600_000)
async def photo(ctx: ToolContext, size: int) -> str:
    """Take a photo."""
    ctx.attach_image(PNG + bytes(size - len(PNG)), "image/png")
    return f"photo of {size}"


@tool(effect="pure")
async def plain() -> str:
    """Say something."""
    return "x" * 60_000


@tool(effect="pure", image_bytes=1_000)
async def broken(ctx: ToolContext) -> str:
    """Attach, then fail."""
    ctx.attach_image(PNG)
    raise ValueError("no")


def roles(request) -> list[str]:
    return [wire.message.role for wire in request.messages]


@tool(effect="pure", image_bytes=600_000)
async def develop() -> str:
    """Take long over it."""
    await asyncio.sleep(600)
    return "never"


async def test_attached_images_are_seen_as_a_user_message_before_the_next_model_call(env):
    seen = []

    def look(request):
        seen.append([wire.message for wire in request.messages])
        if len(seen) == 1:
            return calls(("photo", {"size": 20}), ("plain", {}), ("photo", {"size": 30_000}))
        return say("ok")

    async with kit(env, tools=[photo, plain]) as k:
        out = await k.run(look, tools=("photo", "plain"))
        assert out.result.status is Status.OK, out.result.error
        photos = [step for step in out.result.steps if step.kind == "tool.photo"]
        assert photos[0].summary == "photo(size=20) → ok, 11 bytes, 1 image"
    after = seen[1][2:]
    assert [m.role for m in after] == ["tool", "tool", "tool", "user", "user"]
    for message, call_id, size in zip(
        after[3:], ("call_0_0", "call_0_2"), (20, 30_000), strict=True
    ):
        text, image = message.parts
        assert isinstance(text, TextPart)
        assert text.text == f"[executus] Attached by photo, call {call_id}:"
        assert isinstance(image, ImagePart)
        assert (image.mime, len(image.data)) == ("image/png", size)


async def test_each_image_is_seen_once_and_a_failed_call_shows_none(env):
    seen = []

    def look(request):
        seen.append(roles(request).count("user"))
        return [call("photo", size=20), call("broken"), call("plain"), say("ok")][len(seen) - 1]

    async with kit(env, tools=[photo, plain, broken]) as k:
        out = await k.run(look, tools=("photo", "plain", "broken"))
        assert out.result.status is Status.OK
    assert seen == [1, 2, 2, 2]


async def test_many_large_images_at_once_stay_within_one_workflow_task(env):
    """Five calls of 800 KB each: together they would pass what Temporal takes."""
    async with kit(env, tools=[photo]) as k:
        many = calls(*(("photo", {"size": 599_000 + n}) for n in range(5)))
        out = await k.run([many, say("ok")], tools=("photo",), limits={"compaction_ratio": 0})
        assert out.result.status is Status.OK, out.result.error
        running = most = 0
        for event in out.history.events:
            running += event.HasField("activity_task_scheduled_event_attributes")
            running -= event.HasField("activity_task_completed_event_attributes")
            most = max(most, running)
        assert most == 2
        sizes = [
            sum(len(p.data) for p in event.activity_task_completed_event_attributes.result.payloads)
            for event in out.history.events
            if event.HasField("activity_task_completed_event_attributes")
        ]
        assert max(sizes) < 1_000_000


async def test_a_stop_while_calls_wait_for_room_for_their_images_leaves_none_running(env):
    async with kit(env, tools=[develop]) as k:
        handle = await k.start([calls(*[("develop", {})] * 4), say("-")], tools=("develop",))
        while (await k.runs.state(handle.id)).steps_total < 5:
            await asyncio.sleep(0.02)
        await k.runs.cancel(handle.id)
        out = await k.outcome(handle.id)
        waited = [
            s for s in out.result.steps if s.summary == "stopped before it began; nothing ran"
        ]
        assert [step.status for step in waited] == ["error"] * 2
        await assert_closed_once(k, out)
