"""`from` and `to`: names, literals, lists of them, and `{any: ..., except: ...}`."""

from __future__ import annotations

from collections.abc import Collection

from portgate.core.dataclasses import many
from portgate.core.net import ANY_ADDRESS, AddressSet, normalize
from portgate.core.policy import Peer
from portgate.language import grammar, values
from portgate.language.mistakes import Mistakes
from portgate.language.names import Names
from portgate.language.nodes import Broken, Mapping, Node, Pair, Scalar, Sequence, is_null
from portgate.language.records import Records

Peers = tuple[Peer, ...]
ANYBODY: Peers = ()
NOBODY = AddressSet()


class PeerReader:
    """**Shape** () is everybody, also after a mistake, which is reported."""

    def __init__(self, names: Names, records: Records, mistakes: Mistakes) -> None:
        self._names = names
        self._records = records
        self._mistakes = mistakes
        self._known: dict[str, Peers] = {"any": ANYBODY}

    def read(self, pair: Pair) -> Peers:
        node = pair[1]
        return self._list(node) if type(node) is Sequence else self._item(node)

    def optional(self, fields: dict[str, Pair], key: str) -> Peers:
        """Everybody for an absent key."""
        return self.read(fields[key]) if key in fields else ANYBODY

    def _item(self, node: Node) -> Peers:
        if type(node) is not Scalar or is_null(node):
            return self._other(node)
        return self._records.convert(node, self.named) or ANYBODY

    def named(self, text: str) -> Peers:
        """A name, a literal or `any`. Errors: MistakeError."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = (self._names.peer(text),)
        return found

    def all_named(self, words: Collection[str]) -> list[Peers]:
        """The same of many texts. Errors: MistakeError."""
        new = [text for text in dict.fromkeys(words) if text not in self._known and text not in self._names.peers]
        found = values.ipv4_prefixes(new)
        self._known.update(zip(found, zip(many(Peer(), len(found), addresses=found.values())), strict=True))
        return list(map(self.named, words))

    def _other(self, node: Node) -> Peers:
        if type(node) is Mapping:
            return self._with_exception(node)
        self._records.expected("a name or an address", node, "write `any`, a name, an address, or a list of them")
        return ANYBODY

    def _list(self, node: Sequence) -> Peers:
        """The named ones as they are, all literals as one."""
        if not node.items:
            self._mistakes.add("PG217", "an empty list matches nothing", node, "write `any`, or remove the entry")
        parts = [self._item(item) for item in node.items]
        if ANYBODY in parts:
            return ANYBODY
        peers = [peer for part in parts for peer in part]
        literals = [peer.addresses for peer in peers if not peer.name and not peer.interfaces and peer.addresses]
        if len(literals) < 2:
            return tuple(peers)
        named = tuple(peer for peer in peers if peer.name or peer.interfaces or not peer.addresses)
        v4 = normalize(interval for one in literals for interval in one.v4)
        return (*named, Peer(addresses=AddressSet(v4, normalize(interval for one in literals for interval in one.v6))))

    def _with_exception(self, node: Mapping) -> Peers:
        fields = self._records.fields(node, grammar.EXCEPTION)
        if fields is None or "any" not in fields or "except" not in fields:
            return ANYBODY
        base = self.read(fields["any"]) or (Peer(),)
        excepted = self._excepted(fields["except"])
        whole = [ANY_ADDRESS if peer.addresses is None else peer.addresses for peer in base]
        rest = [Peer(peer.interfaces, addresses - excepted) for peer, addresses in zip(base, whole, strict=True)]
        left = tuple(peer for peer in rest if peer.addresses)
        if any(whole) and not left:
            self._mistakes.add("PG217", "the exception takes every address away", node, "narrow `except`")
        return left or (Peer(addresses=NOBODY),)

    def _excepted(self, pair: Pair) -> AddressSet:
        before = self._mistakes.count
        peers = self.read(pair)
        if peers == ANYBODY:
            wrong = self._mistakes.count > before or _has_broken(pair[1])
            return NOBODY if wrong else ANY_ADDRESS
        if any(peer.interfaces for peer in peers):
            self._mistakes.add("PG222", "only addresses can be excepted, not interfaces", pair[1], "name addresses")
        found = NOBODY
        for peer in peers:
            found |= peer.addresses or NOBODY
        return found


def _has_broken(node: Node) -> bool:
    return any(isinstance(one, Broken) for one in (node.items if isinstance(node, Sequence) else [node]))
