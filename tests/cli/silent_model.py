"""An HTTP server that takes every request and never answers: a model that takes for ever."""

import socket
import threading
from types import TracebackType
from typing import Self


class SilentModel:
    """Use its `variables` as the environment of a command line."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._connections: list[socket.socket] = []
        self._over = threading.Event()
        self.called = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for connection in (*self._connections, self._listener):
            connection.close()

    @property
    def variables(self) -> dict[str, str]:
        port = self._listener.getsockname()[1]
        return {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "EXECUTUS_TIER_FAST": "openai-compatible/silent",
        }

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._connections.append(connection)
            self.called.set()
