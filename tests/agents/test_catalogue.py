"""Catalogues: many agents, and what is wrong with some of them."""

import os
from pathlib import Path

import pytest
from temporalio.worker import WorkerConfig

from executus.agent import RunnableAgent
from executus.agents import load_agent, load_catalogue
from executus.errors import ConfigError
from executus.plugin import ExecutusPlugin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "a.toml").write_text('model_tier = "fast"\n')
    (folder / "b.md").write_text("---\nextends: a\n---\nHelp.\n")
    return folder


def test_a_broken_file_takes_no_other_agent_down(folder: Path) -> None:
    (folder / "broken.toml").write_text("model_tier = ")
    catalogue = load_catalogue([folder])
    assert list(catalogue.agents) == ["a", "b"]
    (problem,) = catalogue.problems
    assert problem.startswith(f"{folder / 'broken.toml'} does not parse as toml")


def test_what_is_no_agent_file_is_left_alone(folder: Path) -> None:
    for name in ("README.md", "readme.md", ".hidden.toml", "notes.txt", "a.toml~"):
        (folder / name).write_text("# nothing")
    (folder / "more").mkdir()
    (folder / "more" / "c.toml").write_text("")
    catalogue = load_catalogue([folder])
    assert (list(catalogue.agents), catalogue.problems) == (["a", "b"], ())


def test_what_is_called_like_an_agent_file_and_is_none_is_a_problem(folder: Path) -> None:
    (folder / "gone.toml").symlink_to("nowhere.toml")
    (folder / "below.md").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    (folder / "link.toml").symlink_to("a.toml")
    (folder / ".#a.toml").symlink_to("me@host.1234:5678")  # as Emacs locks a file
    catalogue = load_catalogue([folder])
    assert list(catalogue.agents) == ["a", "b", "link"]
    none = "not a file, though it is called like an agent's; rename it"
    assert catalogue.problems == (
        f"{folder / 'below.md'}: {none}",
        f"{folder / 'gone.toml'}: a link to nowhere.toml, which is not there",
        f"{folder / 'pipe.yaml'}: {none}",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tools: 5", "`tools`: Input should be a list"),
        ("limits: 5", "`limits`: Input should be a table of named values"),
        ("output_schema: 5", "`output_schema`: Input should be a table of named values"),
        ("phases: 5", "`phases`: Input should be a list"),
    ],
)
def test_a_wrong_type_is_told_in_the_words_of_files(folder: Path, text: str, told: str) -> None:
    (folder / "wrong.yaml").write_text(text)
    (problem,) = load_catalogue([folder]).problems
    assert problem == f"{folder / 'wrong.yaml'}: {told}"


def test_several_folders_are_one_catalogue_and_the_same_one_counts_once(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "c.toml").write_text('extends = "b"\n')
    monkeypatch.chdir(tmp_path)
    catalogue = load_catalogue([folder, more, "agents", folder / ".." / "agents"])
    assert [entry.source for entry in catalogue.entries] == [
        "agents/a.toml",
        "agents/b.md",
        "more/c.toml",
    ]
    assert catalogue.agents["c"].system_prompt == "Help."


def test_two_agents_of_one_name_are_refused_with_both_sources(folder: Path, tmp_path: Path) -> None:
    (folder / "z.toml").write_text('name = "a"\n')
    catalogue = load_catalogue([folder], [RunnableAgent(name="b")])
    assert catalogue.agents == {}
    both = f"several agents are called `a`: {folder / 'a.toml'}, {folder / 'z.toml'}"
    assert both in catalogue.problems[1]
    assert f"several agents are called `b`: (code), {folder / 'b.md'}" in catalogue.problems[0]
    (tmp_path / "own.toml").write_text('extends = "a"\n')
    with pytest.raises(ConfigError, match="several agents are called `a`"):
        load_agent(tmp_path / "own.toml", [folder])


def test_a_folder_that_is_not_there_is_a_problem_of_its_own(folder: Path, tmp_path: Path) -> None:
    catalogue = load_catalogue([tmp_path / "nowhere", folder])
    assert list(catalogue.agents) == ["a", "b"]
    assert catalogue.problems == (
        f"{tmp_path / 'nowhere'}: No such file or directory; it should be a folder of agent files",
    )


def test_a_plugin_serves_its_folders_and_more(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "c.toml").write_text('extends = "code"\n')
    code = RunnableAgent(name="code", model_tier="thinking")
    plugin = ExecutusPlugin(agents=[code], agent_folders=[folder])
    plugin.add_agent_folders([more, folder])
    assert sorted(plugin.host.agents) == ["a", "b", "c", "code"]
    assert plugin.host.agents["c"].model_tier == "thinking"
    plugin.check()


def test_a_broken_file_refuses_a_worker_and_names_every_problem(folder: Path) -> None:
    (folder / "x.toml").write_text('extends = "nobody"\n')
    (folder / "y.toml").write_text("tools = 3\n")
    plugin = ExecutusPlugin(agent_folders=[folder])
    with pytest.raises(ConfigError) as error:
        plugin.configure_worker(WorkerConfig())
    assert "this host is not whole, so no worker starts" in str(error.value)
    assert "`x` extends `nobody`, which is unknown" in str(error.value)
    assert "y.toml: `tools`: Input should be" in str(error.value)
