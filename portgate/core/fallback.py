"""What is loaded at the start of a machine when the policy's own rules can't be."""

from __future__ import annotations

from portgate.core.policy import Default, Grant, Policy, Rulebook


def fallback(policy: Policy) -> Policy:
    """Closed, yet reachable: `management` gets in, and what every policy of ours lets pass; nobody else."""
    management = (Grant("management", sources=policy.management),) if policy.management else ()
    return Policy(policy.name, Rulebook(Default.DROP, allow=management), Rulebook(Default.ACCEPT))
