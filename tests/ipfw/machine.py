"""ipfw's rules of a few forms, made at random, and run on one packet as the kernel does it: by position, with a stack.

**Source** ipfw_chk() of FreeBSD 12.1 (ip_fw2.c), told in few words. Nothing of portgate's is used.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from random import Random
from typing import NamedTuple

from tests.packet import Packet

Holds = Callable[[Packet], bool]
MOST_STEPS = 2000
STACK = 16
WITH_PORTS = (6, 17, 132, 136)
NETWORKS = ("10.0.0.0/8", "10.9.0.0/16", "198.51.100.0/24", "198.51.100.64/26", "2001:db8:9::/48", "2001:db8::/32")
PORTS = ("22", "80,443", "53", "8000-8100", "22,25,80-81")


class Made(NamedTuple):
    """One rule: how it is written, and what it does."""

    number: int
    action: str
    target: int
    holds: Holds
    body: str

    def __str__(self) -> str:
        target = f" {self.target}" if self.target else ""
        return f"add {self.number} {self.action}{target} {self.body}"


def rules(rng: Random) -> list[Made]:
    """Up to thirty, of which several have one number."""
    numbers = sorted(rng.choice(range(100, 3000, 100)) for _ in range(rng.randint(3, 30)))
    return [_rule(rng, number) for number in numbers]


def _rule(rng: Random, number: int) -> Made:
    actions = ("allow", "deny", "reject", "count", "skipto", "call", "return")
    action = rng.choices(actions, (6, 6, 2, 2, 6, 4, 5))[0]
    target = 0
    if action == "skipto":
        target = rng.choice((number + rng.choice((50, 100, 500, 5000)), rng.choice((1, number, 50))))
    elif action == "call":
        target = number + rng.choice((100, 300, 1000, 1, -200)) if rng.random() < 0.9 else 1
    body, holds = _body(rng)
    return Made(number, action, max(target, 0) or (1 if action == "call" else 0), holds, body)


def _body(rng: Random) -> tuple[str, Holds]:
    protocol, of_protocol = _protocol(rng)
    source, from_source = _address(rng)
    ports, of_ports = _ports(rng)
    option, of_option = _option(rng)
    text = " ".join(f"{protocol} from {source} to any {ports} {option}".split())
    return text, lambda packet: of_protocol(packet) and from_source(packet) and of_ports(packet) and of_option(packet)


def _negated(rng: Random, text: str, holds: Holds) -> tuple[str, Holds]:
    if rng.random() < 0.8:
        return text, holds
    return f"not {text}", lambda packet: not holds(packet)


def _protocol(rng: Random) -> tuple[str, Holds]:
    kind = rng.random()
    if kind < 0.3:
        return "ip", lambda _: True
    if kind < 0.45:
        family = rng.choice((4, 6))
        return f"ip{family}", lambda packet: packet.family == family
    if kind < 0.6:
        return "{ tcp or udp }", lambda packet: packet.proto in (6, 17)
    name, number = rng.choice((("tcp", 6), ("udp", 17), ("icmp", 1), ("47", 47)))
    return _negated(rng, name, lambda packet: packet.proto == number)


def _address(rng: Random) -> tuple[str, Holds]:
    if rng.random() < 0.5:
        return "any", lambda _: True
    networks = rng.sample(NETWORKS, rng.choice((1, 1, 2)))
    parts = [_negated(rng, network, _within(network)) for network in networks]
    text = parts[0][0] if len(parts) == 1 else f"{{ {' or '.join(part for part, _ in parts)} }}"
    return text, lambda packet: any(holds(packet) for _, holds in parts)


def _within(text: str) -> Holds:
    network = ip_network(text)
    first, last = int(network[0]), int(network[-1])
    return lambda packet: packet.family == network.version and first <= packet.src <= last


def _ports(rng: Random) -> tuple[str, Holds]:
    if rng.random() < 0.5:
        return "", lambda _: True
    text = rng.choice(PORTS)
    ranges = [tuple(map(int, part.split("-"))) for part in text.split(",")]

    def holds(packet: Packet) -> bool:
        port = packet.dport
        return packet.proto in WITH_PORTS and port is not None and any(one[0] <= port <= one[-1] for one in ranges)

    return _negated(rng, text, holds)


def _option(rng: Random) -> tuple[str, Holds]:
    kind = rng.random()
    if kind < 0.4:
        return "", lambda _: True
    if kind < 0.5:
        return rng.choice((("in", lambda _: True), ("out", lambda _: False), ("not out", lambda _: True)))
    if kind < 0.7:
        name = rng.choice(("eth0", "wg*", "wg1"))
        return _negated(
            rng, f"recv {name}", lambda packet: packet.iif.startswith(name[:-1]) and name in (packet.iif, "wg*")
        )
    if kind < 0.8:
        return _negated(rng, "setup", lambda packet: packet.proto == 6 and packet.tcp_flags & 0x12 == 2)
    if kind < 0.9:
        return _negated(rng, "established", lambda packet: packet.proto == 6 and packet.tcp_flags & 0x16 != 2)
    return _negated(rng, "tcpflags syn,!fin", lambda packet: packet.proto == 6 and packet.tcp_flags & 3 == 2)


def run(made: list[Made], packet: Packet) -> str | None:
    """allow, deny or reject; None where it goes round for too long, or the stack is full."""
    at = steps = 0
    stack: list[int] = []

    def first(number: int) -> int:
        return next((index for index, rule in enumerate(made) if rule.number >= number), len(made))

    while at < len(made):
        steps += 1
        rule = made[at]
        if steps > MOST_STEPS or len(stack) == STACK:
            return None
        if not rule.holds(packet) or rule.action == "count" or (rule.action == "return" and not stack):
            at += 1
        elif rule.action == "skipto":
            at = first(max(rule.target, rule.number + 1))
        elif rule.action == "call":
            stack.append(rule.number)
            at = first(rule.target)
        elif rule.action == "return":
            at = first(stack.pop() + 1)
        else:
            return rule.action
    return "deny"
