"""Connect to Temporal, as Temporal's own environment and profile file say.

TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS..., TEMPORAL_PROFILE and
TEMPORAL_CONFIG_FILE mean here what they mean to the `temporal` command.
"""

import asyncio
from collections.abc import Sequence

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfigProfile
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from executus.errors import ConfigError

SET = (
    "check TEMPORAL_ADDRESS (and TEMPORAL_TLS, TEMPORAL_API_KEY), or unset it: commands of "
    "`executus` then use the embedded server"
)
UNSET = "start a server (`temporal server start-dev`), or set TEMPORAL_ADDRESS"
"""Ways out, with an address and without one."""
CAUSES = {
    "Connection refused": "connection refused",
    "failed to lookup address information": "failed to lookup address information",
    "InvalidCertificate": "invalidCertificate",
    "InvalidContentType": "the server does not speak TLS, which TEMPORAL_TLS or TEMPORAL_API_KEY "
    "switched on (TEMPORAL_TLS=false switches it off)",
    "http2 error": "what answers does not speak Temporal's protocol; a server with TLS needs "
    "TEMPORAL_TLS=true",
}
"""A mark in the SDK's text -> what it means."""
AWAY = frozenset(
    {
        RPCStatusCode.ABORTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.UNKNOWN,
    }
)
"""What a call ends in while Temporal is away (a broken connection is UNKNOWN): no word on what was
asked, and runs go on with their workers once it is back."""
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
    profile: ClientConfigProfile,
    *,
    plugins: Sequence[Plugin] = (),
    seconds: float = 10.0,
    runtime: Runtime | None = None,
) -> Client:
    """Connect within `seconds`, and check that the namespace is there.

    `runtime`: Temporal's, where metrics are wanted (`executus.prometheus`); None = its default.

    Raises:
        ConfigError: Nothing answers, or not as Temporal does; names the address and the way out.
    """
    config = profile.to_client_connect_config()
    address = config.setdefault("target_host", "localhost:7233")
    _check_address(address)
    way_out = SET if profile.address else UNSET
    try:
        async with asyncio.timeout(seconds):
            client = await Client.connect(**config, plugins=plugins, runtime=runtime)
            await _check_namespace(client)
    except TimeoutError:
        why = f"no answer within {seconds:g} s"
        raise ConfigError(f"cannot reach Temporal at {address}: {why}; {way_out}") from None
    except (RuntimeError, RPCError, ValueError) as error:
        why = _short(str(error))
        raise ConfigError(f"cannot reach Temporal at {address}: {why}; {way_out}") from None
    return client


def ui_base(profile: ClientConfigProfile, configured: str | None) -> str | None:
    """Address of the UI that shows this server's runs, when it is known."""
    if configured is not None:
        return configured.rstrip("/")
    host = (profile.address or "").rpartition(":")[0]
    return "https://cloud.temporal.io" if host.endswith(CLOUD_SUFFIXES) else None


def told(error: RPCError) -> str:
    """What a call of Temporal ended in, in a line: where it is, its words, and the way out."""
    where = load_profile().address
    at = f"Temporal at {where}" if where else "this folder's own Temporal server"
    what = f"{at} did not do what was asked: {_short(error.message)} ({error.status.name})"
    return f"{what}; once it answers, call this again" if error.status in AWAY else what


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


def _check_address(address: str) -> None:
    """Refuse an URL: the SDK takes one with a warning, and https among them as plain text."""
    scheme, found, rest = address.partition("://")
    if found:
        tls = ", with TEMPORAL_TLS=true" if scheme.lower() == "https" else ""
        raise ConfigError(
            f"TEMPORAL_ADDRESS is {address}, and takes host:port without {scheme}://; write "
            f"{rest.rstrip('/') or 'localhost:7233'}{tls}"
        )


def _short(text: str) -> str:
    """The cause in few words: the SDK's text nests three Rust errors around it."""
    for mark, told in CAUSES.items():
        if mark in text:
            return told
    return text.removeprefix("Failed client connect: ")[:300]
