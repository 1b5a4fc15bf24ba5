"""What nftables adds to a policy's rules changes nothing that they mean: no read-back could tell, for it is compared with these."""

from __future__ import annotations

from random import Random

import pytest

from portgate.backends.nftables import BACKEND
from portgate.backends.nftables.lower import READY
from portgate.core.compile import compile as compiled
from portgate.core.ruleset import ALWAYS, Drop
from portgate.core.verify import equivalent
from portgate.language import load
from tests.generate import policies
from tests.written import TODAY


@pytest.mark.parametrize("seed", range(60))
def test_random_policies_mean_the_same_as_before(seed: int) -> None:
    text = policies.policy(Random(seed))
    loaded = load("policy.yaml", lambda _: text.encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    desired = compiled(loaded.policy, TODAY)
    assert equivalent(BACKEND.lower(desired), desired)


@pytest.mark.parametrize(("default", "last"), [("drop", True), ("accept", False)])
def test_a_default_that_drops_is_a_rule_and_blocks_wait(default: str, last: bool) -> None:
    text = f"{{portgate: 1, inbound: {{default: {default}, block: [{{from: 203.0.113.0/24}}]}}}}"
    loaded = load("policy.yaml", lambda _: text.encode(), TODAY)
    assert loaded.policy is not None
    (container,) = BACKEND.lower(compiled(loaded.policy, TODAY)).containers
    rules = next(one.rules for one in container.chains if one.name == "input")
    comments = [one.comment for one in rules]
    assert comments.index("wait") < comments.index("block")
    assert (rules[-1].match == ALWAYS and rules[-1].verdict == Drop()) is last
    assert READY in {one.name for one in container.sets}
