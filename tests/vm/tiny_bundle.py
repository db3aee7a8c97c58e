"""Bundles whose system is up in seconds even when it is emulated; it says on the status channel what it is told to."""

import json
from pathlib import Path
from typing import Any

from vmhost.directory import bundle
from vmhost.directory.initrd import initrd
from vmhost.directory.modules import modules

_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /etc/acpi/PWRF /var/log /var/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
printf '#!/bin/sh\\npoweroff -f\\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid
until [ -e /dev/vda ] && [ -e /dev/vdb ]; do sleep 0.1; done
echo "data: $(head -c 20 /dev/vda)"
cat /said >/dev/console
for port in /sys/class/virtio-ports/*; do
  [ "$(cat "$port/name")" = org.branchline.status.0 ] && exec 3<>"/dev/${port##*/}"
done
if [ -e /then ]; then  # said when somebody has typed a line
  (read -r _; mv /then /said) </dev/console &
fi
(while :; do cat /said >&3; sleep 1; done) &  # waits while nobody listens
while :; do echo "guest ready: $(head -c 20 /dev/vdb)"; sleep 1; done
"""


def tiny_bundle(
    directory: Path,
    key: Path,
    vmlinuz: Path,
    *,
    version: str,
    then: bool = False,
    **said: Any,
) -> Path:
    """A bundle signed with `key`; its system, which knows its `version`, says `said`, `then` done when typed to."""
    directory.mkdir()
    found = modules(vmlinuz.parents[1])
    files = {
        "init": _INIT.encode(),
        "bin/busybox": Path("/bin/busybox").read_bytes(),
        **({"then": b'{"step": "start", "text": "", "done": true}\n'} if then else {}),
        "said": json.dumps({"step": "start", "text": f"this is {version}", **said}).encode() + b"\n",
        "modules/order": "".join(f"{name}\n" for name in found).encode(),
        **{f"modules/{name}": content for name, content in found.items()},
    }
    (directory / "initrd").write_bytes(initrd(files))
    (directory / "vmlinuz").write_bytes(vmlinuz.read_bytes())
    (directory / "system").write_bytes(f"system {version}".encode().ljust(2**20, b"\n"))
    manifest = bundle.Manifest(
        version=version,
        arch="x86-64",
        debian="none",
        kernel_arguments="console=ttyS0 quiet panic=-1",
        packages={},
        files={name: bundle.measure(directory / name) for name in bundle.FILES},
    )
    bundle.write(directory, manifest, key)
    return directory
