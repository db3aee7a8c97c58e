"""A guest that boots in seconds even when it is emulated: Debian's kernel, busybox, a FAT disk with syslinux.

On its serial console it says "guest ready" again and again, with the bytes of its disk. It shuts down when the power
button is pressed, unless `deaf` is typed first. `burn` keeps every processor busy, and writes over the last disk as
fast as it can. `write` counts on that disk, an ext4, and says each number once it is written for good. With an agent it
mounts its second disk, and the agent says when it has frozen and thawed that; `late` puts its clock back by years,
`hang` and `wake` stop the agent and let it go on.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "button",
    "evdev",
    "virtio_console",
)
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /lib/$module.ko; done
mkdir -p /etc/acpi/PWRF /var/log /var/run
printf '#!/bin/sh\\npoweroff -f\\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid
bytes=$(($(cat /sys/block/vda/size) * 512))
(while :; do echo "guest ready: disk $bytes, cards $(ls /sys/class/net)"; sleep 1; done) &
if [ -x /usr/sbin/qemu-ga ]; then
  mkdir -p /mnt /tmp /sbin
  ln -s /bin/hwclock /sbin/hwclock
  printf '#!/bin/sh\\npoweroff -f\\n' >/sbin/shutdown
  chmod +x /sbin/shutdown
  printf 'NAME=Tiny\\nPRETTY_NAME="Tiny\\033[2J Linux"\\n' >/etc/os-release
  hostname tiny
  ip address add 10.1.0.77/16 dev eth0
  mount -t ext4 /dev/vdb /mnt
  (while :; do date >/mnt/now; sync; done) &
  while ! channel=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); do sleep 0.1; done
  channel=$(echo $channel | cut -d / -f 5)
  printf '#!/bin/sh\necho "guest: $1" >/dev/ttyS0\n' >/bin/hook
  chmod +x /bin/hook
  /usr/sbin/qemu-ga -m virtio-serial -p /dev/$channel -F/bin/hook -t /tmp -l /dev/null &
fi
last=$(ls -d /dev/vd? | tail -n 1)
while read -r word; do
  case "$word" in
  deaf) rm /etc/acpi/PWRF/00000080 && echo "guest is deaf" ;;
  late) date -s 2001-01-01 && echo "guest is late" ;;
  hang) killall -STOP qemu-ga && echo "guest hangs" ;;
  wake) killall -CONT qemu-ga && echo "guest is awake" ;;
  burn)
    for cpu in $(seq $(nproc)); do (while :; do :; done) & done
    (while :; do dd if=/dev/zero of=$last bs=1M conv=fsync 2>/dev/null; done) &
    echo "guest burns" ;;
  write)
    mkdir -p /data && mount -t ext4 $last /data
    count=$(cat /data/count || echo 0)
    echo "guest found $count in its journal"
    (while :; do
      count=$((count + 1))
      echo $count >/data/new && sync && mv /data/new /data/count && sync
      echo "guest wrote $count for good"
    done) & ;;
  esac
done
"""
_SYSLINUX = (
    "SERIAL 0\nDEFAULT guest\nLABEL guest\nKERNEL vmlinuz\nINITRD initrd.gz\nAPPEND console=ttyS0 quiet\n"
)
_LOADER = "title guest\nlinux /vmlinuz\ninitrd /initrd.gz\noptions console=ttyAMA0 quiet\n"


def kernel(cache: Path) -> Path:
    """Debian's kernel of `cache`, where .ci/setup has put its package; unpacked there."""
    return next((_unpacked(cache, "linux-image-") / "boot").glob("vmlinuz-*"))


def _unpacked(cache: Path, package: str) -> Path:
    packages = sorted(cache.glob(f"{package}*.deb"))
    assert packages, f"there is no {package} in {cache}: run .ci/setup vm guest"
    tree = packages[-1].with_suffix("")
    if not tree.exists():
        half = tree.with_suffix(".half")
        subprocess.run(["dpkg", "-x", packages[-1], half], check=True)
        half.rename(tree)
    return tree


