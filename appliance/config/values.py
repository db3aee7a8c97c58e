"""What a single value of the configuration may be: names, prefixes, endpoints, ports, keys.

Each is a `str` that has been checked, with its parsed form as a property. `parse` raises ValueError with a sentence
that says what is wrong and what to write.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Self

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}", re.ASCII)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a {what}; write it in quotes")
    return value


class Name(str):
    """A stable id of a box, a peer or a rule: 1 to 63 of a-z, 0-9 and inner hyphens."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`; ValueError if it is not such a name."""
        text = _text(value, "name")
        if not _NAME.fullmatch(text):
            raise ValueError(
                f'"{text}" is not a name; use 1 to 63 of a-z, 0-9 and hyphens, no hyphen at an end'
            )
        return cls(text)


class Interface(str):
    """The name of a network interface, 1 to 15 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`; ValueError if no interface can be called so. Whether it exists is not checked here."""
        text = _text(value, "interface name")
        if not _INTERFACE.fullmatch(text):
            raise ValueError(
                f'"{text}" cannot be the name of an interface; `ip link` lists the names there are'
            )
        return cls(text)


class Prefix(str):
    """An IPv4 or IPv6 prefix in canonical form, "10.1.0.0/16" or "fd01::/48"."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check and canonicalise `value`; ValueError for a bad address, a bad length or bits beyond the length."""
        text = _text(value, "prefix")
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise ValueError(
                f'"{text}" is not a prefix; write it like "10.1.0.0/16" or "fd01::/48"'
            ) from None
        network = interface.network
        if interface.ip != network.network_address:
            raise ValueError(f'"{text}" has bits set beyond its length; write "{network}"')
        return cls(network)

    @property
    def network(self) -> Network:
        """The prefix as an `ipaddress` network."""
        return ipaddress.ip_network(str(self))


class Host(str):
    """An IPv4 or IPv6 address, "10.9.0.1" or "fd09::1"."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check and canonicalise `value`; ValueError if it is no address of a host."""
        text = _text(value, "address")
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f'"{text}" is not an address; write it like "10.9.0.1" or "fd09::1"') from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f'"{text}" is no box\'s address; write one that `ip address` lists')
        return cls(address)


class Endpoint(str):
    """An address and a TCP port, "10.9.0.2:4001" or "[fd09::2]:4001"."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`; ValueError for host names (they would need DNS before there is a WAN) and bad ports."""
        text = _text(value, "endpoint")
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
                raise ValueError
            address = ipaddress.ip_address(host[1:-1] if bracketed else host)
            if bracketed != (address.version == 6):
                raise ValueError
        except ValueError:
            raise ValueError(
                f'"{text}" is not an address and a port; write it like "10.9.0.2:4001" or "[fd09::2]:4001"'
            ) from None
        return cls(f"[{address}]:{int(port)}" if bracketed else f"{address}:{int(port)}")

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def address(self) -> Address:
        """The address as an `ipaddress` object."""
        return ipaddress.ip_address(self.host)

    @property
    def port(self) -> int:
        """The TCP port, 1 to 65535."""
        return int(self.rpartition(":")[2])


class Ports(str):
    """One TCP port, "80", or a range with both ends in it, "8000-8099"."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`, a port as a number or as text; ValueError if it is none or the range is empty."""
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, "port")
        first, dash, last = (part.strip() for part in text.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and 1 <= int(end) <= 65535 for end in ends):
            raise ValueError(f'"{text}" is not a port or a range of ports; write "80" or "8000-8099"')
        low, high = int(ends[0]), int(ends[1])
        if low > high:
            raise ValueError(f'the range "{text}" is empty; write "{high}-{low}"')
        return cls(f"{low}-{high}" if low != high else str(low))

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest port, both included."""
        low, _, high = self.partition("-")
        return int(low), int(high or low)


class PublicKey(str):
    """A box's public identity: its self-signed certificate, DER in base64 on one line."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check the base64; ValueError if it is none. That it holds a certificate is checked by `load`."""
        text = "".join(_text(value, "public key").split())
        try:
            der = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            der = b""
        if not der.startswith(b"\x30"):
            raise ValueError(
                "is not a public key; paste the line that `branchline key show` prints on that box"
            )
        return cls(text)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return base64.b64decode(self)
