import asyncio
import time

import pytest
from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS

from executus.connect import connect, load_profile, ui_base
from executus.errors import ConfigError

CLOUD = "x.a1b2c.tmprl.cloud:7233"


async def test_nothing_listening_is_one_clear_error_within_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError) as error:
        await connect(ClientConfigProfile(address="127.0.0.1:1"))
    assert time.monotonic() - began < 10
    text = str(error.value)
    assert text.startswith("cannot reach Temporal at 127.0.0.1:1: connection refused")
    assert "check TEMPORAL_ADDRESS" in text


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConfigError, match=r"no answer within 0\.5 s"):
            await connect(ClientConfigProfile(address=f"127.0.0.1:{port}"), seconds=0.5)


async def test_without_an_address_the_way_out_is_one_that_works() -> None:
    """A host's own worker has no embedded server to fall back on."""
    with pytest.raises(ConfigError) as error:
        await connect(ClientConfigProfile(), seconds=0.001)
    text = str(error.value)
    assert text.startswith("cannot reach Temporal at localhost:7233: ")
    assert text.endswith("; start a server (`temporal server start-dev`), or set TEMPORAL_ADDRESS")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:7233", "without http://; write 127.0.0.1:7233"),
        ("https://t.example:7233/", "without https://; write t.example:7233, with TEMPORAL_TLS="),
        ("http://", "without http://; write localhost:7233"),
    ],
)
async def test_an_url_is_refused_with_the_address_that_it_means(address: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:  # a warning of the SDK's would be an error, too
        await connect(ClientConfigProfile(address=address))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        (ClientConfigTLS(), "the server does not speak TLS, which TEMPORAL_TLS or"),
        (None, "what answers does not speak Temporal's protocol; a server with TLS needs"),
    ],
)
async def test_a_server_of_another_protocol_is_told_in_words(
    tls: ClientConfigTLS | None, told: str
) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(http, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConfigError) as error:
            await connect(ClientConfigProfile(address=f"127.0.0.1:{port}", tls=tls))
    assert f"cannot reach Temporal at 127.0.0.1:{port}: {told}" in str(error.value)
    assert "tonic" not in str(error.value)


def test_a_profile_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "production")
    with pytest.raises(ConfigError, match=r"production.*check TEMPORAL_PROFILE"):
        load_profile()


def test_temporals_own_variables_are_read(monkeypatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "agents")
    profile = load_profile()
    assert (profile.address, profile.namespace) == ("temporal.example:7233", "agents")


def test_a_ui_link_is_shown_only_when_its_address_is_known() -> None:
    assert ui_base(ClientConfigProfile(address="temporal.example:7233"), None) is None
    assert ui_base(ClientConfigProfile(address=CLOUD), None) == "https://cloud.temporal.io"
    assert ui_base(ClientConfigProfile(address=CLOUD), "https://ui/") == "https://ui"
