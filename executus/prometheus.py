"""Answer Prometheus: Temporal's own metrics and those of `executus.metrics`, from one port."""

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from executus.errors import ConfigError
from executus.metrics import BUCKETS


def serve_metrics(address: str | None) -> Runtime | None:
    """Temporal's runtime for `Client.connect`, which answers at `http://ADDRESS/metrics`.

    It lives as long as the process. A host with OpenTelemetry makes its own runtime and hands
    `BUCKETS` to it; what executus counts goes wherever the client's runtime sends it.

    Raises:
        ConfigError: nothing can listen there.
    """
    if address is None:
        return None
    metrics = PrometheusConfig(bind_address=address, histogram_bucket_overrides=BUCKETS)
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=metrics))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"EXECUTUS_METRICS_ADDRESS: cannot listen on {address}: {error}; "
            "name a free IP:PORT of this machine (0.0.0.0:9464 is on every address), or unset it"
        ) from None
