"""A recipe is verified as a whole; an error names the file, the key, what is wrong and what to do."""

from pathlib import Path

import pytest

from vmhost.errors import RecipeError
from vmhost.recipe import Recipe, from_dict, parse, to_dict

GOOD = """
name = "directory"
memory = "1GiB"
vcpus = 2
autostart = true
stop_within = "2min"

[[disks]]
name = "system"
image = "images/system.qcow2"
size = "20GiB"

[[disks]]
name = "data"
size = "512MiB"

[[networks]]
bridge = "br-lan"
mac = "52:54:00:AB:cd:ef"
"""


def _parse(text: str = GOOD) -> Recipe:
    return parse(text, "/etc/branchline/directory.toml")


def test_a_good_one() -> None:
    recipe = _parse()
    assert (recipe.memory, recipe.stop_within, recipe.arch) == (2**30, 120, "x86-64")
    assert recipe.disks[0].image == "/etc/branchline/images/system.qcow2"
    assert recipe.disks[1].size == 512 * 2**20
    assert recipe.networks[0].mac == "52:54:00:ab:cd:ef"
    assert to_dict(recipe)["disks"][1] == {"name": "data", "image": "", "size": 512 * 2**20}


@pytest.mark.parametrize(
    ("before", "after", "key", "said"),
    [
        ('"directory"', '"../../etc"', "name", "is not a name"),
        ('"directory"', '"a b"', "name", "use 1 to 63 of a-z"),
        ('"directory"', '"<b>"', "name", "is not a name"),
        ('"directory"', '"ä"', "name", "is not a name"),
        ('"directory"', '""', "name", "is not a name"),
        ('"directory"', "7", "name", "is not a name"),
        ('"system"', '"a/b"', "disks[0].name", "is not a name"),
        ('"data"', '"system"', "disks[1].name", "two disks"),
        ('"1GiB"', '"1"', "memory", 'write it like "512MiB"'),
        ("vcpus = 2", 'arch = "arm64"\nfirmware = "bios"', "firmware", "arm64 has UEFI"),
        ("vcpus = 2", 'arch = "arm64"\ndevices = "standard"', "devices", "arm64 guests know virtio"),
        ("vcpus = 2", 'bundle = "b"\nfirmware = "uefi"', "firmware", "a bundle is booted without any"),
        ('"1GiB"', "1024", "memory", "is not a size"),
        ('"1GiB"', '"1MiB"', "memory", "is out of range"),
        ('"1GiB"', '"999999999TiB"', "memory", "is out of range"),
        ('memory = "1GiB"', "", "memory", "is missing; write it: Memory of the guest"),
        ("memory", "memroy", "memroy", 'did you mean "memory"?'),
        ("bridge", "brigde", "networks[0].brigde", 'did you mean "bridge"?'),
        ("vcpus = 2", "vcpus = 0", "vcpus", "use 1 to 64"),
        ("vcpus = 2", 'vcpus = "two"', "vcpus", "Virtual processors."),
        ("vcpus = 2", 'arch = "sparc"', "arch", "What the guest's processor is."),
        ('"2min"', '"2 hours"', "stop_within", 'write it like "90s"'),
        ('size = "512MiB"', "", "disks[1].size", "is missing"),
        ('"br-lan"', '"br lan"', "networks[0].bridge", "cannot be a bridge"),
        ("52:54:00", "53:54:00", "networks[0].mac", "of one network card"),
        ("[[disks]]", "[[disks]", "", "cannot be understood"),
        ('"images/system.qcow2"', '"a\\u0000b"', "disks[0].image", "zero byte"),
        ("vcpus = 2", 'kind = "directory"', "role", "goes with a directory"),
        ("vcpus = 2", 'role = "rodc"', "role", "goes with a directory"),
        ("vcpus = 2", 'kind = "windows"\narch = "arm64"', "kind", "no generation id"),
        ("[[networks]]", '[backup]\nevery = "1min"\n[[networks]]', "backup.every", 'use "10min"'),
        ("[[networks]]", '[backup]\nevery = "1d"\nkeep = 0\n[[networks]]', "backup.keep", "use 1 to"),
        (
            "[[networks]]",
            '[backup]\nevery = "1d"\nto = "a"\n[[networks]]',
            "backup.to",
            "no place for backups",
        ),
        (
            "[[networks]]",
            '[backup]\nevery = "1d"\nsend = "ssh://a/b"\n[[networks]]',
            "backup.send",
            "rsync://HOST",
        ),
        (
            "[[networks]]",
            '[backup]\nevery = "1d"\nsend_by = "a"\n[[networks]]',
            "backup.send_by",
            "is no address",
        ),
        (
            "[[networks]]",
            '[backup]\nevery = "1d"\nsend = "rsync://a/b"\n[[networks]]',
            "backup.send_from",
            "is no address",
        ),
        ("[[networks]]", '[backup]\nevry = "1d"\n[[networks]]', "backup.evry", 'did you mean "every"?'),
        *(
            ("[[networks]]", f'[health]\naddress = "10.1.0.2"\n{lines}\n[[networks]]', key, said)
            for lines, key, said in (
                ('kind = "ldap"', "health.kind", "What the service is"),
                ('kind = "tcp"', "health.port", "0 is out of range"),
                ('kind = "tcp"\nport = 1\nrealm = "A"', "health.realm", "does not belong to tcp"),
                ('kind = "http"\npath = "a b"', "health.path", "is not a path"),
                ('kind = "http"\nevery = "1s"', "health.every", 'use "5s" to'),
                ('kind = "http"\nwithin = "2min"', "health.within", 'use "1s" to "60s"'),
                ('kind = "directory"', "health.realm", "'' is not a name"),
                ('kind = "directory"\nrealm = "A"\naccount = "x"', "health.secret", "goes with an account"),
                (
                    'kind = "directory"\nrealm = "A"\naccount = "x)(cn=*"\nsecret = "s"',
                    "health.account",
                    "not a name",
                ),
                ('kind = "directory"\nrealm = "A\\n[realms]"', "health.realm", "is not a name"),
            )
        ),
        (
            "[[networks]]",
            '[health]\nkind = "tcp"\naddress = "dc"\n[[networks]]',
            "health.address",
            "is not an",
        ),
    ],
)
def test_a_bad_one(before: str, after: str, key: str, said: str) -> None:
    assert before in GOOD
    with pytest.raises(RecipeError) as caught:
        _parse(GOOD.replace(before, after, 1))
    assert caught.value.key == key
    assert said in str(caught.value)
    where = f"/etc/branchline/directory.toml: {key}".removesuffix(": ")
    assert str(caught.value).startswith(where)


