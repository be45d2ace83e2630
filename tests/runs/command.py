"""The command line as a process, against the tests' server."""

import asyncio
import os
import sys

PROGRAM = [sys.executable, "-c", "from executus.cli import main; main()"]


async def command(address: str, *arguments: str) -> tuple[int, str]:
    """Exit code, and what it wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        env=os.environ | {"TEMPORAL_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()
