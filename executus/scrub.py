"""Take out of a text for the model or a person what is only the worker's business. Pure."""

import re

URL = re.compile(
    r"\b(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)"
    r"(?:[^\s/@\"'<>]*@)?"
    r"(?P<host>[^\s/?#\"'<>\\]*)"
    r"(?P<rest>[^\s\"'<>]*)"
)
QUOTED_PATH = re.compile(
    r"(?P<quote>[\"'])(?:/|[A-Za-z]:\\)[^\"'\n]*?(?P<base>[^/\\\"'\n]*)(?P=quote)"
)
BARE_PATH = re.compile(r"(?<![\w.:/\\…])(?:/|[A-Za-z]:\\)(?:[\w.@+~-]+[/\\])+(?P<base>[\w.@+~-]*)")


def cut_urls(text: str) -> str:
    """Every URL cut to its scheme and host: paths and queries carry keys and names."""
    return URL.sub(lambda m: m["scheme"] + m["host"] + ("/…" if len(m["rest"]) > 1 else ""), text)


def cut_paths(text: str) -> str:
    """Every absolute path cut to its last part: folders say how the worker is built."""
    text = QUOTED_PATH.sub(lambda m: f"{m['quote']}…/{m['base']}{m['quote']}", text)
    return BARE_PATH.sub(lambda m: f"…/{m['base']}", text)
