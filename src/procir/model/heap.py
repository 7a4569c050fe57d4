"""Memory that training frees and wants back at once."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks instead of giving them back to the kernel; says whether it could.

    PyTorch on a CPU frees and allocates the same activations at every step; each round trip through the kernel
    costs a page fault for every 4 KiB. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
