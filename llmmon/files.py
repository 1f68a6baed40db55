"""Write files that appear whole or not at all: they get their name once all is written.

Where the system can, they have none until then, so that not even a killed process leaves half a file behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from llmmon.errors import InputError, reason_of

OPEN_FILES: Final = "/proc/self/fd"  # where this process finds its files without a name

_HINTS: Final = (
    ({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, "free space there, or write elsewhere; what was there is untouched"),
    ({errno.ENOENT, errno.ENOTDIR}, "make its folder first"),
    ({errno.EISDIR}, "name a file in it"),
)


@contextlib.contextmanager
def appearing(path: Path, *, mode: int | None = None, durable: bool = False) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end, if nothing went wrong; raises `OSError`.

    A file that is there keeps its mode and its owner; a new one gets `mode`, by default what the user's mask leaves.
    With `durable` it is on the disk before it takes the place. A link is followed, but not one that another user put
    into a folder where all may write; a device or a pipe is written as it is.
    """
    if _is_special(path):
        with path.open("wb") as file:
            yield file
        return
    _check_link(path)
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".llmmon-{os.getpid()}-{os.urandom(4).hex()}")
    handle, named = _opened(temporary)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            _take_rights(handle, path, _unmasked() if mode is None else mode)
            if durable:
                os.fsync(handle)
            if not named:
                os.link(f"{OPEN_FILES}/{handle}", temporary, src_dir_fd=handle)  # so that the link is followed
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error for a file that cannot be written, with what can be done about it."""
    hint = next((hint for numbers, hint in _HINTS if error.errno in numbers), "write elsewhere")
    return InputError(f"cannot write {path}: {reason_of(error)}", hint=hint)


def _is_special(path: Path) -> bool:
    if path.is_relative_to("/dev") or path.is_relative_to("/proc"):
        return True  # also where it leads to a file, as /dev/stdout may
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def _check_link(path: Path) -> None:
    """Raise `PermissionError` for a link as `fs.protected_symlinks` has it, which stops opening but not replacing."""
    if path.is_symlink():
        link, folder = path.lstat(), path.parent.stat()
        shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if shared and link.st_uid not in {os.geteuid(), folder.st_uid}:
            raise PermissionError(errno.EACCES, "a link of another user in a shared folder", str(path))


def _take_rights(handle: int, path: Path, mode: int) -> None:
    """Give the new file the owner and mode of the one that it replaces, else `mode`."""
    try:
        old = path.stat()
    except OSError:
        os.fchmod(handle, mode)
        return
    with contextlib.suppress(OSError):  # only root may give files away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _opened(temporary: Path) -> tuple[int, bool]:
    """A new file in the folder of `temporary`, and whether it has that name already; raises `OSError`."""
    if hasattr(os, "O_TMPFILE") and Path(OPEN_FILES).exists():
        with contextlib.suppress(OSError):  # not every file system can, and what else is wrong shows below
            return os.open(temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o600), False
    return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), True


def _unmasked() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
