"""A live host through libnftables: one process, one context, no `nft` program.

Facts
    The binding from the package index lacks the dry run of the distribution's, but both drive the same library
    (pip-nftables 1.0.2, python3-nftables 1.0.6). libnftables ends the process when it gets no netlink socket, so
    the kernel is asked for one before (nft 1.0.6, mnl.c).
    nft prints and reads hours of the day in the time zone of its process, although the kernel keeps UTC.
    Of the listings without elements only that of a whole family is made without asking the kernel for them (nft 1.0.6).
    For the name of a protocol nft reads /etc/protocols anew each time: 10,000 elements took 85 ms, with numbers 31 (nft 1.0.6).
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_bool, c_char_p, c_void_p
from functools import cache
from pathlib import Path
from types import ModuleType

from portgate.backends.nftables import TABLE, batch
from portgate.backends.nftables.conclusion import completed, own_table
from portgate.backends.nftables.staging import Stage, staged
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.capture import Artifact, Loaded, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError

LONG = 1 << 18  # characters of a complete text, from which on to conclude is quicker than to list
DISTRIBUTION = Path("/usr/lib/python3/dist-packages/nftables/nftables.py")
NETLINK_NETFILTER = 12
GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
REPLY_ERROR = 2  # NLMSG_ERROR
GENERATION_ID = 1  # NFTA_GEN_ID
SET_FLAGS, SET_KEY_TYPE = 3, 4  # NFTA_SET_*
SET_INTERVAL = 4  # NFT_SET_INTERVAL
SOL_NETLINK, CAP_ACK, EXT_ACK = 270, 10, 11  # linux/netlink.h
EXPLANATION = 1  # NLMSGERR_ATTR_MSG
SO_SNDBUFFORCE = 32  # asm-generic/socket.h


def available() -> str | None:
    """None when this process can drive nftables, else why not and what to do."""
    try:
        _generation_number()
        _binding()
    except PortgateError as error:
        first = error.diagnostics[0]
        return f"{first.detail}; {first.remedy}" if first.remedy else first.detail
    return None


class NftablesSession:
    """See `portgate.backends.Session`."""

    def __init__(self, loaded: Loaded | None = None) -> None:
        self._loaded = loaded if loaded and loaded.length >= LONG else None
        _generation_number()
        self._nft = _binding().Nftables()
        self._context: int = vars(self._nft)["_Nftables__ctx"]  # the one thing that the binding has and does not offer
        self._only_tries = False
        self._transactions = 1  # that the last load was

    def read(self) -> tuple[Reading, ...]:
        concluded = self._concluded()
        if concluded is not None and (tables := self._tables(concluded)):
            return tables
        with _on(self._nft.set_json_output):
            text = self._run("list ruleset")
        return (Reading("nft-json", text, "nft -j list ruleset"),)

    def read_own(self) -> Reading:
        return self._concluded() or self._listed()

    def _listed(self) -> Reading:
        with _on(self._nft.set_handle_output, self._nft.set_numeric_proto_output):
            status, listing, complaint = self._command(f"list table {TABLE}")
        if status != 0 and os.strerror(errno.ENOENT) not in complaint:
            raise PortgateError(*_diagnostics("", complaint))
        return Reading("nft", listing, f"nft -a -p list table {TABLE}")

    def _concluded(self) -> Reading | None:
        """Our table where nobody has changed a rule since it was loaded, and it would be long to list; else None."""
        loaded = self._loaded
        if loaded is None or loaded.generation != self.generation():
            return None
        table, text = own_table(self._outline().text), loaded.text()
        whole = completed(table, text, self._set_of_ours) if table and text else None
        unchanged = whole and loaded.generation == self.generation()
        return Reading("nft", whole, f"{TABLE}: long lists as they were loaded") if whole and unchanged else None

    def _set_of_ours(self, name: str) -> str:
        with _on(self._nft.set_handle_output, self._nft.set_numeric_proto_output):
            return self._run(f"list set {TABLE} {name}")

    def _tables(self, own: Reading) -> tuple[Reading, ...]:
        """All tables, ours as it is given; () when somebody changed a rule meanwhile."""
        generation = self.generation()
        with _on(self._nft.set_json_output):
            with _on(self._nft.set_terse_output):
                outline = json.loads(self._run("list ruleset"))
            tables = [one["table"] for one in outline["nftables"] if "table" in one]
            readings = tuple(own if _is_own(table) else self._table(table) for table in tables)
        return readings if generation == self.generation() else ()

    def _table(self, table: dict[str, str]) -> Reading:
        """In JSON, for a name of somebody else's must not become a word of nft."""
        named = {"family": table["family"], "name": table["name"]}
        return Reading(
            "nft-json", self._run(json.dumps({"nftables": [{"list": {"table": named}}]})), "nft -j list table"
        )

    def _outline(self) -> Reading:
        with _on(self._nft.set_handle_output, self._nft.set_numeric_proto_output, self._nft.set_terse_output):
            return Reading("nft", self._run("list ruleset inet"), "nft -t -a -p list ruleset inet")

    def check(self, artifact: Artifact) -> None:
        trial = NftablesSession()  # what a dry run adds stays in the cache of its context (nft 1.0.6)
        trial.only_try()
        trial.load(artifact)

    def only_try(self) -> None:
        """From now on this session changes nothing."""
        self._only_tries = True
        library = CDLL("libnftables.so.1")
        library.nft_ctx_set_dry_run.argtypes = [c_void_p, c_bool]
        library.nft_ctx_set_dry_run(self._context, True)

    def load(self, artifact: Artifact) -> None:
        """What only changes elements, and long lists for new sets, are told the kernel itself, for libnftables is slow at that."""
        script = artifact.text
        self._transactions = 1
        if self._only_tries:
            self._run(script)
        elif messages := _messages(batch.changes(script)):
            _deliver(messages)
        elif (stage := staged(script)) and (way_back := _way_back(stage)):
            self._load_staged(stage, way_back)
        else:
            self._run(script)

    def _load_staged(self, stage: Stage, way_back: str) -> None:
        """Whatever ends this early, an interrupt as well, takes back what has no effect yet."""
        self._transactions = len(stage.lists) + 2
        self._run(stage.declared)
        done = False
        try:
            for one in stage.lists:
                _deliver(batch.messages((one,), {one.set: _key_types(one.set)}))
            self._run(stage.rest)
            done = True
        finally:
            if not done:
                self._run(way_back)

    def generation(self) -> str | None:
        """The kernel's count of nf_tables transactions, bound to this boot and network namespace."""
        return _generation(_generation_number())

    def outline_after(self, generation: str | None) -> Reading | None:
        if generation != _generation(_generation_number() - self._transactions):
            return None
        return self._outline()

    def complaint_of_file(self, path: str) -> str:
        """What libnftables says of a script in a file; of sessions that only try."""
        library = CDLL("libnftables.so.1")
        library.nft_run_cmd_from_filename.argtypes = [c_void_p, c_char_p]
        with _utc():
            library.nft_run_cmd_from_filename(self._context, path.encode())
        complaint: bytes = self._nft.nft_ctx_get_error_buffer(self._context)
        return complaint.decode(errors="replace")

    def _run(self, script: str) -> str:
        status, output, complaint = self._command(script)
        if status != 0:
            placed = _complaint_with_lines(script)
            raise PortgateError(*_diagnostics(script, placed if _PLACED.search(placed) else complaint))
        return output

    def _command(self, script: str) -> tuple[int, str, str]:
        with _utc():
            status, output, complaint = self._nft.cmd(_bytes(script))
        return status, output.decode(errors="surrogateescape"), complaint.decode(errors="replace")


