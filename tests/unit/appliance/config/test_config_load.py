"""A configuration error names the file, the key, what is wrong and what to do."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Config, ConfigError, from_dict, load, to_dict
from appliance.identity import Identity, create

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    """Keys of three boxes; the first is ours."""
    directory = tmp_path_factory.mktemp("keys")
    return [create(directory / f"{name}.key") for name in ("own", "dc", "other")]


@pytest.fixture
def text(tmp_path: Path, keys: list[Identity]) -> str:
    """A good configuration, whose key file is there."""
    shutil.copy(keys[0].path, tmp_path / "box.key")
    return f"""
[box]
id = "branch-1"
lan = ["lan0"]
wan = ["wan0"]
prefixes = ["10.1.0.0/16", "fd01::/48"]
key = "box.key"

[[peers]]
id = "dc"
key = "{keys[1].public}"
prefixes = ["10.2.0.0/16", "fd02::/48"]
cache = "64MiB"
paths = [{{ name = "mpls", dial = ["10.9.0.2:4001"], rate = "20mbit" }}]

[[peers]]
id = "dc2"
key = "{keys[2].public}"
prefixes = ["10.3.0.0/16"]
paths = [{{ dial = ["[fd09::2]:4001"] }}]

[[rules]]
name = "web"
peers = ["dc"]
ports = ["80", "8000-8099"]
eager = true

