"""Rules, in one form for every backend: what a policy compiles to, and what a host is observed to do.

Theory
    The words are those of nftables. A `Ruleset` is a set of containers (tables); a container holds chains and
    named sets; a base chain hangs on a hook with a priority; a rule is one match, side effects, one verdict.
    A match is a Boolean expression over header fields. It never holds native text: what a parser does not
    understand becomes `Opaque`, a Boolean of its own, which the engine evaluates both ways.

Rules of this file
    Frozen values only. Where something came from (`Origin`) is excluded from equality.
    A test on a field that a packet does not have is false: an IPv6 field on an IPv4 packet. Parsers therefore
    write the dependencies of a native match out: `tcp dport != 22` is
    `All((Test(PROTOCOL, tcp), Not(Test(DPORT, 22))))`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import Enum, StrEnum
from itertools import repeat
from typing import NamedTuple

from portgate.core.dataclasses import dataclass
from portgate.core.net import IFNAME_MAX, Family, Interval, Intervals
from portgate.core.policy import Limit


class Field(Enum):
    """A number that a match can test: (name, highest value).

    The ORIGINAL_ fields are those of the packet as it arrived, before any address translation (nft
    `ct original`); CT_STATE takes the values of `CtState`; DNATED is 1 for a packet whose destination was translated
    (`ct status dnat`); FAMILY is 4 or 6; the MARKs start at 0; SRC_TYPE and DST_TYPE take `AddressType`.
    """

    FAMILY = ("family", 255)
    PROTOCOL = ("protocol", 255)
    IIF = ("iif", IFNAME_MAX)
    OIF = ("oif", IFNAME_MAX)
    SRC4 = ("src4", Family.IPV4.top)
    SRC6 = ("src6", Family.IPV6.top)
    DST4 = ("dst4", Family.IPV4.top)
    DST6 = ("dst6", Family.IPV6.top)
    SPORT = ("sport", 0xFFFF)
    DPORT = ("dport", 0xFFFF)
    ICMP_TYPE = ("icmp-type", 255)
    ICMP_CODE = ("icmp-code", 255)
    TCP_FLAGS = ("tcp-flags", 255)
    CT_STATE = ("ct-state", 4)
    DNATED = ("dnated", 1)
    ORIGINAL_SRC4 = ("original-src4", Family.IPV4.top)
    ORIGINAL_SRC6 = ("original-src6", Family.IPV6.top)
    ORIGINAL_DST4 = ("original-dst4", Family.IPV4.top)
    ORIGINAL_DST6 = ("original-dst6", Family.IPV6.top)
    ORIGINAL_SPORT = ("original-sport", 0xFFFF)
    ORIGINAL_DPORT = ("original-dport", 0xFFFF)
    SRC_TYPE = ("src-type", 4)
    DST_TYPE = ("dst-type", 4)
    MARK = ("mark", 0xFFFFFFFF)
    CT_MARK = ("ct-mark", 0xFFFFFFFF)

    def __init__(self, label: str, top: int) -> None:
        self.label = label
        self.top = top

    __hash__ = object.__hash__  # that of an Enum is written in Python, and fields are keys everywhere


class CtState(Enum):
    """Values of CT_STATE. A packet is in exactly one of them."""

    NEW = 0
    ESTABLISHED = 1
    RELATED = 2
    INVALID = 3
    UNTRACKED = 4


class AddressType(Enum):
    """Values of SRC_TYPE and DST_TYPE (nft `fib saddr type`, iptables `addrtype`)."""

    UNICAST = 0
    LOCAL = 1
    BROADCAST = 2
    MULTICAST = 3
    OTHER = 4


# ------------------------------------------------------------------ matches


@dataclass(frozen=True, slots=True)
class Test:
    """The field has one of these values."""

    field: Field
    values: Intervals


@dataclass(frozen=True, slots=True)
class Bits:
    """`field & mask == value`; for marks and TCP flags."""

    field: Field
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """The fields, together, are an element of the container's named set."""

    fields: tuple[Field, ...]
    set_name: str


