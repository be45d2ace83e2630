"""A real HTTP server that speaks S3 (moto), in a thread of the tests."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from moto.server import ThreadedMotoServer


class S3Server:
    """Where it is, and a new bucket for who asks."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def new_place(self) -> str:
        """URL of an empty bucket, with a prefix."""
        bucket = f"b-{uuid.uuid4().hex[:12]}"
        answer = httpx2.put(f"{self.endpoint}/{bucket}", trust_env=False)
        assert answer.status_code == 200
        return f"s3://{bucket}/some/prefix"


@contextmanager
def running() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
