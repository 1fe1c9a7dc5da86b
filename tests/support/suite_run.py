"""A run of the suite as anyone would start it: a process in a folder outside of the repository."""

import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

import torch

from tests.bringups.bringup_table import ROWS, hf_model

from .checkpoint import ROOT

SUITE = "ttnn_verify.suite"


class SuiteRun:
    """pytest's run in a folder outside of the repository, with the entry point installed."""

    def __init__(self, folder, *args, columns=None):
        entry = pathlib.Path(ROOT, "pyproject.toml").read_text()
        name, value = re.search(r'pytest11\]\n"(\S+)" = "(\S+)"', entry).groups()
        installed = folder / "installed" / "suite_entry-1.dist-info"
        installed.mkdir(parents=True, exist_ok=True)
        (installed / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: suite-entry\nVersion: 1\n"
        )
        (installed / "entry_points.txt").write_text(f"[pytest11]\n{name} = {value}\n")
        apart = ("PYTEST_", "TT_METAL_SIMULATOR", "COV_")
        environment = {n: v for n, v in os.environ.items() if not n.startswith(apart)}
        environment.setdefault("OMP_NUM_THREADS", "1")  # as a worker of xdist has it
        if columns:
            environment["COLUMNS"] = str(columns)
        environment["PYTHONPATH"] = f"{installed.parent}{os.pathsep}{ROOT}"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.folder = folder

    def outcomes(self):
        """id of a test -> (outcome, its first words), by junit.xml."""
        results = {}
        for case in xml.parse(self.folder / "junit.xml").iter("testcase"):
            kinds = {child.tag: child.get("message") for child in case}
            outcome = next((kind for kind in ("failure", "error", "skipped") if kind in kinds), "")
            name = re.sub(r"^test_(?:value|operation)\[(.*)\]$", r"\1", case.get("name"))
            results[name] = outcome or "passed", kinds.get(outcome) or ""
        return results


def suite(*args):
    """The arguments of a run of the suite on the emulated device."""
    return ("--pyargs", SUITE, "--backend", "emulated", "--arithmetic", "rounded", *args)


def small(folder, file):
    """The arguments for a model file of what tests/bringups/batched.py is built from."""
    row = next(row for row in ROWS if row.module == "batched")
    hf_model(row).save_pretrained(folder / "checkpoint")
    ids = torch.randint(3, 256, (70,), generator=torch.Generator().manual_seed(0))
    (folder / "ids.txt").write_text(" ".join(map(str, ids.tolist())))
    named = (f"--model-file={file}", "--model=checkpoint", "--prompt-ids-file=ids.txt")
    return (*named, "--max-seq-len=128")
