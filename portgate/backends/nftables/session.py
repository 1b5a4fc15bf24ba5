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
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_bool, c_char_p, c_void_p
from functools import cache
from types import ModuleType

from portgate.backends.nftables import TABLE
from portgate.backends.nftables.kernel.netlink import generation_number, refused
from portgate.core.capture import Artifact, Loaded, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError

LONG = 1 << 18  # characters of a complete text, from which on to conclude is quicker than to list
DISTRIBUTION = "/usr/lib/python3/dist-packages/nftables/nftables.py"


def available() -> str | None:
    """None when this process can drive nftables, else why not and what to do."""
    try:
        generation_number()
        _binding()
    except PortgateError as error:
        first = error.diagnostics[0]
        return f"{first.detail}; {first.remedy}" if first.remedy else first.detail
    return None


class NftablesSession:
    """See `portgate.backends.Session`."""

    def __init__(self, loaded: Loaded | None = None) -> None:
        self._loaded = loaded if loaded and loaded.length >= LONG else None
        generation_number()
        self._nft = _binding().Nftables()
        self._context: int = vars(self._nft)["_Nftables__ctx"]  # the one thing that the binding has and does not offer
        self._only_tries = False
        self._transactions = 1  # that the last load was

    def read(self) -> tuple[Reading, ...]:
        concluded = self._concluded()
        if concluded is not None and (tables := self._tables(concluded)):
            return tables
        with _on(self._nft.set_json_output, self._nft.set_numeric_proto_output):
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
        from portgate.backends.nftables.conclusion import completed, own_table  # noqa: PLC0415 - only long lists are concluded, and few hosts have any

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
        self._transactions = 1
        if self._only_tries:
            self._run(artifact.text)
            return
        from portgate.backends.nftables.kernel import loading  # noqa: PLC0415 - most commands load nothing, and start quicker without

        self._transactions = loading.load(artifact.text, self._run)

    def generation(self) -> str | None:
        """The kernel's count of nf_tables transactions, bound to this boot and network namespace."""
        return _generation(generation_number())

    def outline_after(self, generation: str | None) -> Reading | None:
        if generation != _generation(generation_number() - self._transactions):
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
            raise PortgateError(*_diagnostics(script, placed if re.search(_PLACED, placed) else complaint))
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
    if not os.path.exists(DISTRIBUTION):
        return None
    from importlib.util import module_from_spec, spec_from_file_location  # noqa: PLC0415 - where the distribution has no binding it is not needed

    specification = spec_from_file_location("portgate_libnftables", DISTRIBUTION)
    if specification is None or specification.loader is None:
        return None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ the kernel


def _generation(number: int) -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    namespace = os.stat("/proc/thread-self/ns/net").st_ino
    return f"{boot}:{namespace}:{number}"


# ------------------------------------------------------------------ complaints of nft

_PLACED = r":\d+:\d+-\d+: Error: "
_COMPLAINT = r"^[^:\n]*:(?P<line>\d+):(?P<column>\d+)-\d+: Error: (?P<what>.*)$|^Error: (?P<bare>.*)$"


def _diagnostics(script: str, complaint: str) -> list[Diagnostic]:
    """Every complaint, with the line of the script that it is about."""
    lines = script.splitlines()
    found = [_diagnostic(one, lines) for one in re.finditer(_COMPLAINT, complaint, re.M)]
    return found or [Diagnostic("PG531", complaint.strip() or "libnftables gave no reason")]


def _diagnostic(found: re.Match[str], lines: list[str]) -> Diagnostic:
    what = found["what"] or found["bare"]
    number = int(found["line"] or 0)
    place = f" (line {number} of the script: {lines[number - 1].strip()[:200]})" if 0 < number <= len(lines) else ""
    if os.strerror(errno.EPERM) in what:
        return refused(errno.EPERM)
    if any(os.strerror(one) in what for one in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)):
        remedy = "use a kernel with this part of nf_tables, or leave out the grants that need it"
        return Diagnostic("PG532", f"{what}{place}", remedy=remedy)
    return Diagnostic("PG531", f"{what}{place}")
