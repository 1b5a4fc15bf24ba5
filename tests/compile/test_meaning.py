"""The rules that a policy compiles to do what the policy says, packet by packet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portgate.core.compile import compile as compile_policy
from portgate.core.net import TCP, AddressSet, Family, interface_interval, parse_address
from portgate.core.policy import Containers, Default, Grant, Peer, Policy, Rulebook
from portgate.core.ruleset import (
    Base,
    Chain,
    ChainKind,
    Container,
    CtState,
    Dnat,
    Field,
    Hook,
    Rule,
    Ruleset,
    Test,
)
from tests import simulator
from tests.compile.worlds import TODAY, packets, policy
from tests.generate.world import HOST
from tests.packet import Packet
from tests.policy_oracle import Answer, decide

ROUNDS = range(150)


def answer(verdicts: frozenset[str]) -> str:
    return next(iter(verdicts)) if len(verdicts) == 1 else "depends"


def fate(ruleset: Ruleset, packet: Packet) -> str:
    if packet.iif == "lo":  # translated, if at all, when it was sent: its connection is known on the way in
        return at(ruleset, packet, Hook.INPUT)
    return answer(simulator.verdicts(ruleset, packet, HOST))


def at(ruleset: Ruleset, packet: Packet, hook: Hook) -> str:
    try:
        return step(ruleset, packet, hook, {})
    except simulator.Undecided as doubt:
        return answer(frozenset(step(ruleset, packet, hook, {doubt.key: held}) for held in (True, False)))


def step(ruleset: Ruleset, packet: Packet, hook: Hook, doubts: simulator.Doubts) -> str:
    way = simulator.Way(ruleset, packet, HOST, doubts)
    if packet.oif is not None:
        way.known[Field.OIF] = interface_interval(packet.oif)[0]
    return way.through(hook)


@pytest.mark.parametrize("seed", ROUNDS)
def test_rules_decide_arriving_packets_as_the_policy_does(seed: int) -> None:
    wanted = policy(seed)
    rules = compile_policy(wanted, TODAY)
    for packet in packets(seed, 60):
        assert fate(rules, packet) == decide(wanted, packet, TODAY), (wanted, packet)


@pytest.mark.parametrize("seed", ROUNDS)
def test_rules_decide_leaving_packets_as_the_policy_does(seed: int) -> None:
    wanted = policy(seed)
    rules = compile_policy(wanted, TODAY)
    for arriving in packets(seed, 40):
        packet = replace(arriving, src=arriving.dst, dst=arriving.src, iif="none", oif=arriving.iif)
        assert at(rules, packet, Hook.OUTPUT) == decide(wanted, packet, TODAY, "out"), (wanted, packet)


@pytest.mark.parametrize("seed", ROUNDS)
def test_the_order_of_grants_does_not_matter(seed: int) -> None:
    wanted = policy(seed)
    assert compile_policy(turned(wanted), TODAY) == compile_policy(wanted, TODAY)


def turned(policy: Policy) -> Policy:
    """The same policy, written from the end."""
    books = (
        replace(book, block=book.block[::-1], allow=book.allow[::-1]) for book in (policy.inbound, policy.outbound)
    )
    inbound, outbound = books
    return replace(policy, inbound=inbound, outbound=outbound, forwards=policy.forwards[::-1])


PORT = 9999
CONTAINER = parse_address("10.0.0.99")[1]


def container_engine() -> Container:
    """What a container engine adds for a published port: 9999 leads to port 80 of a machine behind this host."""
    arriving = Test(Field.DPORT, ((PORT, PORT),))
    to_container = Dnat(Family.IPV4, (CONTAINER, CONTAINER), (80, 80))
    return Container(
        "ip docker",
        (Family.IPV4,),
        (
            Chain("dnat", (Rule(arriving, to_container),), Base(Hook.PREROUTING, -100, kind=ChainKind.NAT)),
            Chain("forward", (), Base(Hook.FORWARD, 0)),
        ),
    )


@pytest.mark.parametrize("seed", ROUNDS)
def test_published_ports_obey_the_policy_when_it_says_so(seed: int) -> None:
    wanted = replace(policy(seed), containers=Containers.ENFORCE, forwards=())
    rules = Ruleset((*compile_policy(wanted, TODAY).containers, container_engine()))
    for packet in packets(seed, 30):
        if packet.family == 4 and packet.iif != "lo" and packet.ct_state is CtState.NEW:
            published = replace(packet, proto=TCP, dport=PORT, sport=40000, icmp_type=None, icmp_code=None)
            assert fate(rules, published) == decide(wanted, published, TODAY), (wanted, published)


def test_published_ports_are_left_alone_when_the_policy_does_not_care() -> None:
    wanted = replace(policy(0), containers=Containers.IGNORE, forwards=())
    rules = Ruleset((*compile_policy(wanted, TODAY).containers, container_engine()))
    source, target = parse_address("203.0.113.9")[1], parse_address("192.0.2.1")[1]
    assert fate(rules, Packet(4, TCP, "eth0", source, target, 40000, PORT)) == "accept"


def test_the_oracle_gives_every_answer() -> None:
    """A comparison of which one side always says the same would prove nothing."""
    answers: set[Answer] = {decide(policy(seed), packet, TODAY) for seed in ROUNDS for packet in packets(seed, 60)}
    assert answers == {"accept", "drop", "reject", "depends"}


def test_addresses_that_are_none_are_not_everybody() -> None:
    """`{any: 10.0.0.0/8, except: 10.0.0.0/8}` names nobody."""
    unblocked = replace(policy(1), inbound=Rulebook(Default.ACCEPT))
    nobody = Grant("nobody", sources=(Peer(addresses=AddressSet()),))
    blocked = replace(unblocked, inbound=Rulebook(Default.ACCEPT, block=(nobody,)))
    assert compile_policy(blocked, TODAY) == compile_policy(unblocked, TODAY)
