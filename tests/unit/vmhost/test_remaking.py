"""What is made in the place of a directory that was, and why its disk does not come back."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.vmhost.test_recipe import GOOD
from vmhost.backup.manifest import Copied, Manifest
from vmhost.backup.remaking import Given, again, is_directory
from vmhost.directory import planning
from vmhost.errors import VmError
from vmhost.recipe import Recipe, parse, to_dict

_DATA = '[[disks]]\nname = "data"\nsize = "20GiB"\n[[networks]]\nbridge = "br-9"\n[backup]\nevery = "24h"\n'
_MACHINE = {"format": 1, "realm": "AD.EXAMPLE", "host": "dc1", "site": "Here", "address": "10.1.0.10/24"}
STAGE = {
    "format": 1,
    "role": "rodc",
    "realm": "AD.EXAMPLE",
    "host": "br1",
    "site": "There",
    "address": "10.2.0.10/24",
    "gateway": "10.2.0.1",
    "password": "p",
    "centre": ["c.ad.example"],
    "resolvers": ["10.1.0.10"],
    "time": [],
    "prefetch": [],
    "halves": {"workgroup": "AD"},
    "health": {"account": "chk-br1", "password": "h"},
}


def _recipe(role: str, bundle: str = "dc-1") -> Recipe:
    given = f'bundle = "{bundle}"\n' if bundle else ""
    text = f'name = "dc"\nmemory = "3GiB"\nkind = "directory"\nrole = "{role}"\n{given}{_DATA}'
    return parse(text, "/srv/dc.toml")


def _manifest(recipe: Recipe, *archives: str) -> Manifest:
    return Manifest(
        name="dc",
        taken=1.0,
        recipe=to_dict(recipe),
        uuid="u",
        macs=[],
        consistency="frozen",
        why="",
        disks={},
        xml="<domain/>",
        archives=[Copied(file, 1, "") for file in archives],
    )


def test_which_machines_are_directories() -> None:
    assert is_directory(_recipe("rodc", ""))
    assert not any(
        is_directory(parse(GOOD.replace("vcpus", f'kind = "{kind}"\nvcpus'), "/a.toml"))
        for kind in ("plain", "windows")
    )


@pytest.mark.parametrize(
    ("role", "given", "archives", "said"),
    [
        ("rodc", Given(), (), "`--stage FILE` makes it anew"),
        ("dc", Given(host="dc2"), (), "the others hold what it held"),
        ("rodc", Given(stage=STAGE), (), "`--bundle DIRECTORY` names"),
        ("new", Given(host="dc2"), (), "is not in this backup: restore another"),
        ("new", Given(), ("domain.tar.bz2", "machine.json"), "of another name than dc1"),
        ("new", Given(host="DC1"), ("domain.tar.bz2", "machine.json"), "of another name than dc1"),
        ("new", Given(host="dc2"), ("domain.tar.bz2", "machine.json"), "`--bundle DIRECTORY` names"),
    ],
)
def test_what_is_needed_is_said(
    tmp_path: Path, role: str, given: Given, archives: tuple[str, ...], said: str
) -> None:
    (tmp_path / "machine.json").write_bytes(msgspec.json.encode(_MACHINE))
    recipe = _recipe(role, "")
    with pytest.raises(VmError) as failed:
        again(recipe, tmp_path, _manifest(recipe, *archives), given)
    assert said in str(failed.value)


def test_what_the_guest_said_of_itself_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text('{"realm": 1}')
    recipe = _recipe("new")
    with pytest.raises(VmError, match="restore another backup"):
        again(recipe, tmp_path, _manifest(recipe, "domain.tar.bz2", "machine.json"), Given(host="dc2"))


def test_a_domain_goes_to_another_host(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_bytes(msgspec.json.encode(_MACHINE))
    recipe = _recipe("new", "dc-\N{FISH}")
    asked, like = again(
        recipe, tmp_path, _manifest(recipe, "domain.tar.bz2", "machine.json"), Given(host="dc2")
    )
    assert like.archive == tmp_path / "domain.tar.bz2"
    seed = planning.seed(asked, "", "h")
    assert (seed["role"], seed["host"], seed["site"]) == ("new", "dc2", "Here")
    made = planning.like(planning.recipe(asked, seed, "/seed.raw", tmp_path, "x86-64", "kvm"), like.recipe)
    assert (made.memory, made.backup, made.networks) == (recipe.memory, recipe.backup, recipe.networks)
    assert [(disk.name, disk.image, disk.size) for disk in made.disks] == [
        ("data", "", 20 * 2**30),
        ("seed", "/seed.raw", None),
    ]
    assert made.health is not None
    assert (made.health.host, made.bundle) == ("dc2.ad.example", "/srv/dc-\N{FISH}")


def test_a_branch_joins_again(tmp_path: Path) -> None:
    recipe = _recipe("rodc")
    asked, like = again(recipe, tmp_path, _manifest(recipe), Given(stage=STAGE, bundle="/srv/dc-2"))
    assert (asked.join, asked.realm, asked.bundle, like.archive) == ("rodc", "AD.EXAMPLE", "/srv/dc-2", None)
    assert planning.seed(asked, "", "h")["password"] == "p"
