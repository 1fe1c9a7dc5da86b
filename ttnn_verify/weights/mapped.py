"""Pages of mapped files, given back once they have been read: the system keeps them as it likes.

safetensors maps its files, so that a checkpoint's weights are memory of the process from their
first use on, although they could be read again at any time.
"""

import ctypes
import mmap
from collections.abc import Iterable

import numpy as np
import torch

# Of an entry of /proc/self/pagemap (Linux, admin-guide/mm/pagemap): bits of a page.
PRESENT, SWAPPED, OF_A_FILE = (np.uint64(1 << bit) for bit in (63, 62, 61))
ENTRY = 8  # bytes
LEAST = 1 << 20  # bytes of a tensor that are worth a call of the system


def release(tensors: Iterable[torch.Tensor]) -> None:
    """Give back pages of tensors on the CPU that lie in mapped files; they are read again if used.

    A page that was written to is the process's own and would be lost. Of a tensor that has such a
    one, as of one that lies in no file, all stays.
    """
    for tensor in tensors:
        if tensor.device.type == "cpu" and tensor.nbytes >= LEAST and tensor.is_contiguous():
            _release(tensor.data_ptr(), tensor.nbytes)


def _release(address: int, size: int) -> None:
    first, end = -(-address // mmap.PAGESIZE), (address + size) // mmap.PAGESIZE  # whole pages
    if _of_files(first, end):
        begin, length = first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE
        libc = ctypes.CDLL(None)
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def _of_files(first: int, end: int) -> bool:
    """Whether each page from `first` on that is in memory is a file's, as the file has it."""
    try:
        with open("/proc/self/pagemap", "rb") as file:
            file.seek(first * ENTRY)
            pages = np.frombuffer(file.read((end - first) * ENTRY), np.uint64)
    except OSError:
        return False
    there = pages[(pages & (PRESENT | SWAPPED)) != 0]
    files = PRESENT | OF_A_FILE
    return len(pages) == end - first and bool(np.all(there & files == files))
