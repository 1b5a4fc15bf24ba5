"""A real kernel in throw-away network namespaces: rules are loaded there, programs listen there, packets arrive there.

    with Sandbox([Link("eth0", host=("192.0.2.1/24",), peer=("192.0.2.2/24",))]) as sandbox:
        sandbox.run(["nft", "-f", "-"], text)
        sandbox.listen(Transport.TCP, "192.0.2.1", 443)
        assert sandbox.connect(Transport.TCP, "192.0.2.1", 443, source="eth0") is Answer.OPEN

The firewall and the links of the machine itself are never touched.
"""

from portgate.sandbox.frames import Probe
from portgate.sandbox.oracle import Fate, Oracle
from portgate.sandbox.probe import Answer, Transport
from portgate.sandbox.sandbox import HOST, Link, Sandbox

__all__ = ["HOST", "Answer", "Fate", "Link", "Oracle", "Probe", "Sandbox", "Transport"]
