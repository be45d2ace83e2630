"""Why a model stopped, as servers of the Chat and Messages formats write it.

A list of what is an end, because a reply that was cut must never have its tool calls run: a reason
that nobody knows is no end. Compared in lower case: gateways keep the case of who is behind them.
"""

from collections.abc import Mapping

from executus.errors import ModelError, ModelFault
from executus.models.provider import StopReason
from executus.models.wire import Caller, incomplete
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
FAULTS: Mapping[str, ModelFault] = dict.fromkeys(
    ("error", "network_error", "insufficient_system_resource"), "overloaded"
)
"""Reasons by which the server says that it failed. Any other reason is `incomplete_response`."""


def stop_of(reason: str, caller: Caller) -> StopReason:
    """What `reason` stands for.

    Raises:
        ModelError: the reply was broken off, or nobody knows whether it is whole.
    """
    known = reason.lower()
    if known in STOPS:
        return STOPS[known]
    detail = f'the reply ended for the reason "{clean_line(reason, 64)}"'
    if known in FAULTS:
        raise ModelError(f"{caller.provider}: {detail}", fault=FAULTS[known])
    raise incomplete(caller, f"{detail}, which is none that ends a whole reply")