def _complaint_with_lines(script: str) -> str:
    """What nft says of the script as a file: only there it counts the lines (nft 1.0.6)."""
    trial = NftablesSession()
    trial.only_try()
    descriptor = os.memfd_create("script")
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(_bytes(script))
        return trial.complaint_of_file(f"/proc/self/fd/{descriptor}")


def _bytes(script: str) -> bytes:
    """A listing may hold bytes that are no UTF-8, in a comment."""
    return script.encode(errors="surrogateescape")


def _is_own(table: dict[str, str]) -> bool:
    return f"{table['family']} {table['name']}" == TABLE


@contextmanager
def _on(*switches: Callable[[bool], object]) -> Iterator[None]:
    """Switches of libnftables, off by default, on for a while."""
    for switch in switches:
        switch(True)
    try:
        yield
    finally:
        for switch in switches:
            switch(False)


@contextmanager
def _utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


# ------------------------------------------------------------------ the library


@cache
def _binding() -> ModuleType:
    """The distribution's binding where it is, else the installed one. Errors: PortgateError without libnftables."""
    try:
        module = _distribution() or importlib.import_module("nftables")
        CDLL("libnftables.so.1")
    except (ImportError, OSError) as error:
        remedy = "install it: `apt install libnftables1 python3-nftables` on Debian and Ubuntu, `dnf install python3-nftables` on Fedora"
        raise PortgateError(Diagnostic("PG460", f"libnftables cannot be loaded: {error}", remedy=remedy)) from error
    return module


