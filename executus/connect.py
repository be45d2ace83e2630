"""Connect to Temporal, as Temporal's own environment and profile file say.

TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS..., TEMPORAL_PROFILE and
TEMPORAL_CONFIG_FILE mean here what they mean to the `temporal` command.
"""

import asyncio
from collections.abc import Sequence

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError, RPCStatusCode

from executus.errors import ConfigError

CLOUD_SUFFIXES = (".tmprl.cloud", ".api.temporal.io")


def load_profile() -> ClientConfigProfile:
    """Temporal's connection settings of this process.

    Raises:
        ConfigError: The profile or its file does not read.
    """
    try:
        return ClientConfigProfile.load()
    except RuntimeError as error:  # the bridge's own class has no public name
        msg = (
            f"Temporal's configuration does not load: {error}; check TEMPORAL_PROFILE and its file"
        )
        raise ConfigError(msg) from None


async def connect(
    profile: ClientConfigProfile, *, plugins: Sequence[Plugin] = (), seconds: float = 10.0
) -> Client:
    """Connect within `seconds`, and check that the namespace is there.

    Raises:
        ConfigError: Nothing answers, or not as Temporal does; names the address and the way out.
    """
    config = profile.to_client_connect_config()
    address = config.setdefault("target_host", "localhost:7233")
    try:
        async with asyncio.timeout(seconds):
            client = await Client.connect(**config, plugins=plugins)
            await _check_namespace(client)
    except TimeoutError:
        raise ConfigError(_unreachable(address, f"no answer within {seconds:g} s")) from None
    except (RuntimeError, RPCError, ValueError) as error:
        raise ConfigError(_unreachable(address, _short(str(error)))) from None
    return client


def ui_base(profile: ClientConfigProfile, configured: str | None) -> str | None:
    """Address of the UI that shows this server's runs, when it is known."""
    if configured is not None:
        return configured.rstrip("/")
    host = (profile.address or "").rpartition(":")[0]
    return "https://cloud.temporal.io" if host.endswith(CLOUD_SUFFIXES) else None


async def _check_namespace(client: Client) -> None:
    """A client connects to any namespace; only the first call would say that it is not there."""
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            name = client.namespace
            msg = (
                f"namespace `{name}` is not there; set TEMPORAL_NAMESPACE, or create it: "
                f"temporal operator namespace create --namespace {name}"
            )
            raise ConfigError(msg) from None
        if error.status is not RPCStatusCode.PERMISSION_DENIED:  # a narrow API key may still work
            raise


def _unreachable(address: str, why: str) -> str:
    return (
        f"cannot reach Temporal at {address}: {why}; check TEMPORAL_ADDRESS (and TEMPORAL_TLS, "
        f"TEMPORAL_API_KEY), or unset it to use the embedded server"
    )


def _short(text: str) -> str:
    """The cause in few words: the SDK's text nests three Rust errors around it."""
    for mark in (
        "Connection refused",
        "failed to lookup address information",
        "InvalidCertificate",
    ):
        if mark in text:
            return mark[0].lower() + mark[1:]
    return text.removeprefix("Failed client connect: ")[:300]
