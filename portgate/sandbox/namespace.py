"""Network namespaces without names: each lives as long as a file descriptor, so none can be left behind.

Theory
    A process that enters a namespace can't always come back (an unprivileged one never leaves its user
    namespace), so all entering is done in forked children. A socket belongs for ever to the namespace in which
    it was made, whoever holds it: children make sockets there and hand them over.

Facts (user_namespaces(7))
    Making a network namespace needs CAP_SYS_ADMIN, or a user namespace of one's own, made first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from portgate.children import answer_of, value_of
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
PR_SET_PDEATHSIG: Final = 1
MOST_DESCRIPTORS: Final = 200  # in one message, of which the kernel takes 253 (SCM_MAX_FD)

_libc = ctypes.CDLL(None, use_errno=True)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Namespace:
    """Open descriptors of a network namespace and of the user namespace that it belongs to, None for ours."""

    network: int
    user: int | None

    def enter(self) -> None:
        """Moves the calling process into it for good, and lets it die with its parent. For children only."""
        die_with_parent()
        if self.user is not None:
            _checked(_libc.setns(self.user, CLONE_NEWUSER))
        self.turn()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns, or raises, when a forked child runs it inside. Both must be picklable."""

        def inside() -> tuple[T, Sequence[int]]:
            self.enter()
            return function(*args, **kwargs), ()

        return in_child(inside)[0]

    def turn(self) -> None:
        """Moves a process that has entered another one of the same user namespace. For children only."""
        _checked(_libc.setns(self.network, CLONE_NEWNET))

    def sockets(self, kinds: Sequence[tuple[int, int, int]]) -> list[socket.socket]:
        """Several at once, by family, type and protocol."""

        def inside() -> tuple[None, Sequence[int]]:
            self.enter()
            return None, [socket.socket(*kind).detach() for kind in kinds[:MOST_DESCRIPTORS]]

        if not kinds:
            return []
        made = [socket.socket(fileno=descriptor) for descriptor in in_child(inside)[1]]
        return made + self.sockets(kinds[MOST_DESCRIPTORS:])

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that sends and receives inside, for use here."""
        return self.sockets([(family, kind, protocol)])[0]


def create(count: int) -> tuple[Namespace, ...]:
    """New namespaces, all in one user namespace. Errors: PortgateError PG590 where the kernel refuses."""
    if not hasattr(_libc, "unshare"):
        raise _refusal("this system has none, Linux has")
    try:
        private, descriptors = in_child(lambda: _unshare(count))
    except OSError as error:
        raise _refusal(str(error.strerror)) from None
    user = descriptors.pop() if private else None
    return tuple(Namespace(network, user) for network in descriptors)


def close(namespaces: Sequence[Namespace]) -> None:
    """The kernel removes them, with all that they hold, as soon as no process and no socket is left inside."""
    descriptors = {number for one in namespaces for number in (one.network, one.user) if number is not None}
    for descriptor in descriptors:
        os.close(descriptor)


def in_child(function: Callable[[], tuple[T, Sequence[int]]]) -> tuple[T, list[int]]:
    """Runs it in a forked child. Shape: it returns a value and file descriptors, and both arrive here."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _report(theirs, function)
    theirs.close()
    try:
        return _received(ours)
    finally:
        ours.close()
        kill(child)


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def die_with_parent() -> None:
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def _report(pipe: socket.socket, function: Callable[[], tuple[T, Sequence[int]]]) -> None:
    """The life of a child: it must not return, for above it lies a copy of the parent's stack."""
    try:
        descriptors: list[int] = []

        def value() -> T:
            made, opened = function()
            descriptors.extend(opened)
            return made

        answer = answer_of(value)
        sys.stdout.flush()
        socket.send_fds(pipe, [b"."], descriptors)
        pipe.sendall(answer)
    finally:
        os._exit(0)


def _received(pipe: socket.socket) -> tuple[T, list[int]]:
    _, descriptors, _, _ = socket.recv_fds(pipe, 1, MOST_DESCRIPTORS)
    with pipe.makefile("rb") as stream:
        answer = stream.read()
    if not answer:
        raise PortgateError(Diagnostic("PG591", "a process in the sandbox ended before it had answered"))
    return value_of(answer), descriptors


def _unshare(count: int) -> tuple[bool, Sequence[int]]:
    """Descriptors of new network namespaces, and after them that of a user namespace where one was needed."""
    private = not _may_unshare()
    if private:
        _become_root()
    networks = [_new_network() for _ in range(count)]
    users = [_descriptor("user")] if private else []
    return private, networks + users


def _may_unshare() -> bool:
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
    except PermissionError:
        return False
    return True


def _become_root() -> None:
    """In a new user namespace, where the calling user is seen as root."""
    user, group = os.geteuid(), os.getegid()
    _checked(_libc.unshare(CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _new_network() -> int:
    _checked(_libc.unshare(CLONE_NEWNET))
    return _descriptor("net")


def _descriptor(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refusal(why: str) -> PortgateError:
    return PortgateError(
        Diagnostic(
            "PG590",
            f"the kernel refuses a new network namespace: {why}",
            remedy="run it as root, or allow user namespaces (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
        )
    )