def _distribution() -> ModuleType | None:
    """Looked up by its place, because a virtual environment hides it."""
    specification = importlib.util.spec_from_file_location("portgate_libnftables", DISTRIBUTION)
    if not DISTRIBUTION.exists() or specification is None or specification.loader is None:
        return None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ the kernel


def _generation(number: int) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    return f"{boot}:{namespace}:{number}"


def _generation_number() -> int:
    """Errors: PortgateError when the kernel has no nf_tables, or does not let us at it."""
    # nlmsghdr: length, type, flags (request), sequence, port; nfgenmsg: family, version, resource
    request = struct.pack("=IHHIIBBH", 20, GET_GENERATION, 1, 1, 0, 0, 0, 0)
    try:
        reply = _answer(request)
    except OSError as error:
        raise PortgateError(_refused(error.errno or errno.EIO)) from error
    if number := _error(reply):
        raise PortgateError(_refused(number))
    return _attribute(reply, 20, GENERATION_ID)


def _messages(changes: tuple[batch.Change, ...]) -> bytes | None:
    """None for what is libnftables' to do, or to explain why it can't be done."""
    try:
        types = {name: _key_types(name) for name in {one.set for one in changes}}
        return batch.messages(changes, types) if changes else None
    except (OSError, KeyError, NotUnderstoodError):
        return None


def _way_back(stage: Stage) -> str | None:
    """What takes back what would be staged; None where a part of it is there already, and may be in force."""
    if not _is_there(batch.about_table()):
        return f"delete table {TABLE}\n"
    if stage.anew or any(map(_is_there, map(batch.about_set, stage.sets))):
        return None
    return "".join(f"delete set {TABLE} {name}\n" for name in stage.sets)


def _is_there(question: bytes) -> bool:
    return _error(_answer(question)) != errno.ENOENT


def _key_types(name: str) -> batch.Types:
    """Of one of our sets. Errors: OSError when it is not there, KeyError when it is none of those that portgate makes."""
    reply = _answer(batch.about_set(name))
    if number := _error(reply):
        raise OSError(number, os.strerror(number))
    found = dict(_attributes(reply, 20))
    if not int.from_bytes(found[SET_FLAGS], "big") & SET_INTERVAL:
        raise KeyError(name)
    return batch.key_types(int.from_bytes(found[SET_KEY_TYPE], "big"))


