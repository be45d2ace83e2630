"""Read a RunnableAgent from a TOML or JSON file."""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from executus.agent import RunnableAgent
from executus.errors import ConfigError

SUFFIXES = (".toml", ".json")
MAX_FILE_BYTES = 2_000_000


def is_agent_file(text: str) -> bool:
    """Whether `--agent TEXT` means a file rather than a name."""
    return text.endswith(SUFFIXES) or "/" in text


def load_agent(path: Path) -> RunnableAgent:
    """Read and validate one agent.

    Raises:
        ConfigError: The file is not there, does not parse, or a field is wrong; one message names
            the file, every field, the known set and the way out.
    """
    try:
        return RunnableAgent.model_validate(_parse(path))
    except ValidationError as error:
        msg = f"{path}: {explain(error, RunnableAgent)}"
        raise ConfigError(msg) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """A validation error as one line: every field with what is wrong with it."""
    parts: list[str] = []
    unknown = False
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        unknown = unknown or item["type"] == "extra_forbidden"
        what = "unknown field" if item["type"] == "extra_forbidden" else item["msg"]
        parts.append(f"`{field}`: {what}" if field else what)
    if unknown:
        parts.append(f"known fields: {', '.join(sorted(model.model_fields))}")
    return "; ".join(parts)


def _parse(path: Path) -> object:
    try:
        text = path.read_bytes()[:MAX_FILE_BYTES].decode()
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        msg = f"{path}: {error.strerror}; --agent takes a TOML or JSON file, or a registered name"
        raise ConfigError(msg) from None
    except ValueError as error:  # TOML, JSON and UTF-8 errors all are
        msg = f"{path} does not parse as {path.suffix.removeprefix('.') or 'TOML'}: {error}"
        raise ConfigError(msg) from None
