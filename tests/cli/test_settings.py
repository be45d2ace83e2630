import errno
import os
import tempfile
from pathlib import Path

import pytest

from executus.cli.app import invoke
from executus.errors import ConfigError
from executus.settings import Settings, load_settings
from tests.packs.packs import write_pack


def test_every_default_works_without_an_environment() -> None:
    settings = load_settings()
    assert settings.task_queue == "executus"
    assert settings.graceful_shutdown_seconds == 25
    assert settings.database == f"sqlite:///{Path('.executus/executus.db').absolute()}"


def test_the_environment_overrides_and_an_empty_variable_does_not(monkeypatch) -> None:
    monkeypatch.setenv("EXECUTUS_TASK_QUEUE", "mine")
    monkeypatch.setenv("EXECUTUS_UI_PORT", "")
    settings = load_settings()
    assert settings.task_queue == "mine"
    assert settings.ui_port == 8233


def test_a_database_password_is_never_printed(monkeypatch) -> None:
    monkeypatch.setenv("EXECUTUS_DATABASE_URL", "postgresql://me:hunter2@db/x")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    assert settings.database == "postgresql://me:hunter2@db/x"


def test_a_bad_value_names_its_variable(monkeypatch) -> None:
    monkeypatch.setenv("EXECUTUS_UI_PORT", "seventy")
    monkeypatch.setenv("EXECUTUS_MAX_CACHED_WORKFLOWS", "-1")
    with pytest.raises(ConfigError, match=r"EXECUTUS_UI_PORT: .*integer") as error:
        load_settings()
    assert "EXECUTUS_MAX_CACHED_WORKFLOWS" in str(error.value)


def test_settings_do_not_change_under_a_process() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().task_queue = "other"  # type: ignore[misc]


def test_lists_are_written_with_commas(monkeypatch) -> None:
    assert load_settings().delivery_hosts is None
    monkeypatch.setenv("EXECUTUS_DELIVERY_HOSTS", "a.example.com, *.b.org")
    monkeypatch.setenv("EXECUTUS_DELIVERY_PORTS", "443,8443")
    monkeypatch.setenv("EXECUTUS_DELIVERY_NETWORKS", "10.0.0.0/8")
    settings = load_settings()
    assert settings.delivery_hosts == ("a.example.com", "*.b.org")
    assert settings.delivery_ports == {443, 8443}
    assert settings.delivery_networks == ("10.0.0.0/8",)
    monkeypatch.setenv("EXECUTUS_DELIVERY_HOSTS", "-")
    assert load_settings().delivery_hosts == ()


@pytest.mark.parametrize(("name", "value"), [("NETWORKS", "10.0.0.0/99"), ("PORTS", "https")])
def test_a_bad_list_names_its_variable(monkeypatch, name, value) -> None:
    monkeypatch.setenv(f"EXECUTUS_DELIVERY_{name}", value)
    with pytest.raises(ConfigError, match=f"EXECUTUS_DELIVERY_{name}"):
        load_settings()


@pytest.mark.parametrize(
    "arguments",
    [["run", "hi"], ["worker", "--dev"], ["server"], ["audit", "list"], ["packs", "add", "skills"]],
)
def test_a_data_folder_that_cannot_be_made_is_one_line_with_its_setting(
    monkeypatch, capsys, tmp_path: Path, arguments
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pack(tmp_path / "skills", "pdf", "One.")
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXECUTUS_DATA_DIR", "file/x")
    assert invoke(arguments) == 2
    _, err = capsys.readouterr()
    assert err.startswith("executus: cannot create ")
    assert "file/x" in err
    assert ": Not a directory; set EXECUTUS_DATA_DIR" in err
    assert err.count("\n") == 1


def test_a_data_folder_that_takes_no_files_is_one_line_with_its_setting(
    monkeypatch, capsys, tmp_path: Path
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv("EXECUTUS_DATA_DIR", str(tmp_path))
    assert invoke(["run", "hi"]) == 2
    assert f"executus: cannot write to {tmp_path}: Read-only file" in capsys.readouterr().err