def agent(cache: Path) -> Path:
    """Debian's guest agent of `cache`; unpacked there."""
    return _unpacked(cache, "qemu-guest-agent_") / "usr" / "sbin" / "qemu-ga"


def make_disk(vmlinuz: Path, directory: Path, agent: Path | None = None) -> Path:
    """A raw disk image in `directory` that boots the guest, which runs the `agent` if there is one."""
    root = _root(vmlinuz, Path("/bin/busybox"), directory, MODULES)
    if agent is not None:
        _add_program(root, agent)
    (directory / "syslinux.cfg").write_text(_SYSLINUX)
    disk = _disk(vmlinuz, root, directory, 24 * 2**20)
    _shell(f"mcopy -i '{disk}' '{directory}/syslinux.cfg' :: && syslinux --install '{disk}'")
    return disk


def make_arm64_disk(cache: Path, directory: Path) -> Path:
    """The same for arm64, of the packages in `cache`; it boots by UEFI."""
    vmlinuz = kernel(cache)
    busybox = _unpacked(cache, "busybox-static_") / "bin" / "busybox"
    # The rest is part of that kernel.
    root = _root(vmlinuz, busybox, directory, [name for name in MODULES if name != "button"])
    (directory / "guest.conf").write_text(_LOADER)
    loader = _unpacked(cache, "systemd-boot-efi_") / "usr/lib/systemd/boot/efi/systemd-bootaa64.efi"
    disk = _disk(vmlinuz, root, directory, 64 * 2**20)
    _shell(f"mmd -i '{disk}' ::EFI ::EFI/BOOT ::loader ::loader/entries")
    _shell(f"mcopy -i '{disk}' '{loader}' ::EFI/BOOT/BOOTAA64.EFI")
    _shell(f"mcopy -i '{disk}' '{directory}/guest.conf' ::loader/entries/guest.conf")
    return disk


def _root(vmlinuz: Path, busybox: Path, directory: Path, modules: Sequence[str]) -> Path:
    """The guest's files, in `directory`."""
    root = directory / "root"
    for name in ("bin", "lib", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(busybox.read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    for name in modules:
        (module,) = (vmlinuz.parents[1] / "lib" / "modules").rglob(f"{name}.ko")
        (root / "lib" / module.name).write_bytes(module.read_bytes())
    (root / "init").write_text(_INIT.format(modules=" ".join(modules)))
    (root / "init").chmod(0o755)
    return root


def _disk(vmlinuz: Path, root: Path, directory: Path, size: int) -> Path:
    """A FAT disk with the kernel, and the files of `root` as its initrd."""
    disk = directory / "guest.img"
    _shell(f"cd '{root}' && find . | cpio -o -H newc --quiet | gzip -1 >'{directory}/initrd.gz'")
    with disk.open("wb") as file:
        file.truncate(size)
    _shell(f"mkfs.vfat '{disk}' >/dev/null && mcopy -i '{disk}' '{vmlinuz}' ::vmlinuz")
    _shell(f"mcopy -i '{disk}' '{directory}/initrd.gz' ::initrd.gz")
    return disk


def _add_program(root: Path, program: Path) -> None:
    """With the libraries that it needs, which QEMU on this machine needs too."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in said.split() if word.startswith("/")]
    (root / "usr" / "sbin").mkdir(parents=True)
    (root / "lib64").symlink_to("lib")
    for file in (*map(Path, libraries), program):
        place = root / "usr" / "sbin" if file == program else root / "lib"
        (place / file.name).write_bytes(file.read_bytes())
        (place / file.name).chmod(0o755)


def _shell(command: str) -> None:
    subprocess.run(["sh", "-c", f"export PATH=$PATH:/usr/sbin:/sbin; {command}"], check=True)
