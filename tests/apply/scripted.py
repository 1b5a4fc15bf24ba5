"""A host that fails where a test wants it to."""

from __future__ import annotations

from portgate.core.capture import Artifact, Loaded, Reading, Step
from portgate.core.ruleset import Container, Feature, Rule, Ruleset

OLD, NEW, ODD = (Ruleset((Container(name, owned=True),)) for name in ("old", "new", "odd"))
NATIVE = {"old": OLD, "new": NEW, "odd": ODD}


def native(ruleset: Ruleset) -> str:
    return ruleset.containers[0].name


class FakeBackend:
    """Its native language is the name of the one container."""

    name = "fake"
    features: frozenset[Feature] = frozenset()
    reading_kinds: tuple[str, ...] = ("fake",)
    routing_words: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("fake",)
    lacking: tuple[str, ...] = ()

    def available(self) -> str | None:
        return None

    def lower(self, desired: Ruleset) -> Ruleset:
        return desired

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        return Artifact("fake", native(desired))

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        return NATIVE[readings[0].text]

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        return None if observed == desired else self.emit(desired)

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        return Artifact("fake", own.text)

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        return (Step(("fake",), "fake", closed),), (Step(("fake",), "fake", text),)

    def words(self, rule: Rule) -> str:
        return rule.comment

    def session(self, loaded: Loaded | None = None) -> FakeSession:
        return FakeSession()


class FakeSession:
    """A host. `fails` maps the number of a call, as in `load 1`, to what happens then."""

    def __init__(self, fails: dict[str, BaseException] | None = None, counts: bool = True) -> None:
        self.rules = "old"
        self.calls: list[str] = []
        self.changes = 0
        self._fails = fails or {}
        self._counts = counts
        self.load_differs: str | None = None
        self.outlines = False
        self.writers = 0
        """Transactions of others that come with each of ours."""

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if error := self._fails.get(f"{name} {self.calls.count(name)}"):
            raise error

    def generation(self) -> str | None:
        return str(self.changes) if self._counts else None

    def read(self) -> tuple[Reading, ...]:
        return (self.read_own(),)

    def read_own(self) -> Reading:
        self._call("read")
        return Reading("fake", self.rules, "test")

    def outline_after(self, generation: str | None) -> Reading | None:
        if not self.outlines or generation != str(self.changes - 1):
            return None
        self._call("outline")
        return Reading("fake", self.rules, "test")

    def check(self, artifact: Artifact) -> None:
        self._call("check")

    def load(self, artifact: Artifact) -> None:
        self._call("load")
        self.changes += 1 + self.writers
        self.rules = self.load_differs if self.load_differs and artifact.text == "new" else artifact.text
        self._call("loaded")
