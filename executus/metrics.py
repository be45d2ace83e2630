"""What a worker counts, by the meter of Temporal's runtime: Prometheus, OpenTelemetry or a buffer.

Nothing of it enters a history, and a replay counts nothing. Labels are names of the host's own
(agents, models, tools) and closed sets (statuses, faults, outcomes), never what anybody said.
docs/metrics.md is for who reads them.
"""

from collections.abc import Mapping

from temporalio.common import MetricMeter

from executus.result import RunResult
from executus.usage import Usage

RUNS = "executus_runs"
"""Counter: runs that ended on a worker, by `agent`, `status` and `reason`."""
RUN_SECONDS = "executus_run_seconds"
"""Histogram: from start to end of a run, over all its executions, by `agent` and `status`."""
MODEL_CALLS = "executus_model_calls"
"""Counter: calls of providers, by `model` (`provider/model`) and `outcome` (`ok` or the fault)."""
MODEL_SECONDS = "executus_model_seconds"
"""Histogram: what they took, by the same."""
TOKENS = "executus_tokens"
"""Counter: tokens of replies, by `model` and `kind`. `input` holds both cache portions."""
COST = "executus_cost_micro_usd"
"""Counter: what replies cost, by `model`; a model whose price is not known adds nothing."""
TOOL_CALLS = "executus_tool_calls"
"""Counter: attempts of tools, by `tool` and `outcome`: that of the result; `retry` where
it failed and is tried again; `cancelled`."""
TOOL_SECONDS = "executus_tool_seconds"
"""Histogram: what they took, by the same."""
LOADS = "executus_transcript_loads"
"""Counter: transcripts that a step needed, by `source`: `memory` (a hit) or `workflow`."""

HELP: Mapping[str, str] = {
    RUNS: "Runs that ended on a worker.",
    RUN_SECONDS: "Seconds from start to end of a run.",
    MODEL_CALLS: "Calls of model providers.",
    MODEL_SECONDS: "Seconds that calls of model providers took.",
    TOKENS: "Tokens of replies.",
    COST: "Micro-USD that replies cost, by known prices.",
    TOOL_CALLS: "Attempts of tools.",
    TOOL_SECONDS: "Seconds that attempts of tools took.",
    LOADS: "Transcripts that a step of a run needed.",
}
"""What a scrape says of each."""
STEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds: from a local tool to a model that thinks for minutes."""
RUN_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0)
"""Seconds: from one answer to a run that waited a week for a person."""
BUCKETS: Mapping[str, tuple[float, ...]] = {
    RUN_SECONDS: RUN_BUCKETS,
    MODEL_SECONDS: STEP_BUCKETS,
    TOOL_SECONDS: STEP_BUCKETS,
}
NO_AGENT = "none"
"""Of a run that ended before its agent was known."""
OF_CALLER = "inline"
"""The agent that a request brought along: its name is the caller's, of whom there may be many."""


def count_run(meter: MetricMeter, agent: str, result: RunResult) -> None:
    """A run ended."""
    labels = {"agent": agent, "status": result.status.value}
    seconds = (result.ended_at - result.started_at).total_seconds()
    _seconds(meter, RUN_SECONDS, seconds, labels)
    _add(meter, RUNS, 1, labels | {"reason": result.reason.value})


def count_model_call(meter: MetricMeter, model: str, outcome: str, seconds: float) -> None:
    """A provider was called; `outcome` is `ok`, `cancelled` or a fault."""
    labels = {"model": model, "outcome": outcome}
    _add(meter, MODEL_CALLS, 1, labels)
    _seconds(meter, MODEL_SECONDS, seconds, labels)


def count_reply(meter: MetricMeter, model: str, usage: Usage, micro_usd: int | None) -> None:
    """A provider answered."""
    kinds = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
    }
    for kind, tokens in kinds.items():
        if tokens:
            _add(meter, TOKENS, tokens, {"model": model, "kind": kind})
    if micro_usd:
        _add(meter, COST, micro_usd, {"model": model})


def count_tool_call(meter: MetricMeter, tool: str, outcome: str, seconds: float) -> None:
    """A tool was called."""
    labels = {"tool": tool, "outcome": outcome}
    _add(meter, TOOL_CALLS, 1, labels)
    _seconds(meter, TOOL_SECONDS, seconds, labels)


def count_load(meter: MetricMeter, source: str) -> None:
    """A step needed a transcript."""
    _add(meter, LOADS, 1, {"source": source})


def _add(meter: MetricMeter, name: str, value: int, labels: Mapping[str, str]) -> None:
    meter.create_counter(name, HELP[name]).add(value, labels)


def _seconds(meter: MetricMeter, name: str, value: float, labels: Mapping[str, str]) -> None:
    meter.create_histogram_float(name, HELP[name], "s").record(max(0.0, value), labels)
