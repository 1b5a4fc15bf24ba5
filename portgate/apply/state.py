"""The directory in which portgate remembers what it did.

Rules of this file
    The directory is 0700 and ours, files are 0600, names are fixed words. Every file is opened relative to the directory's
    descriptor and never through a symbolic link; a write is a new file that takes the old one's name when it is
    complete and on the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from portgate.core.diagnostics import Diagnostic, PortgateError

DEFAULT_DIRECTORY = "/var/lib/portgate"
MAX_BYTES = 1 << 20
_ROOM = 1 << 16  # more than a record takes
_REMEDY = "name another directory in PORTGATE_STATE_DIR, or repair this one"


def state_path() -> str:
    """Where the state lies: $PORTGATE_STATE_DIR, else /var/lib/portgate."""
    return os.environ.get("PORTGATE_STATE_DIR") or DEFAULT_DIRECTORY


class State:
    """The open state directory. Errors of every method: PortgateError PG520."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._directory = descriptor

    def read(self, name: str, limit: int | None = MAX_BYTES) -> bytes | None:
        """None when there is no such file."""
        with _explained(f"{self.path}/{name}"):
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._directory)
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, "rb") as file:
                return file.read(limit)

    def write(self, name: str, data: bytes) -> None:
        """Atomically: after a crash the file is the old one or the new one, whole."""
        with _explained(f"{self.path}/{name}"):
            self._write_beside(name, data)
            os.rename(self._beside(name), name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)

    def remove(self, name: str) -> None:
        """Nothing when there is no such file."""
        with _explained(f"{self.path}/{name}"):
            self._remove(name)

    def rename(self, name: str, folder: State, new: str) -> None:
        """Moves a file into a folder of this directory; nothing when there is no such file."""
        with _explained(f"{self.path}/{name}"):
            try:
                os.rename(name, new, src_dir_fd=self._directory, dst_dir_fd=folder._directory)
            except FileNotFoundError:
                return
            os.fsync(folder._directory)
            os.fsync(self._directory)

    def names(self) -> list[str]:
        """The files in this directory."""
        with _explained(self.path):
            return os.listdir(self._directory)

    @contextmanager
    def folder(self, name: str) -> Iterator[State]:
        """A directory in this one, with the same rules, which is made where it is missing."""
        path = f"{self.path}/{name}"
        with _explained(path):
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._directory)
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._directory)
        try:
            _require_ours(path, os.fstat(descriptor))
            yield State(path, descriptor)
        finally:
            os.close(descriptor)

    def require_room(self) -> None:
        """Finds out before anything is touched that a record could not be written later."""
        with _explained(self.path):
            try:
                self._write_beside("room", b"\0" * _ROOM)
            finally:
                self._remove(self._beside("room"))

    def open_lock(self) -> int:
        """The descriptor of the lock file, which the caller closes."""
        with _explained(f"{self.path}/lock"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open("lock", flags, 0o600, dir_fd=self._directory)

    def _beside(self, name: str) -> str:
        return f".{name}.{os.getpid()}"

    def _write_beside(self, name: str, data: bytes) -> None:
        """A new file; what a crashed process of the same number left is in nobody's use."""
        self._remove(self._beside(name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(self._beside(name), flags, 0o600, dir_fd=self._directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[State]:
    """The state in `path`, which is made where it is missing. Errors: PortgateError PG520."""
    with _explained(path):
        os.makedirs(path, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _require_ours(path, os.fstat(descriptor))
        yield State(os.fspath(path), descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def found(path: str | os.PathLike[str]) -> Iterator[State | None]:
    """The state in `path`, None where there is none; nothing is made. Errors: PortgateError PG520."""
    with _explained(path):
        there = _is_there(path)
    if there:
        with opened(path) as state:
            yield state
    else:
        yield None


def _is_there(path: str | os.PathLike[str]) -> bool:
    """A link to nothing is. Errors: OSError where that can't be known."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _require_ours(path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Whoever can write there could make portgate skip an apply."""
    if found.st_uid not in (0, os.geteuid()):
        raise _unusable(f"{path} belongs to the user {found.st_uid}")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise _unusable(f"{path} can be written by others", f"chmod 700 {path}")


@contextmanager
def _explained(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}") from error


def _unusable(detail: str, remedy: str = _REMEDY) -> PortgateError:
    return PortgateError(Diagnostic("PG520", detail, remedy=remedy))
