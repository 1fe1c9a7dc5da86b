"""A model file: loaded, and its code run so that nothing it raises gets past a sentence."""

import contextlib
import importlib.machinery
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from ttnn_verify import backend, sentences
from ttnn_verify.huggingface.inputs import BadInput, ModelFails, Undetermined

# Parts of the names of files in which an error is not a model's author's.
_HERE = pathlib.Path(__file__).parent
_OURS = (str(_HERE), str(_HERE.parent / "ttnn_emulator"))
_NOT_THE_AUTHORS = ("site-packages", "<frozen", *_OURS)


def load_model_file(path: str | pathlib.Path) -> types.ModuleType:
    """Run a model file and return it as a module that has `build_model`.

    Raises:
        BadInput: no such file.
        ModelFails: it is not Python, it raises, or it has no `build_model`.
    """
    path, shown = pathlib.Path(path), sentences.shown(str(path), sentences.LONGEST // 2)
    if not is_file(path):
        raise BadInput(f"no model file {shown}; it is a Python file that defines build_model.")
    name = f"model_file_{path.stem}"  # "model" itself would hide the package of that name
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    try:
        loader.get_code(name)
    except OSError as error:
        raise BadInput(f"model file {shown}: {error.strerror}.") from error
    except Exception as error:  # SyntaxError, ValueError; MemoryError of brackets in brackets
        reason = sentences.first_line(error) or type(error).__name__
        raise ModelFails(f"model file {shown} is not Python: {reason}.") from error
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # None only for a loader without `is_package`
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    with model_runs(f"model file {shown}"):
        loader.exec_module(module)
        defines = callable(getattr(module, "build_model", None))
    if not defines:
        raise ModelFails(
            f"model file {shown} has no build_model(hf_model, tt_device, max_seq_len)."
        )
    return module


def check_config(module: types.ModuleType | None, config: Any) -> None:
    """Let a model file look at a configuration, before any weights are loaded.

    It may have a `check_config(hf_config)` that raises ValueError for unsupported ones.

    Raises:
        ModelFails: it refuses the configuration, or fails.
    """
    own = getattr(module, "check_config", None)
    if own is None:
        return
    with model_runs("check_config"):
        try:
            own(config)
        except ValueError as error:
            raise ModelFails(sentences.sentence(error)) from error


def mesh_shape(module: types.ModuleType) -> tuple[int, int] | None:
    """The rows and columns of chips that a model file asks for by MESH_SHAPE; None for one chip.

    Raises:
        BadInput: it is not two whole numbers of at least 1.
    """
    shape = getattr(module, "MESH_SHAPE", None)
    if shape is None:
        return None
    if isinstance(shape, (list, tuple)) and len(shape) == 2:
        rows, columns = shape
        if type(rows) is type(columns) is int and rows > 0 and columns > 0:
            return rows, columns
    raise BadInput(
        f"MESH_SHAPE is {sentences.shown(shape)}; it is two whole numbers of at least 1, the rows "
        "and columns of chips."
    )


def is_file(path: pathlib.Path) -> bool:
    """Whether there is a file of that name, which may be too long for any."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long; with a null character
        return False


@contextlib.contextmanager
def model_runs(what: str) -> Iterator[None]:
    """Within, code of a model's author runs; whatever it raises becomes ModelFails.

    So do SystemExit, with which a file would end the command with a status of its own, and other
    exceptions that are no errors. Ctrl-C is nobody's failure, nor what a signal's handler raises,
    or this package.

    Args:
        what: is running, in words.
    """
    try:
        yield
    except (BadInput, ModelFails, Undetermined, backend.BackendError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever its author's code raises
        # contextlib takes an error that comes of StopIteration for Python's own (PEP 479)
        cause = None if isinstance(error, StopIteration) else error
        raise ModelFails(f"{what} fails: {described(error)}.") from cause
    except BaseException as error:
        if type(error) is KeyboardInterrupt or _raised_here(error):
            raise
        raise ModelFails(f"{what} ends the program: {described(error)}.") from error


def described(error: BaseException) -> str:
    """An exception in a line: its type, what it says first, and the author's line it came from."""
    return sentences.described(error, _NOT_THE_AUTHORS)


def _raised_here(error: BaseException) -> bool:
    """Whether the innermost frame that raised an exception is in this package."""
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename
    return file.startswith(_OURS) and file != __file__
