"""Pack: a skill in the open Agent Skills format (https://agentskills.io/specification).

A folder with a SKILL.md (front matter with name and description, then instructions), and files that
the instructions point to. It is text for a model: nothing in it is ever executed here, and what it
says about tools grants none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from executus.errors import ConfigError
from executus.explain import explain
from executus.front_matter import split_document
from executus.packs.content import content_digest
from executus.plan import PackRef
from executus.sanitize import clean_line, clean_text

SKILL = "SKILL.md"
MAX_SKILL_BYTES = 60_000
"""Bytes of SKILL.md: a tool result of the default size holds all of it. The format wants 5,000
tokens at most, a third of this."""
MAX_DESCRIPTION = 1_024


class SkillHead(BaseModel):
    """The front matter that matters here; the format is open, so other fields may be there."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(max_length=64, pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
    """The folder's name."""
    description: str = Field(min_length=1, max_length=MAX_DESCRIPTION)
    """What it is for and when to use it."""
    allowed_tools: str | list[str] | None = Field(default=None, alias="allowed-tools")
    """What it wishes for; shown to people, and grants nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One version of a skill, whole and in memory."""

    name: str
    """Unique on a host."""
    description: str
    """One clean line for the catalogue."""
    body: str
    """The instructions, without the front matter."""
    files: Mapping[str, bytes]
    """Everything, SKILL.md included, by path."""
    digest: str
    """Names exactly this content."""
    wishes: str = ""
    """Tools it asks for, as it writes them."""

    @property
    def ref(self) -> PackRef:
        """What a run's plan keeps of it."""
        return PackRef(name=self.name, digest=self.digest)

    @property
    def more(self) -> tuple[str, ...]:
        """Paths of the further files."""
        return tuple(path for path in self.files if path != SKILL)


def parse_pack(files: Mapping[str, bytes], where: str) -> Pack:
    """The pack that `files` are; `where` is named in errors.

    Raises:
        ConfigError: there is no SKILL.md, or it is not what the format asks for.
    """
    data = files.get(SKILL)
    if data is None:
        raise ConfigError(f"{where}: no {SKILL}, so it is no skill pack")
    if len(data) > MAX_SKILL_BYTES:
        msg = f"{len(data):,} bytes; the limit is {MAX_SKILL_BYTES:,}: move parts to further files"
        raise ConfigError(f"{where}/{SKILL}: {msg}")
    try:
        document = split_document(data.decode())
    except ValueError as error:
        raise ConfigError(f"{where}/{SKILL}: {clean_line(str(error), 300)}") from None
    head = _head(document.fields, where)
    body = clean_text(document.body)
    if not body:
        raise ConfigError(f"{where}/{SKILL}: no instructions below the front matter")
    wishes = head.allowed_tools or ""
    return Pack(
        name=head.name,
        description=clean_line(head.description, MAX_DESCRIPTION),
        body=body,
        files=dict(files),
        digest=content_digest(files),
        wishes=clean_line(wishes if isinstance(wishes, str) else " ".join(wishes), 500),
    )


def _head(fields: Mapping[str, object], where: str) -> SkillHead:
    try:
        head = SkillHead.model_validate(fields)
    except ValidationError as error:
        asks = "the format asks for `name` (a-z, 0-9, single hyphens) and `description`"
        raise ConfigError(f"{where}/{SKILL}: {explain(error, SkillHead)}; {asks}") from None
    if not clean_line(head.description, MAX_DESCRIPTION):
        raise ConfigError(f"{where}/{SKILL}: `description`: nothing that can be read")
    return head
