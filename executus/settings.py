"""Settings of a host process: environment variables that begin with EXECUTUS_.

Where Temporal is, and how to authenticate, is not here: Temporal's own variables and profile file
say that (`executus.connect`). Model keys are not here either: the providers' own variables do.
"""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from executus.errors import ConfigError

GRACE_SECONDS = 25.0
"""Kubernetes kills 30 s after SIGTERM; five are left to report what was cut."""
CACHED_WORKFLOWS = 200
"""The SDK's own default of 1,000 would take 6 GB with transcripts of 3 MB; see `Settings`."""


class Settings(BaseSettings):
    """How this process runs; every field is `EXECUTUS_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="EXECUTUS_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    task_queue: str = Field(default="executus", min_length=1, max_length=1_000)
    """Task queue that workers poll and runs are started on."""
    data_dir: Path = Path(".executus")
    """What this folder's embedded server and default database write."""
    database_url: SecretStr | None = None
    """Database of audit and budget, `postgresql://...` or `sqlite:///...`; None = an SQLite file in
    `data_dir`. May hold a password, so it is never printed."""
    agents: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders of agent files, separated as in PATH (`:`, on Windows `;`)."""
    packs_file: Path = Path("executus.packs.json")
    """Which skill packs are subscribed to and pinned; `executus packs` writes it."""
    files_url: str | None = None
    """Where files of runs are kept: a folder, or `s3://bucket/prefix` (extra `s3`); `off` =
    nowhere. None = the folder `files` in `data_dir`."""
    delivery_folder: Path | None = None
    """Where the delivery kind `file` writes; None = `delivered` in `data_dir`."""
    delivery_hosts: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Host names that a caller's webhook URL may have, with commas; `*.example.com` is what lies
    below, `-` is none: named endpoints only. None = any."""
    delivery_ports: Annotated[frozenset[int], NoDecode] = frozenset({80, 443})
    """Ports that a caller's webhook URL may have, with commas."""
    delivery_http: bool = False
    """Whether a caller's webhook URL may be plain http."""
    delivery_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks that are not public and that webhooks may reach all the same, with commas:
    `10.0.0.0/8`."""
    checkpoints: Path | None = None
    """Folder where copies of runs are kept, to look at and to fork from; None = nowhere."""
    mcp: Path | None = None
    """File that declares MCP servers: TOML, JSON or YAML; see docs/mcp.md. None = no servers."""
    demo_folder: Path | None = None
    """What the demo's tools may read; None = a small sample that comes with the package."""
    ui_port: int = Field(default=8233, ge=0, le=65_535)
    """Port of the embedded server's UI; another free one when it is taken; 0 = any."""
    ui_url: str | None = Field(default=None, pattern=r"^https?://")
    """Address of the Temporal UI of a server that is not ours, so that links can be shown."""
    connect_seconds: float = Field(default=10.0, gt=0, le=300)
    """Seconds to wait for Temporal to answer."""
    metrics_address: str | None = Field(default=None, pattern=r"^[^\s/]+:\d{1,5}$")
    """Where a worker answers Prometheus, `127.0.0.1:9464`; see docs/metrics.md. None = nowhere."""
    max_cached_workflows: int = Field(default=CACHED_WORKFLOWS, ge=0, le=10_000)
    """Runs kept in a worker's memory between steps. One takes 0.25 MB and twice its transcript
    (measured): 200 are 50 MB while they are short, and 1.3 GB when each has 3 MB. A run that is not
    cached still goes on: it is replayed, which costs CPU."""
    max_concurrent_activities: int = Field(default=100, gt=0, le=10_000)
    """Model and tool calls of one worker at the same time."""
    graceful_shutdown_seconds: float = Field(default=GRACE_SECONDS, ge=0, le=86_400)
    """Seconds that running activities get to finish after SIGTERM; then they are cancelled and
    Temporal gives them to another worker."""

    @property
    def packs_store(self) -> Path:
        """Copies of pinned packs."""
        return self.data_dir / "packs"

    @field_validator("agents", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in value.split(os.pathsep) if part)
        return value

    @field_validator("delivery_hosts", "delivery_ports", "delivery_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip() not in {"", "-"}]

    @field_validator("delivery_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value

    @property
    def database(self) -> str:
        """The database URL, password included: for the stores, never for a log."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data_dir / 'executus.db').absolute()}"

    @property
    def files(self) -> str | None:
        """The place of files of runs; None when they are not kept."""
        if self.files_url == "off":
            return None
        return self.files_url or str((self.data_dir / "files").absolute())


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: A variable has a value that cannot be; the message names it.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - only on the failing path

    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"EXECUTUS_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()
        ]
        raise ConfigError("; ".join(lines)) from None
