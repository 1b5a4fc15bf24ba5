"""Inputs by the million to everything that reads text of others: nothing may crash, nothing may take long.

Theory
    An input is a function of the run's seed, the target and a number, so that each can be made again. A text may be refused with
    a diagnostic. It may take a second of processor time for each 100 KB begun, be it read or refused.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.mutate import grown
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]
FINDS = ROOT / "build" / "fuzz"
PER_PIECE, PIECE = 1.0, 100_000
HANGS = 20.0
GROWN_EVERY, GROWN = 2000, (20_000, 100_000)
BATCH = 500


class Hang(BaseException):
    """The processor has worked on one input for too long."""


@dataclass
class Tally:
    """What became of the inputs of one target. `finds` has the smallest input of each kind of failure."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    finds: dict[str, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.inputs += other.inputs
        self.refused += other.refused
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        for failure, text in other.finds.items():
            self.found(failure, text)

    def found(self, failure: str, text: str) -> None:
        if len(text) <= len(self.finds.get(failure, text)):
            self.finds[failure] = text


def run(target: Target, seed: str, numbers: range) -> Tally:
    tally = Tally()
    for number in numbers:
        rng = Random(f"{seed} {target.name} {number}")
        is_grown = number % GROWN_EVERY == GROWN_EVERY - 1
        text = grown(rng, target.seeds, rng.choice(GROWN)) if is_grown else target.damage(rng, target.seeds)
        _try(target, text, tally, use=not is_grown)
    return tally


def failure_of(target: Target, text: str) -> str | None:
    """How the target fails on the text, in a few words, if it does."""
    tally = Tally()
    _try(target, text, tally, use=len(text) < GROWN[0])
    return next(iter(tally.finds), None)


def _try(target: Target, text: str, tally: Tally, use: bool) -> None:
    tally.inputs += 1
    begun = time.process_time()
    try:
        with _limited():
            found = target.read(text)
            taken = time.process_time() - begun
            if use and target.use is not None:
                target.use(found)
    except target.refusals as error:
        taken = time.process_time() - begun
        tally.refused += 1
        if any(one.code.startswith("PG9") for one in getattr(error, "diagnostics", ())):
            tally.found(f"its own bug: {error}", text)
    except Hang:
        tally.found(f"more than {HANGS} s", text)
        taken = HANGS
    except Exception as error:  # noqa: BLE001 - what nobody expected is what is looked for
        taken = time.process_time() - begun
        tally.found(_named(error), text)
    tally.seconds += time.process_time() - begun
    tally.slowest = max(tally.slowest, taken)
    if taken > PER_PIECE * (1 + len(text) // PIECE):
        tally.found("takes long", text)


def _named(error: Exception) -> str:
    """The error and the place in portgate where it was raised."""
    ours = f"{ROOT / 'portgate'}/"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(ours)]
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ", outside of portgate"
    return f"{type(error).__name__}{place}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


# ------------------------------------------------------------------ smaller finds


def shrunk(text: str, fails: Callable[[str], bool], seconds: float = 20.0) -> str:
    """A part of the text that still fails: pieces are left out, half of it first, single characters last."""
    end = time.process_time() + seconds
    size = len(text) // 2
    while size:
        at = 0
        while at < len(text) and time.process_time() < end:
            less = text[:at] + text[at + size :]
            if fails(less):
                text = less
            else:
                at += size
        size //= 2
    return text


# ------------------------------------------------------------------ the program


def _work(work: tuple[int, str, range]) -> tuple[int, Tally]:
    index, seed, numbers = work
    gc.collect()
    return index, run(TARGETS[index], seed, numbers)


def _batches(inputs: int, seed: str, names: list[str]) -> Iterator[tuple[int, str, range]]:
    """Of all targets in turn, so that a run that is ended early has tried each."""
    chosen = [(index, one) for index, one in enumerate(TARGETS) if not names or one.name in names]
    whole = sum(one.share for _, one in chosen)
    counts = {index: round(inputs * one.share / whole) for index, one in chosen}
    for start in range(0, max(counts.values()), BATCH):
        for index, count in counts.items():
            if start < count:
                yield index, seed, range(start, min(start + BATCH, count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="?", type=int, default=1_000_000, help="in total (1,000,000)")
    parser.add_argument("--seed", default="0", help="another one makes other inputs")
    parser.add_argument("--target", action="append", default=[], choices=[one.name for one in TARGETS])
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    tallies = [Tally() for _ in TARGETS]
    with multiprocessing.get_context("fork").Pool(chosen.jobs, _undisturbed, maxtasksperchild=100) as pool:
        try:
            for index, tally in pool.imap_unordered(_work, _batches(chosen.inputs, chosen.seed, chosen.target)):
                tallies[index].add(tally)
        except KeyboardInterrupt:
            pool.terminate()
            print("interrupted; so far:")
    _report(tallies)
    return 1 if any(one.finds for one in tallies) else 0


def _undisturbed() -> None:
    """An interrupt is for the parent, which tells what was found."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _report(tallies: list[Tally]) -> None:
    print(f"{'target':22} {'inputs':>9} {'refused':>8} {'seconds':>8} {'slowest, s':>10}")
    for target, tally in zip(TARGETS, tallies, strict=True):
        if tally.inputs:
            print(
                f"{target.name:22} {tally.inputs:9,} {tally.refused / tally.inputs:8.0%} {tally.seconds:8.0f} {tally.slowest:10.2f}"
            )
    total = sum(one.inputs for one in tallies)
    print(f"{'all':22} {total:9,} {'':8} {sum(one.seconds for one in tallies):8.0f}")
    for target, tally in zip(TARGETS, tallies, strict=True):
        for failure, text in tally.finds.items():
            print(f"\n{target.name}: {failure}\n  {_kept(target, failure, text)}")


def _kept(target: Target, failure: str, text: str) -> Path:
    """A file with a smaller text that fails in the same way, if one is found."""
    smaller = shrunk(text, lambda part: failure_of(target, part) == failure)
    FINDS.mkdir(parents=True, exist_ok=True)
    path = FINDS / f"{target.name}-{hashlib.sha256(failure.encode()).hexdigest()[:8]}.txt"
    path.write_text(smaller, encoding="utf-8", errors="surrogatepass", newline="")
    return path.relative_to(ROOT)


if __name__ == "__main__":
    sys.exit(main())