@dataclass(frozen=True, slots=True)
class AnonymousLookup:
    """The fields, together, lie in one of these boxes (one interval a field)."""

    fields: tuple[Field, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """True while the source stays within the limit. Never decidable for one packet.

    `source` is SRC4 or SRC6, counted in the dynamic set `set_name`.
    """

    source: Field
    limit: Limit
    set_name: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A match that is not understood or can't be decided for a packet.

    Matches with the same key have the same answer for one packet, so the key of a match that consumes something
    (`limit`, `numgen`) must name its rule. `reason` is said to people: "rate limit", "time of day".
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReversePath:
    """The packet came by an interface that leads back to its source; `loose`: any interface does.

    `otherwise` stands for it where the routes of the host are not known.
    """

    otherwise: Opaque
    loose: bool = False


class Part(StrEnum):
    """What of an interface stands for addresses."""

    ADDRESS = "address"
    NETWORK = "network"
    BROADCAST = "broadcast"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """The field holds what `part` of an interface says, or of all in a group of that name; of every one for `self`.

    **Shape** `text` is native, for people. `first`: of each interface the first one alone. `length` widens addresses
    to networks.
    """

    field: Field
    text: str
    interface: str
    part: Part = Part.ADDRESS
    first: bool = False
    length: int | None = None


@dataclass(frozen=True, slots=True)
class InterfaceGroup:
    """The interface is in a group, which only the host knows."""

    field: Field
    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """True where the match is not."""

    match: Match


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them; All(()) is always true."""

    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of them; Any(()) is never true."""

    matches: tuple[Match, ...]


Match = (
    Test
    | Bits
    | Lookup
    | AnonymousLookup
    | RateLimit
    | Opaque
    | ReversePath
    | InterfaceAddress
    | InterfaceGroup
    | Not
    | All
    | Any
)
Box = tuple[Interval, ...]
ALWAYS = All(())


# ------------------------------------------------------------------ verdicts


@dataclass(frozen=True, slots=True)
class Accept:
    """Ends this base chain; later base chains still decide."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Final."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Final, with an answer to the sender. `answer` is the native word for it, "" the backend's usual."""

    answer: str = ""


@dataclass(frozen=True, slots=True)
class Continue:
    """On to the next rule."""


@dataclass(frozen=True, slots=True)
class Return:
    """Back to the caller, after the jump; in a base chain its default."""


@dataclass(frozen=True, slots=True)
class Jump:
    """To another chain of the container; its return leads back here."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """Like a jump that returns to the caller's caller."""

    chain: str


@dataclass(frozen=True, slots=True)
class Dnat:
    """Translates the destination, and accepts. The first translation of a connection counts.

    `address` None is this host (redirect); an interval of several addresses or ports means that the kernel picks one.
    """

    family: Family | None
    address: Interval | None
    port: Interval | None


@dataclass(frozen=True, slots=True)
class Snat:
    """Translates the source (also masquerade), and accepts. `text` is native."""

    text: str


@dataclass(frozen=True, slots=True)
class Queue:
    """To a program in user space, which decides. With `bypass` it passes when no program listens."""

    bypass: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """A statement that may decide, in a way not understood."""

    text: str


PlainVerdict = Accept | Drop | Reject | Continue | Return | Jump | Goto | Dnat | Snat | Queue | Unknown


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Looks the fields up; the verdict of the box in which they lie, else the next rule.

    `set_name` is the container's named map that it came from, "" for one written in the rule.
    """

    fields: tuple[Field, ...]
    entries: tuple[tuple[Box, PlainVerdict], ...]
    set_name: str = ""


Verdict = PlainVerdict | VerdictMap


# ------------------------------------------------------------------ side effects, in order, before the verdict


@dataclass(frozen=True, slots=True)
class Log:
    """Writes the packet to the log."""

    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts packets and bytes."""


@dataclass(frozen=True, slots=True)
class SetMark:
    """`field = (field & ~mask) ^ value ^ (other & copied)`, `other` being the other mark; `value` None: unknown bits.

    A packet without a connection has no mark of one: what would read or write it does nothing.
    """

    field: Field
    mask: int
    value: int | None
    copied: int = 0


@dataclass(frozen=True, slots=True)
class NoTrack:
    """From here on a packet without a connection is CtState.UNTRACKED."""


@dataclass(frozen=True, slots=True)
class Template:
    """Gives a packet without a connection the template of one (`ct zone set`, `-j CT --helper ftp`): it is CtState.NEW until connection tracking sees it.

    `untracked`: also one that is CtState.UNTRACKED. Native text. Source: xt_CT.c, nft_ct.c of Linux 6.18.
    """

    text: str
    untracked: bool = False


@dataclass(frozen=True, slots=True)
class SideNote:
    """A statement that decides nothing (dscp set, ct helper, add @set). Native text."""

    text: str


Effect = Log | Counter | SetMark | NoTrack | Template | SideNote


# ------------------------------------------------------------------ rules, chains, containers


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule stands: its native text, its line in the reading (from 1), the kernel's handle.

    `partial`: the listing shows less than the rule does, as nft does of matches that iptables made.
    """

    text: str = ""
    line: int | None = None
    handle: int | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`comment` leads back to a grant (its id) in rules that are ours."""

    match: Match
    verdict: Verdict
    effects: tuple[Effect, ...] = ()
    comment: str = ""
    origin: Origin = field(default=Origin(), compare=False)


class Hook(StrEnum):
    """Where in the network stack a base chain hangs."""

    INGRESS = "ingress"
    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class ChainKind(StrEnum):
    """What a base chain may do with a packet."""

    FILTER = "filter"
    NAT = "nat"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Base:
    """Makes a chain a base chain. `default` is its verdict when nothing matches."""

    hook: Hook
    priority: int
    default: Accept | Drop | Reject = Accept()
    kind: ChainKind = ChainKind.FILTER
    devices: tuple[str, ...] = ()

    @property
    def turn(self) -> int:
        """Its place among the chains of its hook: its priority, but all nat chains run at one place."""
        return _NAT_TURN.get(self.hook, self.priority) if self.kind is ChainKind.NAT else self.priority


_NAT_TURN = {Hook.PREROUTING: -100, Hook.INPUT: 100, Hook.OUTPUT: -100, Hook.POSTROUTING: 100}


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; a base chain when it hangs on a hook."""

    name: str
    rules: tuple[Rule, ...] = ()
    base: Base | None = None


class Element(NamedTuple):
    """One box of a named set. `comment` leads back to a grant. `expires`: seconds left, None for ever."""

    box: Box
    comment: str = ""
    expires: int | None = None


def elements_of(boxes: Iterable[Box], comments: Iterable[str] = ()) -> Iterator[Element]:
    """Many that do not expire, quickly: the constructor takes three times as long."""
    return map(tuple.__new__, repeat(Element), zip(boxes, comments or repeat(""), repeat(None), strict=False))


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of boxes over `fields`, which rules of its container look up. Elements are pairwise disjoint.

    `dynamic`: rules add elements to it, so what it holds later is unknown. `timed`: its elements may expire.
    """

    name: str
    fields: tuple[Field, ...]
    elements: tuple[Element, ...] = ()
    dynamic: bool = False
    comment: str = ""
    timed: bool = False


OWNER = "made by portgate"  # comment of a set that every container of ours has: how it is told from a namesake


@dataclass(frozen=True, slots=True)
class Container:
    """What is owned and replaced as a whole: nft table, iptables table, pf anchor, ipfw set.

    **Shape** `families` that its rules see; `store` is "nft", "legacy", "pf", "ipfw"; `owned` when it is portgate's;
    `hearsay` when it was not read in the store's own language (nf_tables through iptables), which may tell it wrongly;
    `inside` names the table of others, in its store, that holds its chains, and whose base chains jump to them, "" for one of
    its own; `twice` when what passes through meets its `input` and then its `output` chains, as with pf and ipfw.
    """

    name: str
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    chains: tuple[Chain, ...] = ()
    sets: tuple[NamedSet, ...] = ()
    store: str = "nft"
    owned: bool = False
    hearsay: bool = field(default=False, compare=False)
    inside: str = ""
    twice: bool = False

    def meets(self, base: Base, hook: Hook) -> bool:
        """Whether packets at a hook meet a base chain."""
        return base.hook is hook or (self.twice and hook is Hook.FORWARD and base.hook in (Hook.INPUT, Hook.OUTPUT))

    def chain(self, name: str) -> Chain | None:
        return next((one for one in self.chains if one.name == name), None)

    def sets_by_name(self) -> Mapping[str, NamedSet]:
        return {one.name: one for one in self.sets}


class Place(NamedTuple):
    """Where a rule stands: the index of its container, its chain, its index there; -1 is the chain's default."""

    container: int
    chain: str
    rule: int


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All containers of a host, or those that a policy asks for."""

    containers: tuple[Container, ...] = ()

    def rule(self, place: Place) -> Rule | None:
        """The rule at a place; None for a chain's default."""
        chain = self.containers[place.container].chain(place.chain)
        return None if place.rule < 0 or chain is None else chain.rules[place.rule]

    def base_chains(self, hook: Hook, family: Family) -> Iterator[tuple[Container, Chain, Base]]:
        """In the order in which a packet visits them.

        The kernel runs all nat chains of a hook at one place in that order, whatever their own priorities. Of equal
        priorities, the chain that was registered last runs first; listings have the oldest first.
        """
        found = [
            (container, chain, chain.base)
            for container in reversed(self.containers)
            if family in container.families
            for chain in reversed(container.chains)
            if chain.base is not None and container.meets(chain.base, hook)
        ]
        return iter(sorted(found, key=lambda one: (one[2].hook is Hook.OUTPUT, one[2].turn, one[2].priority)))

    def owned(self) -> Ruleset:
        return Ruleset(tuple(one for one in self.containers if one.owned))

    def foreign(self) -> Ruleset:
        return Ruleset(tuple(one for one in self.containers if not one.owned))


class Feature(StrEnum):
    """What a ruleset can need of a backend."""

    CONCATENATED_SETS = "sets of address, protocol and port together"
    ADDRESS_SETS = "sets of addresses"
    PORT_RANGES = "ranges of ports"
    INTERFACE_PREFIXES = "interface names with a wildcard"
    SOURCE_LIMITS = "rate limits for each source"
    LOG = "logging of matches"
    REJECT = "reject with an answer"
    REDIRECT = "port forwarding to this host"
    DNAT = "port forwarding to another host"
    OUTBOUND = "rules for outgoing traffic"
    FORWARDED = "rules for traffic that passes through"
    DUAL_STACK = "one rule for both families"
    TIMED_ELEMENTS = "elements that expire by themselves"
    INTERFACE_WORDS = "interface names that do not end in a digit"
    OTHER_PORTS = "ports of SCTP and UDP-Lite"
    DCCP_PORTS = "ports of DCCP"
    OTHER_REDIRECTS = "port forwarding to this host of protocols other than TCP"
    RARE_ICMP_TYPES = "ICMP types that no message in use has"
    OTHER_LIMITS = "rate limits of protocols other than TCP"
    SOFT_LIMITS = "rate limits beyond which other rules decide"
    BURSTS = "rate limits that are no count in whole seconds"
    EXTREME_LIMITS = "rate limits above 1,000 a second, or that take more than a day to be full again"
    INTERFACE_PLUS = "interface names that end in a plus, or are an exclamation mark"
    PROTOCOL_ZERO = "the IP protocol with number 0"
    UDPLITE_FORWARDS = "port forwarding of UDP-Lite"
