"""What our transports say of a request that brought no result; bounds of what a server may send."""

MAX_MESSAGE = 8 * 1_048_576
"""Bytes of one message: an image of 5 MB fits. A longer one is dropped, and its call has failed."""
TOO_LONG_TEXT = f"answered with more than {MAX_MESSAGE:,} bytes, which were dropped"

# The package's.
CLOSED = -32_000
MISMATCH = -32_020
NO_JSON = -32_700

# JSON-RPC keeps -32768 to -32000 for itself; these are ours.
NOT_SENT = -39_001
"""Nobody took the request: nothing ran."""
LOST = -39_002
"""The request went out, and no answer came back that can be read."""
REFUSED = -39_003
"""An HTTP status of the 400s instead of a result: nothing ran."""
GONE = -39_004
"""The server does not know the session any more: nothing ran, and a new session may help."""
TOO_LONG = -39_005
"""It ran, and the answer was longer than `MAX_MESSAGE`."""


def error_answer(code: int, message: str, request_id: int | None = None) -> dict[str, object]:
    """A JSON-RPC error as a server would send it."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
