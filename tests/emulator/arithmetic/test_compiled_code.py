"""Compiled code is that of the sources as they are now."""

import pathlib

from ttnn_emulator import arithmetic, startup
from ttnn_emulator.arithmetic.exact.matrix import matrix_kernels


def folder_of(tmp_path, **sources):
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
    return startup.compiled_code_folder(tmp_path)


def test_a_change_of_any_source_leaves_the_old_code_behind(tmp_path):
    before = folder_of(tmp_path, caller="import called", called="x = 1")
    assert folder_of(tmp_path, caller="import called", called="x = 1") == before
    assert folder_of(tmp_path, caller="import called", called="x = 2") != before


def test_numba_keeps_its_code_there():
    expected = pathlib.Path(arithmetic.__file__).parent
    cache = pathlib.Path(matrix_kernels._in_turn.stats.cache_path)
    assert cache.parent.name == startup.compiled_code_folder(expected).name