def test_what_is_kept_of_it_is_read_back() -> None:
    health = '[health]\nkind = "directory"\naddress = "fd00::2"\nrealm = "A.B"\naccount = "x"\nsecret = "s"\n'
    recipe = _parse(GOOD + '[backup]\nevery = "7d"\n' + health)
    assert recipe.health is not None
    assert (recipe.health.secret, recipe.health.every) == ("/etc/branchline/s", 30)
    assert from_dict(to_dict(recipe), "manifest") == recipe
    with pytest.raises(RecipeError, match="manifest: memory: is out of range"):
        from_dict({**to_dict(recipe), "memory": 1}, "manifest")
    with pytest.raises(RecipeError, match="manifest: name"):
        from_dict({**to_dict(recipe), "name": "../x"}, "manifest")


def test_without_disks() -> None:
    with pytest.raises(RecipeError, match="disks: is missing"):
        _parse('name = "a"\nmemory = "1GiB"')
    with pytest.raises(RecipeError, match="there are 0"):
        _parse('name = "a"\nmemory = "1GiB"\ndisks = []')


def test_the_page_shows_a_good_one_with_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs" / "VMHOST.md").read_text()
    shown = page.partition("```toml\n")[2].partition("```")[0]
    recipe = to_dict(parse(shown, "/docs/directory.toml"))
    assert all(field in shown for field in recipe)
    assert None not in (recipe["disks"][0]["size"], recipe["networks"][0]["mac"])
