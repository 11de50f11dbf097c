"""How optional packages are installed."""

import re
import sys


def install_command(package: str) -> str:
    """What to type to install a package for the Python that is running."""
    quoted = f"'{package}'" if re.search(r"[<>\[ ]", package) else package
    return f"{sys.executable} -m pip install {quoted}"