[limits]
flows = 5000
"""


def test_a_good_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text)
    config = load(file)
    assert config.box.id == "branch-1"
    assert config.box.key == str(tmp_path / "box.key"), "relative to the file"
    assert config.box.heartbeat == 0.1
    assert config.peers[0].cache == 64 * 2**20
    assert config.peers[0].paths[0].rate == 2_500_000
    assert config.peers[1].paths[0].dial[0].host == "fd09::2"
    assert config.peers[1].paths[0].name == "wan"
    assert [ports.range for ports in config.rules[0].ports] == [(80, 80), (8000, 8099)]
    assert config.limits.flows == 5000


def test_plain_values_and_back(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text)
    config = load(file)
    tree = to_dict(config)
    assert from_dict(tree) == config
    (tmp_path / "branch.json").write_bytes(msgspec.json.encode(tree))
    assert load(tmp_path / "branch.json") == config


# What is replaced in the good file, by what; then the key and words of the problem and of the remedy.
HOSTS = ", ".join(f'"10.1.{number // 256}.{number % 256}/32"' for number in range(1001))
WRONG = [
    ('id = "branch-1"', 'id = "Branch 1"', "box.id", "is not a name", "a-z"),
    ('id = "branch-1"', "", "box.id", "is missing", "Unique name of this box"),
    ('id = "branch-1"', "id = 7", "box.id", "7 is not a name", "quotes"),
    ('lan = ["lan0"]', "lan = []", "box.lan", "is empty", "ip link"),
    ('lan = ["lan0"]', 'lan = "lan0"', "box.lan", "must be a list [ ], not text", "Interfaces towards"),
    ('lan = ["lan0"]', 'lan = ["wan0"]', "box.wan[0]", "also in box.lan", "one side only"),
    ('lan = ["lan0"]', 'lan = ["a b"]', "box.lan[0]", "cannot be the name", "ip link"),
    (
        'wan = ["wan0"]',
        'wan = ["wan0"]\nwan_rates = [9000, 9000]',
        "box.wan_rates",
        "2 rates for 1",
        "write one",
    ),
    ('wan = ["wan0"]', 'wan = ["wan0"]\nwan_rates = [5]', "box.wan_rates[0]", "out of range", "use "),
    ('wan = ["wan0"]', 'wan = ["wan0", "wan0"]', "box.wan[1]", "there twice", "leave one"),
    ('"10.1.0.0/16", "fd', '"10.1.0.5/16", "fd', "box.prefixes[0]", "bits set beyond", 'write "10.1.0.0/16"'),
    ('"10.1.0.0/16", "fd', '"10.1/16", "fd', "box.prefixes[0]", "is not a prefix", "write it like"),
    ('key = "box.key"', 'key = "gone.key"', "box.key", "there is no key file", "branchline key new"),
    ('key = "box.key"', 'heartbeet = 1\nkey = "box.key"', "box.heartbeet", "no such field", '"heartbeat"'),
    (
        'key = "box.key"',
        'colour = 1\nkey = "box.key"',
        "box.colour",
        "no such field",
        "the fields here are: id",
    ),
    ('key = "box.key"', 'heartbeat = "fast"\nkey = "box.key"', "box.heartbeat", "not a time", '"250ms"'),
    (
        'key = "box.key"',
        'heartbeat = 60\nkey = "box.key"',
        "box.heartbeat",
        "out of range",
        "0.05 to 5 seconds",
    ),
    (
        'key = "box.key"',
        'run_dir = "run"\nkey = "box.key"',
        "box.run_dir",
        "not an absolute path",
        "begin it",
    ),
    ('key = "box.key"', f'run_dir = "/{"x" * 99}"\nkey = "box.key"', "box.run_dir", "too long", "at most"),
    (
        'key = "box.key"',
        'listen = ["4001"]\nkey = "box.key"',
        "box.listen[0]",
        "not an address and a port",
        "like",
    ),
    (
        'key = "box.key"',
        'listen = ["fd09::2:4001"]\nkey = "box.key"',
        "box.listen[0]",
        "not an address",
        "[fd09",
    ),
    ("[[peers]]", "[[peer]]", "peer", "no such field", 'did you mean "peers"'),
    ('id = "dc"', 'id = "branch-1"', "peers[0].id", "is this box itself", "the other box"),
    ('id = "dc2"', 'id = "dc"', "peers[1].id", 'two peers "dc"', "its own"),
    ('key = "MII', 'key = "ZZI', "peers[0].key", "is not a public key", "branchline key show"),
    ('key = "MII', 'key = "MIJ', "peers[0].key", "is not a public key", "branchline key show"),
    ('prefixes = ["10.3.0.0/16"]', "prefixes = []", "peers[1].prefixes", "is empty", "list the prefixes"),
    (
        'paths = [{ name = "mpls", dial = ["10.9.0.2:4001"], rate = "20mbit" }]',
        "",
        "peers[0].paths",
        "nobody can open a lane",
        "box listen",
    ),
    (
        'dial = ["10.9.0.2:4001"]',
        'dial = ["dc.example:4001"]',
        "peers[0].paths[0].dial[0]",
        "not an address",
        "10.9.0.2",
    ),
    (
        'dial = ["10.9.0.2:4001"]',
        'dial = ["10.9.0.2:0"]',
        "peers[0].paths[0].dial[0]",
        "not an address and a port",
        "like",
    ),
    ('cache = "64MiB"', 'cache = "64 MiBytes"', "peers[0].cache", "is not a unit", "the units are"),
    ('cache = "64MiB"', 'cache = "1k"', "peers[0].cache", "out of range", "1 MiB to"),
    ('rate = "20mbit"', 'underlay = "vpn"', "peers[0].paths[0].underlay", "cannot be 'vpn'", "`private`"),
    ('rate = "20mbit"', 'rate = "200gbit"', "peers[0].paths[0].rate", "out of range", "0 Mbit/s to"),
    ('wan = ["wan0"]', 'wan = ["wan0", "wan1"]', "peers[0].paths[0].rate", "of which interface", "name the"),
    ('rate = "20mbit"', 'rates = "20mbit"', "peers[0].paths[0].rates", "no such field", '"rate"'),
    ('rate = "20mbit"', 'interface = "wan7"', "peers[0].paths[0].interface", "not in box.wan", "wan0"),
    ('rate = "20mbit"', 'source = "wan0"', "peers[0].paths[0].source", "is not an address", "like"),
    ('rate = "20mbit"', 'source = "::"', "peers[0].paths[0].source", "no box's address", "ip address"),
    ('rate = "20mbit"', 'source = "fd09::1"', "peers[0].paths[0].source", "cannot reach", "IPv4 or IPv6"),
    ('rate = "20mbit"', 'rate = 1 }, { name = "mpls"', "peers[0].paths[1].name", "two paths", "its own"),
    ('rate = "20mbit"', "rate = 1 }, {", "peers[0].paths[1].dial", "another path dials", "listens"),
    ('cache = "64MiB"', 'optimise = "no"', "peers[0].optimise", "must be true or false", "pass through"),
    (
        'cache = "64MiB"',
        'on_failure = "closed"\noptimise = false',
        "peers[0].optimise",
        "every flow would be refused",
        "choose one",
    ),
    ('name = "web"', 'name = "known"', "rules[0].name", "follows all others", "another name"),
    ("[limits]", '[[rules]]\nname = "web"\n[limits]', "rules[1].name", 'two rules "web"', "its own name"),
    ('peers = ["dc"]', 'peers = ["hq"]', "rules[0].peers[0]", 'there is no peer "hq"', "dc, dc2"),
    ('ports = ["80", "8000-8099"]', "", "rules[0].eager", "without ports", "list the ports"),
    ('"8000-8099"', '"8099-8000"', "rules[0].ports[1]", "is empty", '"8000-8099"'),
    ('"8000-8099"', '"http"', "rules[0].ports[1]", "is not a port", '"80"'),
    ('"8000-8099"', '"70000"', "rules[0].ports[1]", "is not a port", '"80"'),
    (
        "eager = true",
        'prefixes = ["10.3.1.0/24"]',
        "rules[0].prefixes[0]",
        "never matches",
        "part of the prefixes",
    ),
    (
        "eager = true",
        'dscp = "cs1"\naction = "pass"',
        "rules[0].dscp",
        "passes everything",
        "leave one of them out",
    ),
    (
        "eager = true",
        'on_failure = "closed"\naction = "pass"',
        "rules[0].on_failure",
        "passes everything",
        "leave one",
    ),
    ("eager = true", "domain = 256", "rules[0].domain", "out of range", "0 to 127"),
    ("flows = 5000", "flows = 0", "limits.flows", "out of range", "1 to 1000000 flows"),
    ("flows = 5000", "flows = true", "limits.flows", "must be a whole number", "at the same time"),
    ("flows = 5000", 'memory = "12 apples"', "limits.memory", "is not a unit", "mib"),
    ("flows = 5000", "flows = 1e3", "limits.flows", "must be a whole number, not a fraction", "at the same"),
    ("flows = 5000", f"flows = {'9' * 5000}", "", "cannot be understood", "docs/CONFIG.md"),
    ("flows = 5000", 'flow_buffer = "1GiB"', "limits.flow_buffer", "than limits.memory allows", "a part"),
    (
        "[limits]",
        '[cache]\ndisk = "1GiB"\n[limits]',
        "cache.disk",
        "domains take 1.27 GiB, more than 1 GiB",
        "smaller",
    ),
    ("[limits]", "[cache]\nindex = -1\n[limits]", "cache.index", "out of range", "512MiB"),
    ("[limits]", "[limits", "", "cannot be understood", "docs/CONFIG.md"),
    ("[limits]\nflows = 5000", "[[limits]]", "limits", "must be a table, not a list", "at most"),
    ('key = "box.key"', 'key = "box\\u0000"', "box.key", "zero byte", "without it"),
    ('key = "box.key"', 'run_dir = "/\\u0000"\nkey = "box.key"', "box.run_dir", "zero byte", "without it"),
    (
        'key = "box.key"',
        'listen = ["0.0.0.0:4001", "10.9.0.1:4001"]\nkey = "box.key"',
        "box.listen[1]",
        "one of them is every address",
        "leave one",
    ),
    (
        'dial = ["10.9.0.2:4001"]',
        'dial = ["0.0.0.0:4001"]',
        "peers[0].paths[0].dial[0]",
        "no box's address",
        "listens",
    ),
    (
        'dial = ["[fd09::2]:4001"]',
        'dial = ["[ff02::1]:1"]',
        "peers[1].paths[0].dial[0]",
        "no box's address",
        "listens",
    ),
    ("9.0.2:4001", '9.0.2:4001", "10.9.0.2:4001', "peers[0].paths[0].dial[1]", "is there twice", "leave one"),
    ('"10.3.0.0/16"', '"10.2.0.0/16"', "peers[1].prefixes[0]", 'to peer "dc" and to peer "dc2"', "leave it"),
    ('"10.3.0.0/16"', '"fd01::/48"', "peers[1].prefixes[0]", "belongs to this box and", "leave it"),
    ('"10.3.0.0/16"', HOSTS, "box.prefixes", "and 1001 of peers inside them", "join neighbours"),
]


@pytest.mark.parametrize(
    ("old", "new", "key", "problem", "remedy"), WRONG, ids=[f"{w[2]}-{w[3]}" for w in WRONG]
)
def test_what_is_wrong_is_told(
    tmp_path: Path, text: str, old: str, new: str, key: str, problem: str, remedy: str
) -> None:
    assert old in text
    file = tmp_path / "branch.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(file)
    error = caught.value
    assert (error.file, error.key) == (str(file), key)
    assert problem in error.problem
    assert remedy in error.remedy
    assert str(error).count("\n") == 0 or not key


def test_a_key_that_others_can_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text)
    (tmp_path / "box.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"box\.key: .* open to other users \(mode 0640\); .*chmod 600"):
        load(file)
    assert load(file, files=False).box.id == "branch-1"


def test_a_key_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text)
    (tmp_path / "box.key").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    with pytest.raises(ConfigError, match=r"does not hold a private key and its certificate; make one"):
        load(file)


def test_a_key_that_is_a_directory(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text)
    (tmp_path / "box.key").unlink()
    (tmp_path / "box.key").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match=r"box\.key: .*; "):
        load(file)


def test_a_peer_with_our_own_key(tmp_path: Path, text: str, keys: list[Identity]) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text.replace(keys[2].public, keys[0].public))
    with pytest.raises(ConfigError, match=r'peers\[1\]\.key: is this box\'s own key; .*"dc2"'):
        load(file)


def test_two_peers_with_one_key(tmp_path: Path, text: str, keys: list[Identity]) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text.replace(keys[2].public, keys[1].public))
    with pytest.raises(ConfigError, match=r'peers\[1\]\.key: is also the key of peer "dc"'):
        load(file)


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\xff\xfe", "not UTF-8"), (b"x" * 2**21 + b"x", "larger than")]
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        load(file)


def test_a_file_as_other_systems_write_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load(file).box.id == "branch-1"


def test_the_longest_run_directory_has_room_for_every_socket(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    longest = "/tmp/" + "x" * (107 - len("/tmp/" + "/notify-control.sock"))
    for run_dir, good in ((longest, True), (longest + "x", False)):
        file.write_text(text.replace('key = "box.key"', f'run_dir = "{run_dir}"\nkey = "box.key"'))
        if good:
            assert load(file).box.run_dir == run_dir
        else:
            with pytest.raises(ConfigError, match=f"use at most {len(longest)} bytes"):
                load(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be read \(No such file or directory\); `branchline config example`"
    ):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


def test_a_prefix_inside_another_sites_wider_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "branch.toml"
    file.write_text(text.replace("10.3.0.0/16", "10.0.0.0/8"))
    assert load(file).peers[1].prefixes[0] == "10.0.0.0/8"


@pytest.mark.parametrize("name", ["branch", "datacentre"])
def test_the_examples_are_good(name: str) -> None:
    assert load(EXAMPLES / f"{name}.toml", files=False).peers


def test_the_examples_fit_each_other() -> None:
    branch, centre = (load(EXAMPLES / f"{name}.toml", files=False) for name in ("branch", "datacentre"))
    assert branch.peers[0].id == centre.box.id
    assert branch.box.id == centre.peers[0].id
    assert branch.peers[0].prefixes == centre.box.prefixes
    assert branch.box.prefixes == centre.peers[0].prefixes
    assert branch.peers[0].paths[0].dial[0].port == centre.box.listen[0].port


WORDS = st.text("ab01./:-[]µ", max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["box", "peers", "rules", "limits", "id", "lan", "prefixes", "paths", "dial", "key"]
            )
            | WORDS,
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["box", "peers", "rules", "cache", "limits", "x"]), JSON, max_size=4))
def test_whatever_the_tree_only_a_config_error(tree: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(from_dict(tree), Config)
