"""What a run of drift computes and a later one need not: by keys of all that determines it.

Nothing is kept unless a caller asks for it.
"""

import contextlib
import pathlib
from collections.abc import Iterator

from ttnn_verify.drift.reuse.passes import KeptPasses
from ttnn_verify.drift.reuse.verdicts import KeptVerdicts
from ttnn_verify.files import stored
from ttnn_verify.huggingface import golden

FILE = "drift.sqlite"


def default_file() -> pathlib.Path | None:
    """Where results are kept unless a file is given: in the goldens' folder, if it is safe."""
    folder = golden.default_folder()
    return folder and folder / FILE


@contextlib.contextmanager
def opened(path: str | pathlib.Path | None = None) -> "Iterator[Kept]":
    """The results in a file, `default_file()` by default; the new ones are written at the end.

    Without a file none are kept.
    """
    with stored.opened(path or default_file()) as results:
        yield Kept(results)


class Kept:
    """Results of earlier runs; the new ones are kept as well.

    Attributes:
        verdicts: on calls of the model.
        passes: of Hugging Face's model.
    """

    def __init__(self, results: stored.StoredResults) -> None:
        self.verdicts = KeptVerdicts(results)
        self.passes = KeptPasses(results)
