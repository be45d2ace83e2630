"""Names and shapes that histories hold: they may grow, never change."""

import pytest

from executus import contracts, delivery_contracts
from executus.contracts import (
    AuditClosed,
    AuditCloseInput,
    AuditFlushInput,
    BudgetCheckInput,
    BudgetCommitInput,
    CompactInput,
    CompactOutput,
    ModelStepInput,
    ModelStepOutput,
    ResolveInput,
    RestoreInput,
    StageInput,
    StageOutput,
    ToolInput,
    ToolOutput,
)
from executus.delivery_contracts import (
    Delivered,
    DeliverInput,
    DeliveryTrouble,
    KeepInput,
    Kept,
)
from executus.delivery_target import DeliveryTarget
from executus.letter import DeliveryItem
from executus.plan import Resolved
from executus.request import RunRequest
from executus.result import RunResult

NAMES = {
    "RESOLVE": "executus.resolve",
    "BUDGET_CHECK": "executus.budget.check",
    "BUDGET_COMMIT": "executus.budget.commit",
    "AUDIT_START": "executus.audit.start",
    "AUDIT_CLOSE": "executus.audit.close",
    "AUDIT_FLUSH": "executus.audit.flush",
    "RESTORE": "executus.restore",
    "FILES_STAGE": "executus.files.stage",
    "MODEL": "executus.model",
    "COMPACT": "executus.compact",
    "AGENT_RUN": "executus.AgentRun",
    "SIGNAL_CANCEL": "cancel",
    "SIGNAL_STEER": "steer",
    "UPDATE_RAISE_LIMITS": "raise_limits",
    "UPDATE_STEER": "steer",
}

DELIVERY_NAMES = {
    "DELIVER": "executus.deliver",
    "DELIVER_KEEP": "executus.deliver.keep",
    "DELIVERY_ERROR": "executus.delivery_error",
}

REQUIRED = {
    ResolveInput: {"agent", "caller_id"},
    Resolved: set(),
    ModelStepInput: {
        "key",
        "step_id",
        "cursor",
        "plan_digest",
        "max_output_tokens",
        "seconds_left",
    },
    ModelStepOutput: {"message", "stop", "usage", "spec"},
    CompactInput: {"key", "step_id", "cursor", "plan_digest", "start", "end", "seconds_left"},
    CompactOutput: {"summary", "usage"},
    ToolInput: {
        "key",
        "step_id",
        "call_id",
        "arguments",
        "schema_digest",
        "idempotency_key",
        "result_bytes",
        "agent_id",
        "caller_id",
        "state",
    },
    ToolOutput: {"result"},
    BudgetCheckInput: {"check"},
    BudgetCommitInput: {"commit"},
    AuditCloseInput: {"close"},
    AuditClosed: set(),
    AuditFlushInput: {"opening"},
    RestoreInput: {"execution", "start"},
    StageInput: {"scope", "files"},
    StageOutput: set(),
    DeliverInput: {"item", "seconds"},
    DeliveryItem: {"target", "event"},
    DeliveryTarget: {"kind"},
    Delivered: set(),
    DeliveryTrouble: {"error"},
    KeepInput: {"letter"},
    Kept: {"kept"},
    RunRequest: {"agent"},
    RunResult: {"run_id", "status", "reason", "started_at", "ended_at"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_durable_contract(name):
    assert getattr(contracts, name) == NAMES[name]


@pytest.mark.parametrize("name", DELIVERY_NAMES)
def test_a_name_of_delivery_is_a_durable_contract(name):
    assert getattr(delivery_contracts, name) == DELIVERY_NAMES[name]


def test_a_tools_activity_is_named_after_it():
    assert contracts.tool_activity("add") == "tool.add"


@pytest.mark.parametrize("model", REQUIRED, ids=lambda m: m.__name__)
def test_fields_may_be_added_with_a_default_only(model):
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert required == REQUIRED[model]


def test_unknown_fields_of_a_request_are_refused_by_name():
    with pytest.raises(ValueError, match="colour"):
        RunRequest.model_validate({"agent": {"name": "a", "colour": "red"}})


@pytest.mark.parametrize("field", ["critic"])
def test_what_this_version_cannot_drive_is_refused_and_not_ignored(field):
    with pytest.raises(ValueError, match=field):
        RunRequest.model_validate({"agent": {"name": "a", field: ["x"]}})
