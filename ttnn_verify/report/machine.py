"""What a run ran on: versions, processor, commit."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess

PACKAGES = ("ttnn", "torch", "transformers", "numpy", "pytest")
OURS = "phi3-ttnn-verification"


def versions() -> dict[str, str]:
    """name -> version of Python and of what the figures depend on."""
    names = {"Python": platform.python_version()}
    for name in (*PACKAGES, OURS):
        try:
            names[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            names[name] = "not installed"
    return names


def now() -> str:
    """The time, as pages state it."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"


def processor() -> str:
    """The processor's name and how many there are of it."""
    name = platform.processor() or platform.machine()
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        name = match[1] if match else name
    except OSError:
        pass
    return f"{os.cpu_count()} x {name}"


def commit(folder: pathlib.Path) -> str:
    """The folder's git commit, with a + if its files have changed since; empty without git."""
    try:
        ran = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
