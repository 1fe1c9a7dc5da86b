"""Results on disk: kept between runs, within a limit, by processes at once, whatever is damaged."""

import concurrent.futures
import multiprocessing
import os

import pytest

from ttnn_verify.files import stored

MANY = 50  # results that each of several processes keeps


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "results.sqlite"


def keep(path, results, **kwargs):
    with stored.opened(path, **kwargs) as file:
        for key, content in results.items():
            file.put(key, content)


def kept(path, *keys):
    with stored.opened(path) as file:
        return [file.get(key) for key in keys]


def keep_many(path, name):
    """Keep `MANY` results and find them again, as a process of its own does."""
    keys = [f"{name} {number}".encode() for number in range(MANY)]
    keep(path, {key: key * 100 for key in keys})
    return kept(path, *keys) == [key * 100 for key in keys]


def test_what_is_kept_is_found_in_the_next_run_and_before(path):
    with stored.opened(path) as file:
        assert file.get(b"a") is None
        file.put(b"a", b"1")
        assert file.get(b"a") == b"1"
    assert kept(path, b"a", b"b") == [b"1", None]


def test_what_is_kept_again_takes_its_place(path):
    keep(path, {b"a": b"1"})
    keep(path, {b"a": b"2"})
    assert kept(path, b"a") == [b"2"]


def test_a_run_that_fails_keeps_what_it_had(path):
    def interrupted():
        with stored.opened(path) as file:
            file.put(b"a", b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert kept(path, b"a") == [b"1"]


def test_much_is_written_before_the_end(path, monkeypatch):
    monkeypatch.setattr(stored, "WAITING", 1000)
    with stored.opened(path) as file:
        file.put(b"a", bytes(1001))
        assert kept(path, b"a") == [bytes(1001)]
        assert file.get(b"a") == bytes(1001)


def test_a_result_that_is_too_large_is_not_kept(path, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST", 10)
    keep(path, {b"a": bytes(11), b"b": bytes(10)})
    assert kept(path, b"a", b"b") == [None, bytes(10)]


def test_what_was_used_longest_ago_goes_first(path):
    def of_run(run):
        return {f"{run} {number}".encode(): os.urandom(1500) for number in range(20)}

    runs = [of_run(run) for run in range(3)]
    for results in runs[:2]:
        keep(path, results, limit=120_000)
    assert None not in kept(path, *runs[0])  # so these were used after the others
    keep(path, runs[2], limit=120_000)
    counts = [sum(one is not None for one in kept(path, *results)) for results in runs]
    assert counts[0] == counts[2] == 20
    assert counts[1] < 20


def test_the_file_stays_within_its_limit(path):
    for run in range(6):
        keep(path, {f"{run} {i}".encode(): os.urandom(2000) for i in range(20)}, limit=100_000)
        assert path.stat().st_size <= 150_000  # its own tables, too


def test_a_file_of_something_else_is_begun_anew(path, caplog):
    keep(path, {b"a": b"1"})
    path.write_bytes(b"nothing of SQLite's" * 100)
    keep(path, {b"b": b"2"})
    assert f"{path} is begun anew" in caplog.text
    assert kept(path, b"a", b"b") == [None, b"2"]


def test_a_file_that_is_damaged_within_gives_nothing_wrong(path):
    results = {f"{number}".encode(): os.urandom(5000) for number in range(20)}
    keep(path, results)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = bytes(9000)
    path.write_bytes(content)
    found = dict(zip(results, kept(path, *results), strict=True))
    assert None in found.values()
    assert all(found[key] in (None, content) for key, content in results.items())
    keep(path, results)
    keep(path, results)  # once more, if the damage was found while writing
    assert kept(path, *results) == list(results.values())


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, caplog):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "results.sqlite"
    keep(path, {b"a": b"1"})
    assert kept(path, b"a") == [None]
    assert "cannot be kept" in caplog.text


def test_processes_keep_theirs_at_once(path):
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawn) as pool:
        assert all(pool.map(keep_many, [path] * 6, range(6)))
    keys = [f"{name} {number}".encode() for name in range(6) for number in range(MANY)]
    assert kept(path, *keys) == [key * 100 for key in keys]
