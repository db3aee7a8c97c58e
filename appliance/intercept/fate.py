"""Control's handle on its table: put in place, checked every few seconds, put back, removed at an orderly stop."""

from __future__ import annotations

from appliance.intercept.fate_rules import COUNTER_CLOSED, COUNTER_PLAIN, FATE_TABLE, fate_table
from appliance.intercept.nft import Nft, NftError
from appliance.intercept.specs import BoxSpec


class Fate:
    """Table `inet branchline_fate`. It outlives this object and the process, until remove(). Methods raise NftError."""

    def __init__(self) -> None:
        self._nft = Nft()

    def apply(self, spec: BoxSpec) -> None:
        """Puts the table in place, replacing an older one in the same transaction; its counters begin at zero."""
        self._nft.run(fate_table(spec))

    def present(self) -> bool:
        """Whether the table is whole: a foreign `flush ruleset` removes it, a `flush table` only its rules."""
        try:
            listed = self._nft.ask(f"list chain {FATE_TABLE} through")
        except NftError:
            return False
        return any("rule" in item for item in listed)

    def counters(self) -> dict[str, int]:
        """`closed`: connections reset because a rule is closed; `plain`: packets refused because a path is public."""
        names = {COUNTER_CLOSED, COUNTER_PLAIN}
        found = (
            item["counter"]
            for item in self._nft.ask(f"list counters table {FATE_TABLE}")
            if "counter" in item
        )
        return {item["name"]: int(item["packets"]) for item in found if item["name"] in names}

    def remove(self) -> None:
        """Removes the table, if it is there."""
        self._nft.run(f"add table {FATE_TABLE}\ndelete table {FATE_TABLE}\n")

    def close(self) -> None:
        """Closes the netlink socket; the table stays."""
        self._nft.close()
