"""The simulated network: two sites and a WAN between them, in network namespaces of this machine.

Users try Branchline in it before they buy hardware; tests and benchmarks run on it. It needs only the
standard library, `ip`, `tc`, `nft`, `nsenter` (and `iptables-nft` where the kernel has no netem).
"""

from appliance.lab.host import Host
from appliance.lab.network import Lab
from appliance.lab.profile import WanProfile
from appliance.lab.tools import LabError
from appliance.lab.wan import Wan, WanBytes

__all__ = ["Host", "Lab", "LabError", "Wan", "WanBytes", "WanProfile"]
