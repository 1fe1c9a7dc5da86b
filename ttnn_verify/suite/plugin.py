"""The pytest plugin of the suite: its options, the model under test, and its three test modules."""

import contextlib
import fnmatch
import importlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ttnn_verify import backend, cli, jobs, network, sentences
from ttnn_verify.huggingface import inputs
from ttnn_verify.pytest_plugins import device as devices
from ttnn_verify.pytest_plugins import hang
from ttnn_verify.pytest_plugins.keys import BACKEND, DEVICE, MESH, SYSTEM
from ttnn_verify.suite import settings

if TYPE_CHECKING:  # TTNN, which they import, is slow, and xdist's controller does without
    from ttnn_verify.suite.phases import Phase
    from ttnn_verify.suite.subject import Subject

PACKAGE = __package__
FOLDER = pathlib.Path(__file__).parent
TIERS = ("ops", "layers", "e2e")  # modules of this folder, which hold tests

SETTINGS = pytest.StashKey[settings.SubjectSettings]()
SUBJECT: "pytest.StashKey[Subject]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    settings.add_options(parser.getgroup("suite", "the tests of a TTNN model file"))


@pytest.hookimpl(trylast=True)  # the backend is picked by then
def pytest_configure(config: pytest.Config) -> None:
    if config.option.help or config.option.markers:
        return
    inputs.quiet_transformers()
    network.allow(config.option.download)
    try:
        chosen = settings.settings_of(config, config.stash[BACKEND])
        config.stash[SETTINGS] = chosen
        config.stash[SYSTEM], config.stash[MESH] = chosen.bringup.system, chosen.bringup.mesh
    except (inputs.BadInput, backend.BackendError) as error:
        raise pytest.UsageError(_line(error)) from error
    except inputs.ModelFails as error:
        pytest.exit(f"could not tell: {_line(error)}", cli.UNDETERMINED)


def _line(error: Exception) -> str:
    return sentences.sentence(error)


def pytest_report_header(config: pytest.Config) -> str:
    chosen = config.stash[SETTINGS]
    return (
        f"suite: {chosen.path} built for {chosen.bringup.max_seq_len} positions, against "
        f"{chosen.checkpoint.name}, on {chosen.described_text}"
    )


def subject_of(config: pytest.Config) -> "Subject":
    """The model under test of this process."""
    if SUBJECT not in config.stash:
        from ttnn_verify.suite.subject import Subject

        def watch() -> contextlib.AbstractContextManager[None]:
            seconds = config.stash[devices.TIMEOUT]
            if not seconds:
                return contextlib.nullcontext()
            return hang.watched(seconds, config.stash[devices.STDERR])

        subject = Subject(config.stash[SETTINGS], config.stash[DEVICE].get, watch)
        config.stash[SUBJECT] = subject
        config.add_cleanup(subject.release)  # before the device closes
    return config.stash[SUBJECT]


@pytest.fixture(scope="session")
def subject(device: Any, request: pytest.FixtureRequest) -> "Iterator[Subject]":
    """The model under test, on the device of this process, after its first run."""
    subject = subject_of(request.config)
    _ = subject.first_run  # before any test uses the model
    yield subject
    subject.release()


def proceed(phase: "Phase") -> None:
    """Skip or fail a test of a phase that the model did not run through."""
    if phase.skipped:
        pytest.skip(phase.skipped)
    if phase.failed:
        pytest.fail(phase.failed, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[Any]:
    """A model that fails fails the test, with a sentence and without the suite's own stack."""
    with _in_a_sentence():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The same of a fixture, which builds the model or runs Hugging Face's."""
    with _in_a_sentence():
        return (yield)


@contextlib.contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except (inputs.BadInput, inputs.ModelFails, jobs.Undetermined) as error:
        pytest.fail(_line(error), pytrace=False)


class TierModule(pytest.Module):
    """A module of tests of this package, named as it is imported: `ttnn_verify.suite.ops`.

    Its node ids are the same wherever the package is installed, and `--pyargs` takes them. Nothing
    is put on the import path, where it might hide a module of the model's.
    """

    def _getobj(self) -> Any:
        return importlib.import_module(self.nodeid)


def pytest_collect_file(file_path: pathlib.Path, parent: pytest.Collector) -> TierModule | None:
    """The modules of this folder, whose names are not as pytest's patterns ask."""
    patterns = parent.config.getini("python_files")
    by_pytest = parent.session.isinitpath(file_path) or any(
        fnmatch.fnmatch(file_path.name, pattern) for pattern in patterns
    )
    return None if by_pytest else _tier_module(file_path, parent)


def pytest_pycollect_makemodule(
    module_path: pathlib.Path, parent: pytest.Collector
) -> TierModule | None:
    return _tier_module(module_path, parent)


def _tier_module(path: pathlib.Path, parent: pytest.Collector) -> TierModule | None:
    if path.parent != FOLDER or path.stem not in TIERS:
        return None
    return TierModule.from_parent(parent, path=path, nodeid=f"{PACKAGE}.{path.stem}")
