"""Logs of a long-running process: one JSON object a line, on stderr, for any collector."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from executus.folder import make_writable
from executus.redact import Redactor

FIELDS = ("temporal_workflow", "temporal_activity")
"""Context that the Temporal SDK attaches to its records."""


class JsonLines(logging.Formatter):
    """One record, one line, secrets redacted."""

    def __init__(self) -> None:
        super().__init__()
        self._redactor = Redactor()

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.text(record.getMessage()),
        }
        context: object = getattr(record, "executus", None)
        if isinstance(context, dict):
            line |= context
        for field in FIELDS:
            if (value := getattr(record, field, None)) is not None:
                line[field.removeprefix("temporal_")] = value
        if record.exc_info:
            line["error"] = self._redactor.text(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


def to_stderr() -> None:
    """Log to stderr, as a worker does."""
    _install(logging.StreamHandler())


def to_file(path: Path) -> None:
    """Log to a file, as `run` does: its terminal shows the run.

    Raises:
        ConfigError: its folder cannot be written.
    """
    make_writable(path.parent)
    _install(logging.FileHandler(path, mode="w", delay=True, encoding="utf-8"))


def _install(handler: logging.Handler) -> None:
    """Send Python's and the SDK core's records to one handler; the core would print to stdout."""
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding
    )
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=logs)))
