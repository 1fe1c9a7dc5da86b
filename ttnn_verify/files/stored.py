"""Results that are kept on disk between runs, by keys that have all that determines them.

They are in one file of SQLite. Any number of processes may read it at once, and each writes what is
new when it ends. The file may be deleted at any time. A damaged one is begun anew; where it cannot
be read or written, nothing is kept, and a warning logged.
"""

import contextlib
import hashlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar

LIMIT = 2 << 30  # bytes of a file, beyond which the results go that were used longest ago
LARGEST = 256 << 20  # bytes of a result that is worth keeping
WAITING = 64 << 20  # bytes of new results that are written before the end
TIMEOUT = 60.0  # seconds in which another process has written what it has

# The runs are apart: to change a row is to write its content again.
RESULTS = (
    "CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, content BLOB NOT NULL, "
    "checksum BLOB NOT NULL)"
)
RUNS = "CREATE TABLE IF NOT EXISTS runs (key BLOB PRIMARY KEY, last INTEGER NOT NULL)"

T = TypeVar("T")

log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(path: str | pathlib.Path | None, limit: int = LIMIT) -> "Iterator[StoredResults]":
    """The results in a file, to which new ones are written when the block ends, however it ends.

    Without a file there are none, and none are kept.
    """
    stored = StoredResults(pathlib.Path(path or os.devnull), limit)
    if path:
        stored.open()
    try:
        yield stored
    finally:
        stored.close()


class StoredResults:
    """Bytes by their keys, see `opened`."""

    def __init__(self, path: pathlib.Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self._file: sqlite3.Connection | None = None
        self._run = 0  # this one's number, by which the results used last are known
        self._new: dict[bytes, bytes] = {}
        self._used: set[bytes] = set()
        self._waiting = 0  # bytes of what is new

    def open(self) -> None:
        there = self.path.is_file()
        self._tried(self._open)
        if self._file is None and there and not self.path.exists():
            self._tried(self._open)  # it was damaged and is gone

    def close(self) -> None:
        self._tried(self._write)
        self._leave()

    def get(self, key: bytes) -> bytes | None:
        """What is kept by a key, None without."""
        if key in self._new:
            return self._new[key]
        content = self._tried(lambda: self._read(key))
        if content is not None:
            self._used.add(key)
        return content

    def put(self, key: bytes, content: bytes) -> None:
        """Keep a result, in place of one with that key."""
        if self._file is None or len(content) > LARGEST:
            return
        self._waiting += len(content)
        self._new[key] = content
        if self._waiting > WAITING:
            self._tried(self._write)

    def flush(self) -> None:
        """Write what is new now, whatever becomes of the process."""
        self._tried(self._write)

    # --- the file -------------------------------------------------------------------------------

    def _tried(self, action: Callable[[], T]) -> T | None:
        """What an action on the file returns; None where it fails, and the file is left then."""
        try:
            return action()
        except (OSError, sqlite3.OperationalError) as error:  # a full disk, a lock that stays
            log.warning("results cannot be kept in %s: %s", self.path, error)
        except sqlite3.DatabaseError as error:
            log.warning("%s is begun anew: %s", self.path, error)
            self.path.unlink(missing_ok=True)
        self._leave()
        return None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=None)
        file.execute(RESULTS)
        file.execute(RUNS)
        ((last,),) = file.execute("SELECT max(last) FROM runs")
        self._run = (last or 0) + 1

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._new.clear()
        self._used.clear()

    def _read(self, key: bytes) -> bytes | None:
        if self._file is None:
            return None
        query = "SELECT content, checksum FROM results WHERE key = ?"
        for content, checksum in self._file.execute(query, (key,)):
            if checksum == _checksum(key, content):
                return content
        return None

    def _write(self) -> None:
        if self._file is None or not (self._new or self._used):
            return
        rows = [(key, new, _checksum(key, new)) for key, new in self._new.items()]
        used = [(key, self._run) for key in self._used | self._new.keys()]
        self._file.execute("BEGIN IMMEDIATE")
        self._file.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?)", used)
        self._make_room()
        self._file.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)
        self._file.execute("COMMIT")
        self._new.clear()
        self._used.clear()
        self._waiting = 0

    def _make_room(self) -> None:
        """Delete what was used longest ago, a tenth at a time, until what waits has room."""
        assert self._file is not None
        # pages that hold nothing are kept for what comes
        filled = (
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, "
            "pragma_freelist_count, pragma_page_size"
        )
        oldest = "SELECT key FROM results LEFT JOIN runs USING (key) ORDER BY last LIMIT ?"
        while self._file.execute(filled).fetchone()[0] + self._waiting > self.limit:
            ((count,),) = self._file.execute("SELECT count(*) FROM results")
            if not count:
                break
            keys = self._file.execute(oldest, (1 + count // 10,)).fetchall()
            self._file.executemany("DELETE FROM results WHERE key = ?", keys)
            self._file.executemany("DELETE FROM runs WHERE key = ?", keys)


def _checksum(key: bytes, content: bytes) -> bytes:
    return hashlib.sha256(key + content).digest()
