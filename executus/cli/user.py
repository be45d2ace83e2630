"""Who is at the keyboard: recorded with everything a person does to a run or a budget."""

import getpass
import os


def user() -> str:
    """The login name; `uid 1000` where the system has none for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
