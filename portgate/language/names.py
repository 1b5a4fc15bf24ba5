"""What the policy gives names to: zones, address sets and services."""

from __future__ import annotations

from collections.abc import Collection

from portgate.core.net import AddressSet, normalize
from portgate.core.policy import Peer, Traffic
from portgate.language import grammar, services, values
from portgate.language.addresses import read_lines
from portgate.language.files import Files, relative
from portgate.language.mistakes import MistakeError, Mistakes, span_of
from portgate.language.nodes import Mapping, Node, Pair, Scalar, Sequence
from portgate.language.records import Records
from portgate.language.text import ADDRESS_FILE_BYTES

CHAIN = 100
NOTHING = AddressSet()


class Names:
    """**Shape** `peers` are zones and address sets by name; the addresses of a name are one shared object."""

    def __init__(self, root: Mapping, files: Files, records: Records, mistakes: Mistakes) -> None:
        self._files = files
        self._records = records
        self._mistakes = mistakes
        self._zones = records.named(root, "zones")
        self._sets = records.named(root, "addresses")
        self._services = records.named(root, "services")
        self._open: list[str] = []
        self._address_sets: dict[str, AddressSet] = {}
        self._address_files: dict[str, AddressSet] = {}
        self._traffic: dict[str, tuple[Traffic, ...]] = {}
        self.peers: dict[str, Peer] = {}
        self._check_clashes()
        self._define()

    def zones(self) -> tuple[tuple[str, Peer], ...]:
        return tuple((name, self.peers[name]) for name in self._zones)

    def peer(self, text: str) -> Peer:
        """A name or a literal. Errors: MistakeError."""
        found = self.peers.get(text)
        if found is not None:
            return found
        try:
            return Peer((), values.addresses(text))
        except MistakeError:
            if values.looks_like_name(text):
                raise self._unknown_peer(text) from None
            raise

    def traffic(self, text: str) -> tuple[Traffic, ...]:
        """A port or the name of a service. Errors: MistakeError."""
        found = self._traffic.get(text)
        if found is None:
            port = values.port(text)
            found = (port,) if port else self._service(text)
            self._traffic[text] = found
        return found

    def traffics(self, words: Collection[str]) -> list[tuple[Traffic, ...]]:
        """The same of many words. Errors: MistakeError."""
        unknown = [text for text in dict.fromkeys(words) if text not in self._traffic]
        self._traffic.update(values.ports(unknown))
        return [self._traffic.get(text) or self.traffic(text) for text in words]

    # ---- definitions

    def _define(self) -> None:
        for name in self._services:
            self._own_service(name)
        for name in self._sets:
            self.peers[name] = Peer(addresses=self._address_set(name), name=name)
        for name, (_, node) in self._zones.items():
            self.peers[name] = self._zone(name, node)

    def _check_clashes(self) -> None:
        for name in self._zones.keys() & self._sets.keys():
            zone, address_set = self._zones[name][0], self._sets[name][0]
            related = ((span_of(zone), "a zone of this name"),)
            detail = f"{values.shown(name)} is a zone and an address set"
            self._mistakes.add("PG210", detail, address_set, "rename one of them", related)
        for name, (key, _) in self._services.items():
            if services.lookup(name) is not None:
                self._mistakes.add("PG225", f"{values.shown(name)} is a built-in service", key, "choose another name")

    def _zone(self, name: str, node: Node) -> Peer:
        fields = self._records.fields(node, grammar.ZONE)
        if fields is None:
            return Peer(name=name)
        interfaces = tuple(self._records.scalars(fields.get("interfaces"), values.interface))
        sources = fields.get("sources")
        if "interfaces" in fields:
            self._records.not_empty(fields["interfaces"][1])
        if not fields:
            self._mistakes.add("PG109", "a zone without `interfaces` and `sources` is nowhere", node, "add one of them")
        some = () if "*" in interfaces else interfaces  # no firewall has a name for all of them, and none is needed
        return Peer(some, self._union(sources) if sources else None, name)

    def _address_set(self, name: str) -> AddressSet:
        if name not in self._address_sets:
            self._open.append(name)
            self._address_sets[name] = self._union(self._sets[name])
            self._open.pop()
        return self._address_sets[name]

    def _union(self, pair: Pair) -> AddressSet:
        """All items of a definition together; a single named set stays the same object."""
        parts = [self._part(item) for item in self._records.items(pair)]
        if isinstance(pair[1], Sequence) and not parts:
            detail = f"{values.shown(pair[0].value)} lists nothing"
            self._mistakes.add("PG224", detail, pair[1], "list an address, or remove it")
        if len(parts) == 1:
            return parts[0]
        v4 = normalize(interval for part in parts for interval in part.v4)
        return AddressSet(v4, normalize(interval for part in parts for interval in part.v6))

    def _part(self, node: Node) -> AddressSet:
        if isinstance(node, Mapping):
            return self._file(node)
        if not isinstance(node, Scalar):
            self._records.expected("an address, a name or {file: path}", node)
            return NOTHING
        try:
            return self._named_set(node.value) if values.looks_like_name(node.value) else values.addresses(node.value)
        except MistakeError as error:
            self._mistakes.wrong(error, node)
            return NOTHING

    def _named_set(self, name: str) -> AddressSet:
        if name in self._zones:
            raise MistakeError("PG222", f"{values.shown(name)} is a zone, not an address set", "name an address set")
        if name in values.RESERVED:
            raise MistakeError("PG222", f"{values.shown(name)} is not an address set", "write `0.0.0.0/0` and `::/0`")
        if name not in self._sets:
            raise self._unknown_peer(name)
        self._guard(name)
        return self._address_set(name)

    def _guard(self, name: str) -> None:
        """Errors: MistakeError when a definition is reached from itself, or through too many others."""
        if name in self._open:
            way = " -> ".join([*self._open[self._open.index(name) :], name])
            raise MistakeError("PG211", f"it leads back to itself: {way}", "take one of them out")
        if len(self._open) > CHAIN:
            raise MistakeError(
                "PG211", f"it leads through more than {CHAIN} names", "name the addresses or ports themselves"
            )

    def _file(self, node: Mapping) -> AddressSet:
        fields = self._records.fields(node, grammar.ADDRESS_FILE)
        if fields is None or "file" not in fields:
            return NOTHING
        entry = fields["file"][1]
        if not isinstance(entry, Scalar):
            self._records.expected("the path of a file", entry)
            return NOTHING
        path = relative(entry)
        if path not in self._address_files:
            self._address_files[path] = self._read_file(path, entry)
        return self._address_files[path]

    def _read_file(self, path: str, entry: Scalar) -> AddressSet:
        """Its text is kept only if something in it is to be shown."""
        before = self._mistakes.count
        text = self._files.text(path, ADDRESS_FILE_BYTES, entry)
        if text is None:
            return NOTHING
        found = read_lines(text, path, self._mistakes)
        if self._mistakes.count > before:
            self._files.sources[path] = text
        elif not found:
            self._mistakes.add("PG224", f"`{path}` holds no address", entry, "add one, or remove the file")
        return found

    # ---- services

    def _service(self, text: str) -> tuple[Traffic, ...]:
        if text in self._services:
            self._guard(text)
            return self._own_service(text)
        found = services.lookup(text)
        if found is None:
            raise self._unknown_service(text)
        return found

    def _own_service(self, name: str) -> tuple[Traffic, ...]:
        if name not in self._traffic:
            self._open.append(name)
            parts = self._records.scalars(self._services[name], self.traffic)
            self._records.not_empty(self._services[name][1])
            self._open.pop()
            self._traffic[name] = tuple(dict.fromkeys(one for part in parts for one in part))
        return self._traffic[name]

    def _unknown_service(self, text: str) -> MistakeError:
        name, slash, _ = text.partition("/")
        if slash and (name in self._services or services.lookup(name)):
            return MistakeError("PG201", f"{values.shown(name)} says its protocol itself", f"write `{name}`")
        if not values.looks_like_name(text) or values.means_no_service(text):
            return values.no_port(text)
        known = [*self._services, *services.by_name()]
        remedy = self._mistakes.suggest(text, known) or "define it under `services`, or write `80/tcp`"
        return MistakeError("PG205", f"{values.shown(text)} is not a service", remedy)

    def _unknown_peer(self, text: str) -> MistakeError:
        remedy = self._mistakes.suggest(text, [*self._zones, *self._sets, *values.RESERVED])
        if remedy is None and "." in text:
            remedy = "host names are not looked up: write the address"
        return MistakeError(
            "PG208", f"{values.shown(text)} is not defined", remedy or "define it under `zones` or `addresses`"
        )
