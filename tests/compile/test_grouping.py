"""Grants that need no thought are grouped as all others are, only quicker."""

from __future__ import annotations

from portgate.core.grouping import Groups
from tests.compile.worlds import policy


def test_grants_added_at_once_make_the_same_sets_as_one_by_one() -> None:
    tried = 0
    for seed in range(60):
        grants = policy(seed).inbound.allow
        at_once, one_by_one = Groups(), Groups()
        at_once.add_all("allow", grants)
        for grant in grants:
            one_by_one.add("allow", grant)
        tried += len(grants)
        assert at_once.sets() == one_by_one.sets(), f"seed {seed}"
    assert tried > 60
