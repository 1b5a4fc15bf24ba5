"""The sandbox: a host, and for each of its links a peer at the other end."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import Family, interface_interval
from portgate.sandbox import listening, namespace, probe
from portgate.sandbox.listening import Waiting
from portgate.sandbox.namespace import Namespace
from portgate.sandbox.probe import Answer, Pace, Question, Transport

HOST: Final = "the host"  # no link can be called so: interface names have no blanks
ETHER_TYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """A cable from the host's interface `name` to a peer of its own. Addresses as `192.0.2.1/24`."""

    name: str
    host: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()


DEFAULT_LINKS: Final = (
    Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.2/24", "2001:db8:1::2/64")),
    Link("eth1", ("10.0.0.1/24", "2001:db8:2::1/64"), ("10.0.0.2/24", "2001:db8:2::2/64")),
)

# Sources that a router would refuse must reach the rules, and every rejection must be answered at once.
_SYSCTLS: Final = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratemask": "0",
    "ipv4/ping_group_range": "0 0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/icmp/ratemask": "0",
}


class Sandbox:
    """A context manager. The first link's peer is the host's default route; a peer goes by the name of its link.

    **Errors** PortgateError PG590 when the kernel grants no namespaces, PG592 when a program needed to build it fails.
    """

    def __init__(self, links: Sequence[Link] = DEFAULT_LINKS) -> None:
        for link in links:
            interface_interval(link.name)
        self.links = tuple(links)
        self._namespaces: dict[str, Namespace] = {}
        self._injectors: dict[str, socket.socket] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Sandbox:
        with ExitStack() as stack:
            names = (HOST, *(link.name for link in self.links))
            made = namespace.create(len(names))
            stack.callback(namespace.close, made)
            self._namespaces = dict(zip(names, made, strict=True))
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(
        self,
        argv: Sequence[str],
        text: str | None = None,
        *,
        inside: str = HOST,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program inside to its end, with `text` as its input.

        **Errors** PortgateError PG592 when it takes longer than `timeout` seconds, and with `check` when it fails.
        """
        command, descriptors = self._entering(inside, argv)
        try:
            done = subprocess.run(
                command,
                input=text,
                env=env,
                timeout=timeout,
                capture_output=True,
                text=True,
                check=False,
                pass_fds=descriptors,
            )
        except FileNotFoundError:
            raise _failed(command, "there is no such program") from None
        except subprocess.TimeoutExpired:
            raise _failed(argv, f"it took longer than {timeout:g} seconds") from None
        if check and done.returncode != 0:
            raise _failed(argv, done.stderr.strip() or f"exit status {done.returncode}")
        return done

    def start(
        self, argv: Sequence[str], *, inside: str = HOST, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a program inside, which is killed when the sandbox ends."""
        command, descriptors = self._entering(inside, argv)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, pass_fds=descriptors)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def hand_over(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Runs a program on the host with the terminal of this process; its exit status, as a shell has it.

        Ctrl-C is for the program. **Errors** PortgateError PG592 when there is no such program.
        """
        command, descriptors = self._entering(HOST, argv)
        if shutil.which(argv[0]) is None:
            raise _failed(argv, "there is no such program")
        before = signal.signal(signal.SIGINT, lambda *_: None)  # a function, for what is ignored is inherited
        try:
            status = subprocess.call(command, env=env, pass_fds=descriptors)
        finally:
            signal.signal(signal.SIGINT, before)
        return status if status >= 0 else 128 - status

    def _entering(self, inside: str, argv: Sequence[str]) -> tuple[list[str], list[int]]:
        """The program as one that enters first and dies with us (util-linux), and the descriptors that it needs."""
        where = self._namespaces[inside]
        entered = ["nsenter", f"--net=/proc/self/fd/{where.network}"]
        if where.user is not None:
            entered += [f"--user=/proc/self/fd/{where.user}", "--preserve-credentials"]
        descriptors = [one.network for one in self._namespaces.values()]
        return [*entered, "setpriv", "--pdeathsig", "KILL", *argv], [*descriptors, *filter(None, [where.user])]

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises when a child process runs it on the host."""
        return self._namespaces[HOST].call(function, *args, **kwargs)

    def make_socket(self, family: int, kind: int, protocol: int = 0, *, inside: str = HOST) -> socket.socket:
        """A socket of the host or of a peer, for use in this process."""
        return self._namespaces[inside].socket(family, kind, protocol)

    def listen(self, transport: Transport, address: str, port: int, *, inside: str = HOST) -> None:
        """A process that listens there and echoes what it gets, until the sandbox ends. Errors: OSError."""
        self.listen_all([(transport, address, port)], inside=inside)

    def listen_all(self, waiting: Sequence[Waiting], *, inside: str = HOST) -> None:
        """One process that listens at all of them."""
        made = self._namespaces[inside].sockets(listening.kinds(waiting))
        ready = [listening.bound(one, address, port) for one, (_, address, port) in zip(made, waiting, strict=True)]
        self._stack.callback(namespace.kill, listening.echo_process(ready))

    def connect(
        self, transport: Transport, address: str, port: int = 0, *, source: str, patience: float = 0.5
    ) -> Answer:
        """What the peer of link `source` meets there. Units: `patience` in seconds, after which it counts as filtered."""
        return self.ask([Question(transport, address, port, source)], Pace(patience))[0]

    def ask(self, questions: Sequence[Question], pace: Pace) -> list[Answer]:
        """What the peers meet, each answer at the place of its question."""
        return self.call(_answers, self._namespaces, questions, pace)

    def inject(self, link: str, packets: Iterable[bytes]) -> None:
        """Puts IP packets on the cable, as they are: any source address will do."""
        injector = self._injectors.get(link) or self._injector(link)
        head = _mac(self._number(link), 0) + _mac(self._number(link), 1)
        for packet in packets:
            injector.send(head + ETHER_TYPES[packet[0] >> 4] + packet)

    def _injector(self, link: str) -> socket.socket:
        injector = self._stack.enter_context(self.make_socket(socket.AF_PACKET, socket.SOCK_RAW, inside=link))
        injector.bind((link, 0))
        self._injectors[link] = injector
        return injector

    def _number(self, link: str) -> int:
        return [one.name for one in self.links].index(link)

    def _build(self) -> None:
        try:
            for one in self._namespaces.values():
                one.call(_set_sysctls)
        except OSError as error:
            raise _unsettable(error) from None
        self._ip(HOST, ("link set lo up", *(self._cable(number, link) for number, link in enumerate(self.links))))
        for link in self.links:
            self._ip(HOST, [*_addressed(link.name, link.host), *_neighbours(link)])
            self._ip(link.name, ("link set lo up", *_addressed(link.name, link.peer), *_routes(link.host)))
        self._ip(HOST, _routes(self.links[0].peer) if self.links else ())

    def _cable(self, number: int, link: Link) -> str:
        ours, theirs = _mac(number, 0).hex(":"), _mac(number, 1).hex(":")
        there = f"/proc/self/fd/{self._namespaces[link.name].network}"
        return (
            f"link add name {link.name} address {ours} type veth peer name {link.name} address {theirs} netns {there}"
        )

    def _ip(self, inside: str, commands: Iterable[str]) -> None:
        self.run(["ip", "-batch", "-"], "\n".join(commands), inside=inside)


def _answers(namespaces: Mapping[str, Namespace], questions: Sequence[Question], pace: Pace) -> list[Answer]:
    """For a child process on the host, which goes from namespace to namespace for its sockets."""

    def make(origin: str, family: int, kind: int, protocol: int) -> socket.socket:
        namespaces[origin].turn()
        return socket.socket(family, kind, protocol)

    found = dict(probe.ask(questions, pace, make))
    return [found[one] for one in questions]


def _set_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        Path("/proc/sys/net", name).write_text(value)


def _mac(number: int, end: int) -> bytes:
    """Locally administered (the 02), so that nobody has to ask for it."""
    return bytes((2, 0, 0, 0, number, end))


def _addressed(interface: str, addresses: Iterable[str]) -> Iterable[str]:
    yield f"link set dev {interface} up"
    for address in addresses:
        yield f"address add {address} dev {interface}" + (" nodad" if ":" in address else "")


def _neighbours(link: Link) -> Iterable[str]:
    """A peer's address without a network is a neighbour on this link."""
    alone = (one.rpartition("/") for one in link.peer)
    yield from (f"route add {one} dev {link.name}" for one, _, length in alone if length in ("32", "128"))


def _routes(gateways: Sequence[str]) -> Iterable[str]:
    """The default route of each family by the first address of that family."""
    for family in Family:
        fitting = [one.partition("/")[0] for one in gateways if (":" in one) == (family is Family.IPV6)]
        if fitting:
            yield f"route add default via {fitting[0]}"


def _unsettable(error: OSError) -> PortgateError:
    """In many containers /proc/sys can't be written, and a kernel may have no IPv6."""
    detail = f"{error.filename} can't be set in the sandbox: {error.strerror}"
    return PortgateError(Diagnostic("PG592", detail, remedy="run it outside of a container, on a kernel with IPv6"))


def _failed(argv: Sequence[str], why: str) -> PortgateError:
    return PortgateError(Diagnostic("PG592", f"`{' '.join(argv)}` failed in the sandbox: {why}"))
