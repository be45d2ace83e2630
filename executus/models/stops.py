"""Why a model stopped, as servers of the Chat and Messages formats write it.

A list of what is an end, because a reply that was cut must never have its tool calls run: with a
reason that nobody knows they are taken for cut. A text is taken as it is then: it has been paid
for, and asking again would be paid for as often as a step is tried. Compared in lower case:
gateways keep the case of who is behind them.
"""

from collections.abc import Mapping

from executus.errors import ModelError, ModelFault
from executus.models.provider import StopReason
from executus.models.wire import Caller
from executus.sanitize import clean_line

ENDS = (
    "stop",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
    "end_turn",
    "stop_sequence",
    "pause_turn",
    "eos",
    "eos_token",
    "end",
    "complete",
    "completed",
    "done",
)
"""The model was done; with a tool call in the reply it is `tool_calls`."""
CUTS = (
    "length",
    "model_length",
    "max_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "token_limit",
    "model_context_window_exceeded",
)
"""It would have gone on."""
REFUSALS = (
    "refusal",
    "content_filter",
    "content_filtered",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "sensitive",
    "error_toxic",
    "guardrail_intervened",
)
"""A filter stopped it, or its own judgement."""
STOPS: Mapping[str, StopReason] = {
    **dict.fromkeys(ENDS, "end"),
    **dict.fromkeys(CUTS, "length"),
    **dict.fromkeys(REFUSALS, "refusal"),
}
"""Every reason with which a reply is a reply."""
FAULTS: Mapping[str, ModelFault] = {
    **dict.fromkeys(("error", "network_error", "insufficient_system_resource"), "overloaded"),
    **dict.fromkeys(("abort", "aborted", "cancelled"), "incomplete_response"),
}
"""Reasons by which the server says that it failed, or broke off."""


def stop_of(reason: str, caller: Caller, *, calls: bool) -> StopReason:
    """What `reason` stands for in a reply with or without tool `calls`.

    Raises:
        ModelError: the reply was broken off.
    """
    known = reason.lower()
    if known in FAULTS:
        detail = f'the reply ended for the reason "{clean_line(reason, 64)}"'
        raise ModelError(f"{caller.provider}: {detail}", fault=FAULTS[known])
    return STOPS.get(known, "length" if calls else "end")