def _deliver(messages: bytes) -> None:
    """Errors: PortgateError, with all that the kernel says; then nothing has changed."""
    try:
        reply = _answer(messages)
    except OSError as error:
        detail = f"a change of {len(messages):,} bytes did not reach the kernel: {error.strerror}"
        raise PortgateError(Diagnostic("PG531", detail, remedy=_TOO_LARGE)) from error
    number = _error(reply)
    if number in (errno.EPERM, errno.EACCES):
        raise PortgateError(_refused(number))
    if number:
        said = f" ({words})" if (words := _explanation(reply)) else ""
        raise PortgateError(Diagnostic("PG531", f"a change of elements: {os.strerror(number)}{said}"))


_TOO_LARGE = "split the list, give the system more memory, or run this command with CAP_NET_ADMIN on the host itself"


def _answer(messages: bytes) -> bytes:
    """The first answer of nf_tables, which is about the first message that is at fault. Errors: OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as link:
        if len(messages) > _USUAL_BUFFER:
            _enlarge(link, len(messages))
        for option in (CAP_ACK, EXT_ACK):
            link.setsockopt(SOL_NETLINK, option, 1)
        link.sendto(messages, (0, 0))
        return link.recv(4096)


def _enlarge(link: socket.socket, size: int) -> None:
    """Makes room for so many bytes and what the kernel adds; beyond its usual limit that takes a privilege."""
    try:
        link.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size + _USUAL_BUFFER)
    except PermissionError:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + _USUAL_BUFFER)


_USUAL_BUFFER = 1 << 16


def _error(reply: bytes) -> int:
    """0 where the answer is none, or an acknowledgement."""
    if struct.unpack_from("=H", reply, 4)[0] != REPLY_ERROR:
        return 0
    return -int(struct.unpack_from("=i", reply, 16)[0])


def _explanation(reply: bytes) -> str:
    """What the kernel says beside the number of an error, behind the header of the message that was wrong."""
    return "".join(
        value.rstrip(b"\0").decode(errors="replace") for kind, value in _attributes(reply, 36) if kind == EXPLANATION
    )


def _attribute(reply: bytes, start: int, wanted: int) -> int:
    found = dict(_attributes(reply, start)).get(wanted, b"")
    return int.from_bytes(found, "big")


def _attributes(reply: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, start)
        yield kind & 0x3FFF, reply[start + 4 : start + length]
        start += max(4, length + 3 & ~3)


def _refused(number: int) -> Diagnostic:
    if number in (errno.EPERM, errno.EACCES):
        remedy = "run this command as root (it needs CAP_NET_ADMIN in this network namespace)"
        return Diagnostic("PG461", "the kernel does not let this user see or change firewall rules", remedy=remedy)
    detail = f"the kernel does not answer nf_tables requests: {os.strerror(number)}"
    return Diagnostic("PG462", detail, remedy="load the module with `modprobe nf_tables`, or use a kernel that has it")


# ------------------------------------------------------------------ complaints of nft

_PLACED = re.compile(r":\d+:\d+-\d+: Error: ")
_COMPLAINT = re.compile(r"^[^:\n]*:(?P<line>\d+):(?P<column>\d+)-\d+: Error: (?P<what>.*)$|^Error: (?P<bare>.*)$", re.M)


def _diagnostics(script: str, complaint: str) -> list[Diagnostic]:
    """Every complaint, with the line of the script that it is about."""
    lines = script.splitlines()
    found = [_diagnostic(one, lines) for one in _COMPLAINT.finditer(complaint)]
    return found or [Diagnostic("PG531", complaint.strip() or "libnftables gave no reason")]


def _diagnostic(found: re.Match[str], lines: list[str]) -> Diagnostic:
    what = found["what"] or found["bare"]
    number = int(found["line"] or 0)
    place = f" (line {number} of the script: {lines[number - 1].strip()[:200]})" if 0 < number <= len(lines) else ""
    if os.strerror(errno.EPERM) in what:
        return _refused(errno.EPERM)
    if any(os.strerror(one) in what for one in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)):
        remedy = "use a kernel with this part of nf_tables, or leave out the grants that need it"
        return Diagnostic("PG532", f"{what}{place}", remedy=remedy)
    return Diagnostic("PG531", f"{what}{place}")
