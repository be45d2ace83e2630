import json
from pathlib import Path

import pytest

from executus.agent import RunnableAgent
from executus.agents import is_agent_file, load_agent
from executus.errors import ConfigError
from executus.fields_file import MAX_FILE_BYTES
from executus.limits import Limits
from executus.yaml_text import dump_yaml

RICH = RunnableAgent(
    name="a",
    id="a-1",
    system_prompt="Be brief.\n\nAnd kind.",
    model_tier="thinking",
    max_iterations=7,
    max_runtime=1.5,
    tools=("x", "y"),
    skill_packs=("pdf",),
    sub_agents=("b",),
    skills=("c",),
    description="Does it.",
    input_schema={"type": "object"},
    output_schema={"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
    limits=Limits(tool_errors=5, at_limit="ask"),
    visibility="shared",
)
TOML = """
name = "a"
id = "a-1"
system_prompt = "Be brief.\\n\\nAnd kind."
model_tier = "thinking"
max_iterations = 7
max_runtime = 1.5
tools = ["x", "y"]
skill_packs = ["pdf"]
sub_agents = ["b"]
skills = ["c"]
description = "Does it."
input_schema = {type = "object"}
output_schema = {type = "object", properties = {n = {type = "integer", minimum = 1}}}
limits = {tool_errors = 5, at_limit = "ask"}
visibility = "shared"
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def forms(agent: RunnableAgent) -> dict[str, str]:
    """The agent in every format; Markdown with its prompt as the body."""
    fields = agent.model_dump(mode="json", exclude_unset=True)
    prompt = fields.pop("system_prompt")
    toml = TOML.replace('system_prompt = "Be brief.\\n\\nAnd kind."\n', "")
    return {
        "a.toml": TOML,
        "a.json": json.dumps(fields | {"system_prompt": prompt}),
        "a.yaml": dump_yaml(fields | {"system_prompt": prompt}),
        "b.md": f"---\n{dump_yaml(fields)}---\n\n{prompt}\n",
        "c.md": f"+++\n{toml}+++\n{prompt}",
    }


@pytest.mark.parametrize("file", forms(RICH))
def test_an_agent_is_the_same_in_every_format(tmp_path: Path, file: str) -> None:
    assert load_agent(write(tmp_path / file, forms(RICH)[file])) == RICH


def test_an_agent_that_says_no_name_has_the_name_of_its_file(tmp_path: Path) -> None:
    agent = load_agent(write(tmp_path / "helper.md", "---\n---\nHelp."))
    assert (agent.name, agent.system_prompt) == ("helper", "Help.")


def test_one_message_names_file_field_known_set(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", 'model = "gpt"\nmax_iterations = 0\nlimits = {x = 1}\n')
    with pytest.raises(ConfigError) as error:
        load_agent(file)
    text = str(error.value)
    assert text.startswith(f"{file}: ")
    assert "`model`: unknown field" in text
    assert "`limits.x`: unknown field" in text
    assert "`max_iterations`: Input should be greater than 0" in text
    known = ", ".join(sorted([*RunnableAgent.model_fields, "extends"]))
    assert text.endswith(f"known fields: {known}")
    assert "\n" not in text


def test_a_critic_is_a_table_and_only_a_judge_has_a_tier(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", 'name = "a"\n[critic]\nkind = "judge"\ntier = "fast"\n')
    agent = load_agent(file)
    assert agent.critic is not None
    assert (agent.critic.kind, agent.critic.tier) == ("judge", "fast")
    file = write(tmp_path / "b.toml", 'name = "b"\n[critic]\ntier = "fast"\n')
    with pytest.raises(ConfigError, match="tier is the judge's"):
        load_agent(file)


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("a.toml", b"x = 1\nname = \n", "does not parse as toml.*line 2"),
        ("a.json", b"{", "does not parse as json.*line 1"),
        ("a.json", b"[1]", "does not parse as json: not an object"),
        ("a.json", b"[" * 100_000, "does not parse as json"),
        ("a.yaml", b"a: 1\nb: c: d", "does not parse as yaml: line 2"),
        ("a.md", b"---\nname: a\n b: c\n---\n", "does not parse as md: line 3"),
        ("a.md", b"# Hello", "does not parse as md: no front matter"),
        ("a.md", b"---\nsystem_prompt: x\n---\ny", "`system_prompt` stands in the front matter"),
        ("a.toml", b"\xff\xfe", "does not parse as toml"),
        ("a.ini", b"", "an agent is a .toml, .json, .yaml, .yml, .md file"),
        ("a.toml", b"name = 3", "`name`: must be a name"),
        ("a.toml", b'extends = ["a", "b"]', "`extends`: must be the name of one agent"),
        ("a.toml", b"#" * (MAX_FILE_BYTES + 1), "larger than 2,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_agent_says_so(tmp_path: Path, name, data, shown) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=shown) as error:
        load_agent(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


def test_a_missing_file_names_the_ways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*\.toml.*file, or a known name"):
        load_agent(tmp_path / "none.toml")


def test_a_name_is_not_a_file() -> None:
    files = ("a.toml", "./a", "a.json", "a.md", "support")
    assert [is_agent_file(text) for text in files] == [True, True, True, True, False]
