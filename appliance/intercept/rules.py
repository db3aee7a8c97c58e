"""Every text that goes to nftables, in one place: the data plane's table and control's."""

from appliance.intercept.data_rules import data_table, data_update
from appliance.intercept.fate_rules import FATE_TABLE, fate_table
from appliance.intercept.skeleton import TABLE, table

__all__ = ["FATE_TABLE", "TABLE", "data_table", "data_update", "fate_table", "table"]
