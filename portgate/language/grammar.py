"""The policy language as data: every key with its meaning and the form of its value.

Rules of this file
    It is the only place where keys are listed. The reader takes from it which keys are known and required, the JSON Schema
    and the test of docs/language.md take the rest.
"""

from __future__ import annotations

from portgate.core.dataclasses import dataclass

VERSION = "1"
PORT_PROTOCOL_NAMES = ("tcp", "udp", "sctp", "dccp", "udplite")

NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,47}"
PORT_PATTERN = rf"[0-9]{{1,5}}(-[0-9]{{1,5}})?/({'|'.join(PORT_PROTOCOL_NAMES)})"
SERVICE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
DATE_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
ID_PATTERN = r"[A-Za-z0-9._-]{1,48}"
LIMIT_PATTERN = r"([0-9]{1,9})\s*/\s*(second|minute|hour|day)(\s+burst\s+([0-9]{1,9}))?"


@dataclass(frozen=True, slots=True)
class Text:
    """A plain value. `pattern` is that of the whole value, "" for free text; `or_number`: also one that YAML takes for a number."""

    pattern: str = ""
    or_number: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar, written year-month-day."""


@dataclass(frozen=True, slots=True)
class Word:
    """One of these words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number that is not quoted."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Many:
    """A list; `or_one`: or one item without the brackets."""

    item: Shape
    or_one: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping from names that the policy gives."""

    value: Shape


@dataclass(frozen=True, slots=True)
class Either:
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    shape: Shape
    meaning: str
    required: bool = False
    example: str = "..."


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with fixed keys. `names` are those of all, `required` of those that may not be left out."""

    title: str
    keys: tuple[Key, ...]
    names: frozenset[str]
    required: frozenset[str]


def record(title: str, keys: tuple[Key, ...]) -> Record:
    names = frozenset(key.name for key in keys)
    return Record(title, keys, names, frozenset(key.name for key in keys if key.required))


Shape = Text | Day | Word | Flag | Number | Many | Named | Either | Record

FREE = Text()
PORT = Text(rf"{PORT_PATTERN}|{SERVICE_PATTERN}")
PORTS = Many(PORT, or_one=True)
PROTOCOLS = Many(Either((Text(r"[a-z][a-z0-9-]*"), Number(0, 255))), or_one=True)
ADDRESS = Text(r"[0-9A-Za-z:][0-9A-Za-z:./_-]*")

EXCEPTION = record(
    "exception",
    (
        Key("any", Many(ADDRESS, or_one=True), "from any of these names and addresses", required=True, example="any"),
        Key("except", Many(ADDRESS, or_one=True), "but not from these addresses", required=True, example="192.0.2.1"),
    ),
)
PEER = Either((ADDRESS, EXCEPTION))
PEERS = Many(PEER, or_one=True)

ADDRESS_FILE = record("address-file", (Key("file", FREE, "path of a file with one address or prefix a line", True),))
ADDRESS_ITEM = Either((ADDRESS, ADDRESS_FILE))

ZONE = record(
    "zone",
    (
        Key(
            "interfaces",
            Many(Text(r"[^\s/:'\"\\]{1,15}\*?|\*", or_number=True), or_one=True),
            "arriving through one of these interfaces",
            example="eth1",
        ),
        Key("sources", Many(ADDRESS, or_one=True), "coming from one of these addresses"),
    ),
)

_ABOUT = (
    Key(
        "id",
        Text(ID_PATTERN, or_number=True),
        "stable name of the entry in the host's rules; derived from its content when absent",
    ),
    Key("note", FREE, "why the entry exists"),
    Key("owner", FREE, "who answers for it"),
    Key("expires", Day(), "last day on which it holds"),
    Key("log", Flag(), "log each new connection that it decides"),
)
_FROM = Key("from", PEERS, "sources: a zone, an address set, an address, `any`, or a list of them")
_LIMIT = Key("limit", Text(LIMIT_PATTERN), "new connections for each source address: `10/minute burst 20`")

GRANT = record(
    "grant",
    (
        Key("port", PORTS, "destination: `443/tcp`, `8000-8100/udp`, a service, or a list", example="https"),
        Key("proto", PROTOCOLS, "all of an IP protocol, by name or number"),
        _FROM,
        Key("to", PEERS, "destinations, in the same forms as `from`"),
        _LIMIT,
        *_ABOUT,
    ),
)
GRANTS = Many(Either((PORT, GRANT)))

FORWARD = record(
    "forward",
    (
        Key("port", PORTS, "what arrives", required=True, example="80/tcp"),
        Key(
            "to",
            Either((Number(1, 65535), FREE)),
            "`8080`, `10.0.0.7:22`, `[2001:db8::7]:22` or an address",
            required=True,
            example="8080",
        ),
        _FROM,
        _LIMIT,
        *_ABOUT,
    ),
)

EXPECTATION = record(
    "expectation",
    (
        Key("port", PORTS, "packets to these ports", example="ssh, is: accepted"),
        Key("proto", PROTOCOLS, "packets of these protocols"),
        _FROM,
        Key("to", PEERS, "to these destinations"),
        Key("is", Word(("accepted", "blocked")), "what must happen to every such packet"),
        Key("only", PORTS, "nothing but these is open to anybody"),
    ),
)

DEFAULT = Word(("drop", "reject", "accept"))


def _rulebook(title: str, default: str) -> Record:
    return record(
        title,
        (
            Key("default", DEFAULT, f"what happens to everything else; {default} when absent", example=default),
            Key("block", GRANTS, "never let through; wins over `allow`"),
            Key("allow", GRANTS, "let through"),
        ),
    )


INBOUND = _rulebook("inbound", "drop")
OUTBOUND = _rulebook("outbound", "accept")
MANAGEMENT = record("management", (Key("from", PEERS, "who manages this host", required=True, example="office"),))
CONTAINERS = Word(("enforce", "ignore"))

POLICY = record(
    "policy",
    (
        Key("portgate", Number(1, 1), "version of the language", required=True, example=VERSION),
        Key("name", FREE, "name of the policy; that of the file when absent"),
        Key("description", FREE, "what the policy is for"),
        Key("include", Either((FREE, Many(FREE))), "files to unite with this one, relative to it"),
        Key("zones", Named(ZONE), "where traffic comes from, by name"),
        Key("addresses", Named(Either((Many(ADDRESS_ITEM, or_one=True),))), "address sets, by name"),
        Key("services", Named(PORTS), "ports, by name; added to the built-in table"),
        Key("inbound", INBOUND, "traffic to this host"),
        Key("outbound", OUTBOUND, "traffic that this host starts"),
        Key("forward", Many(FORWARD), "ports that lead elsewhere"),
        Key("management", MANAGEMENT, "who must never be locked out"),
        Key("containers", CONTAINERS, "whether ports that containers publish obey `inbound`; ignore when absent"),
        Key("expect", Many(EXPECTATION), "tests of the policy"),
    ),
)
