"""Print uv.lock as pip constraints: `python3 .ci/constraints.py uv.lock > constraints.txt`.

So that a machine without uv installs what a machine with it does: a linter's or a stub's release of
this morning must not decide whether `make check` passes. Packages that the lock has in several
versions (for several Pythons) are left to pip.
"""

import sys
import tomllib
from collections import Counter
from pathlib import Path


def constraints(lock: Path) -> list[str]:
    """`name==version` of each package that is locked to one version."""
    packages = [
        package
        for package in tomllib.loads(lock.read_text())["package"]
        if "registry" in package["source"]
    ]
    count = Counter(package["name"] for package in packages)
    return [
        f"{package['name']}=={package['version']}"
        for package in packages
        if count[package["name"]] == 1
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(constraints(Path(sys.argv[1]))) + "\n")
