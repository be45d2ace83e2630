from pathlib import Path

import pytest

from executus.cli.agent_file import is_agent_file, load_agent
from executus.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_toml_and_json_mean_the_same(tmp_path: Path) -> None:
    toml = write(tmp_path / "a.toml", 'name = "a"\ntools = ["x"]\n[limits]\ntool_errors = 5\n')
    text = '{"name": "a", "tools": ["x"], "limits": {"tool_errors": 5}}'
    assert load_agent(toml) == load_agent(write(tmp_path / "a.json", text))


def test_one_message_names_file_field_known_set(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", 'name = "a"\nmodel = "gpt"\nmax_iterations = 0\n')
    with pytest.raises(ConfigError) as error:
        load_agent(file)
    text = str(error.value)
    assert text.startswith(f"{file}: ")
    assert "`model`: unknown field" in text
    assert "`max_iterations`: Input should be greater than 0" in text
    assert "known fields: id, limits, max_iterations, max_runtime, model_tier" in text
    assert "\n" not in text


def test_a_field_of_a_later_version_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", 'name = "a"\ncritic = "strict"\n')
    with pytest.raises(ConfigError, match="critic: not in this version"):
        load_agent(file)


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("a.toml", b"name = ", "does not parse as toml"),
        ("a.json", b"{", "does not parse as json"),
        ("a.toml", b"\xff\xfe", "does not parse as toml"),
        ("a.json", b"[1]", "Input should be"),
    ],
)
def test_a_file_that_is_no_agent_says_so(tmp_path: Path, name, data, shown) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=shown):
        load_agent(tmp_path / name)


def test_a_missing_file_names_the_two_ways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*TOML or JSON file, or a registered name"):
        load_agent(tmp_path / "none.toml")


def test_a_name_is_not_a_file() -> None:
    assert [is_agent_file(text) for text in ("a.toml", "./a", "a.json", "support")] == [
        True,
        True,
        True,
        False,
    ]
