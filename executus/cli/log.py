"""Logs of a long-running process: one JSON object a line, on stderr, for any collector."""

import contextlib
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
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


class LogFile(logging.FileHandler):
    """A log beside a run that a person looks at: one that cannot be written is a line, once.

    Python's own way is a traceback on stderr for each record that a full disk took.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, mode="w", delay=True, encoding="utf-8")
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say why the log ends; a record that does not format is shown as ever."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        if not self._told:
            self._told = True
            why = error.strerror or type(error).__name__
            with contextlib.suppress(OSError):
                click.echo(f"warning   cannot write the log {self.baseFilename}: {why}", err=True)


def to_stderr() -> None:
    """Log to stderr, as a worker does."""
    _install(logging.StreamHandler())


def to_file(path: Path) -> None:
    """Log to a file, as `run` does: its terminal shows the run.

    Raises:
        ConfigError: its folder cannot be written.
    """
    make_writable(path.parent)
    _install(LogFile(path))


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
