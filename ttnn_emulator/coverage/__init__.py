"""What of TTNN is emulated, and what the results of each operation are based on.

    with ttnn_emulator.open_device() as device:
        for row in coverage.rows(device):
            print(row.operation, row.basis, *row.recordings)

`python -m ttnn_emulator.coverage` prints the page of all operations, docs/coverage.md.
"""

from ttnn_emulator.coverage.operations import BASES, OperationCoverage, rows

__all__ = ["BASES", "OperationCoverage", "rows"]
