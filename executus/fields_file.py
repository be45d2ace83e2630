"""Read a file of named fields, in whatever format its name says."""

from collections.abc import Callable, Mapping
from pathlib import Path

from executus.errors import ConfigError
from executus.front_matter import parse_json, parse_toml, parse_yaml
from executus.sanitize import clean_line

MAX_FILE_BYTES = 2_000_000
Parser = Callable[[str], dict[str, object]]
"""From a text to its fields; raises ValueError with the line where it can."""
PARSERS: Mapping[str, Parser] = {
    ".toml": parse_toml,
    ".json": parse_json,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
}
"""By the end of a file's name."""


def read_fields(path: Path, parsers: Mapping[str, Parser], *, hint: str) -> dict[str, object]:
    """The fields of the file; those that are null are left out.

    `hint`: what such a file is, for who named one that is not there or of another kind.

    Raises:
        ConfigError: it is not there or does not parse; names the file, and the line where known.
    """
    parse = parsers.get(path.suffix)
    if parse is None:
        raise ConfigError(f"{path}: {hint}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes")
        return {key: value for key, value in parse(data.decode()).items() if value is not None}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; {hint}") from None
    except (ValueError, RecursionError) as error:  # of every format, and of UTF-8
        kind = path.suffix.removeprefix(".")
        msg = f"{path} does not parse as {kind}: {clean_line(str(error), 300)}"
        raise ConfigError(msg) from None
