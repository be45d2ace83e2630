"""A hand-written MCP server on stdio that starts quickly and misbehaves as told: no package would.

`python bare.py MODE [JOURNAL]`
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MODE = sys.argv[1]
JOURNAL = Path(sys.argv[2] if len(sys.argv) > 2 else os.devnull)
QUIET = subprocess.DEVNULL
CRASHED = Path(f"{JOURNAL}.crashed")


def note(what: str) -> None:
    with JOURNAL.open("a") as file:
        file.write(what + "\n")


def send(message: dict, *, last: int | None = None) -> None:
    """`last`: the request's id, to stand behind everything, as the TypeScript package has it."""
    end = {} if last is None else {"jsonrpc": "2.0", "id": last}
    first = {"jsonrpc": "2.0"} if last is None else {}
    sys.stdout.write(json.dumps({**first, **message, **end}) + "\n")
    sys.stdout.flush()


class Server:
    """What it offers, and what it does when it is asked."""

    field = "text"
    listings = 0
    held: int | None = None

    def tools(self) -> list[dict]:
        schema = {"type": "object", "properties": {self.field: {"type": "string"}}}
        return [{"name": name, "inputSchema": schema} for name in ("echo", "env")]

    def call(self, request: dict) -> dict:
        name, arguments = request["params"]["name"], request["params"].get("arguments", {})
        note(f"{name} {json.dumps(arguments)}")
        if MODE == "crash" or (MODE == "crash-once" and not CRASHED.exists()):
            CRASHED.touch()
            os._exit(3)
        if MODE == "huge":
            return {"content": [{"type": "text", "text": "x" * 9_000_000}]}
        if MODE == "no-result":
            return {"content": "nothing like it"}
        if MODE in {"changing", "changing-silently"}:
            self.field = "more"
            send({"method": "notifications/tools/list_changed"})
        if MODE == "sleep":
            time.sleep(600)
        if name == "env":
            return {"content": [{"type": "text", "text": json.dumps(dict(os.environ))}]}
        return {"content": [{"type": "text", "text": arguments.get("text", "")}]}

    def answer_last(self, request: int) -> None:
        """Hold the first call, answer the second with far too much, then the first."""
        if self.held is None:
            self.held = request
            return
        rows = [{"id": self.held, "text": "x" * 9_000_000, "more": {"id": self.held}}]
        send({"result": {"structuredContent": {"rows": rows}, "content": []}}, last=request)
        held, self.held = self.held, None
        send({"result": {"content": [{"type": "text", "text": "held"}]}}, last=held)

    def answer(self, request: dict) -> None:
        method = request.get("method")
        if "id" not in request:
            note(method)
            return
        if method == "initialize":
            result = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "bare", "version": "1"},
            }
        elif method == "tools/list" and MODE == "quoting":
            error = {"code": -32000, "message": "refused " + os.environ["BARE_TOKEN"]}
            send({"id": request["id"], "error": error})
            return
        elif method == "tools/list":
            self.listings += 1
            if MODE == "changing-silently" and self.listings == 2:
                return
            result = {"tools": self.tools()} | ({"nextCursor": "x"} if MODE == "pages" else {})
        elif method == "tools/call" and MODE == "huge-last":
            self.call(request)
            self.answer_last(request["id"])
            return
        elif method == "tools/call":
            result = self.call(request)
        else:
            send({"id": request["id"], "error": {"code": -32601, "message": "no such method"}})
            return
        send({"id": request["id"], "result": result})


def main() -> None:
    note(f"start {os.getpid()}")
    if MODE == "die":
        sys.exit("cannot start: the token is " + os.environ.get("BARE_TOKEN", "missing"))
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "helper":
        helper = subprocess.Popen(
            ["sleep", "600"],  # noqa: S607 - found on the PATH given below
            stdin=QUIET,
            stdout=QUIET,
            stderr=QUIET,
            env={"PATH": os.defpath},
        )
        note(f"helper {helper.pid}")
    if MODE == "garbage":
        sys.stdout.write("Welcome to my server!\n")
    server = Server()
    for line in sys.stdin:
        if MODE != "mute":
            server.answer(json.loads(line))
    if MODE in {"stubborn", "mute"}:
        time.sleep(600)


main()
