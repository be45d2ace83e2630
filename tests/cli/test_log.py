"""A worker's log lines."""

import errno
import io
import json
import logging
from pathlib import Path

from executus.cli.log import JsonLines, LogFile


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("executus.test", logging.WARNING, __file__, 1, message, args, None)
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_one_record_is_one_json_line_with_its_context() -> None:
    made = record("a\nb %s", 1, executus={"pid": 7}, temporal_workflow={"workflow_id": "r"})
    text = JsonLines().format(made)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["logger"], line["message"]) == (
        "warning",
        "executus.test",
        "a\nb 1",
    )
    assert line["pid"] == 7
    assert line["workflow"] == {"workflow_id": "r"}
    assert line["time"].endswith("+00:00")


def test_secrets_are_redacted_in_messages_and_tracebacks() -> None:
    key = "sk-" + "a" * 30
    made = record("key %s", key)
    made.exc_info = (ValueError, ValueError(key), None)
    text = JsonLines().format(made)
    assert key not in text
    assert "ValueError" in json.loads(text)["error"]


class Full(io.StringIO):
    """A file on a full disk."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_is_one_line(capsys, monkeypatch, tmp_path: Path) -> None:
    handler = LogFile(tmp_path / "run.log")
    monkeypatch.setattr(handler, "stream", Full())
    for _ in range(3):
        handler.handle(record("hi"))
    said = f"warning   cannot write the log {tmp_path / 'run.log'}: No space left on device\n"
    assert capsys.readouterr().err == said
    handler.handle(record("%d", "no number"))
    assert "Logging error" in capsys.readouterr().err
