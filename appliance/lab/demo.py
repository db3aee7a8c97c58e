"""The demonstration: real releases, a clone and a file share across a thin WAN, without and with Branchline."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from appliance.lab import rootless, samples
from appliance.lab.cost import Cost, measure
from appliance.lab.network import Lab
from appliance.lab.pair import Pair
from appliance.lab.profile import WanProfile
from appliance.lab.repository import GitServer, make
from appliance.lab.share import Share
from appliance.lab.tools import LabError
from appliance.lab.transfer import Served

PROFILE = WanProfile(rate=2_500_000, rtt=0.08)
RELEASES = (*samples.DJANGO, *samples.NUMPY)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """Something the branch's client does. content: steps of the same content cost the same without Branchline."""

    what: str
    content: str
    action: Callable[[], bool]


@dataclass(frozen=True)
class Result:
    """A step's cost without and with Branchline."""

    what: str
    content: str
    plain: Cost
    with_us: Cost

    @property
    def ok(self) -> bool:
        return self.plain.ok and self.with_us.ok and self.with_us.optimised


def prepare(cache: Path, report: Report) -> list[Path]:
    """Fetch what is not in the cache yet; needs the Internet, so it comes before any namespace.

    Raises LabError when it cannot be fetched or kept.
    """
    try:
        tars = [samples.fetch(release, cache, report) for release in RELEASES]
        make(cache / "django.git", tars[:2])
    except OSError as error:
        where = error.filename or cache
        raise LabError(
            f"{where}: {error.strerror}; say with --cache where the releases may be kept"
        ) from error
    return tars


def steps(lab: Lab, tars: Sequence[Path], cache: Path, scratch: Path, report: Report) -> list[Step]:
    """Start the servers and list what the client will do, in order."""
    served = Served(lab, tars, "http")
    git = GitServer(lab.server, cache / "django.git", scratch / "git.log")
    clones = iter(range(1000))

    def download(number: int) -> Callable[[], bool]:
        return lambda: served.fetch(number)

    def clone() -> bool:
        return git.clone(lab.client, scratch / f"clone-{next(clones)}.git")

    found = []
    for first, second in ((0, 1), (2, 3)):
        old, new = (f"{RELEASES[at].name} {RELEASES[at].version}" for at in (first, second))
        found += [
            Step(f"download {old}", old, download(first)),
            Step(f"download {old} again", old, download(first)),
            Step(f"download {new}, the next release", new, download(second)),
        ]
    found += [
        Step("git clone", "clone", clone),
        Step("git clone, by a colleague", "clone", clone),
    ]
    if rootless.all_users():
        share = Share(lab.server, scratch / "samba", cache)
        name = tars[1].name
        found.append(
            Step(f"copy {name} from a Windows share", "share", lambda: share.copy(lab.client, [name]))
        )
    else:
        report("leaving out the Windows share: Samba's server needs real root")
    return found


def run(tars: Sequence[Path], cache: Path, report: Report) -> Iterator[Result]:
    """Everything without Branchline first, then with it; yields as the latter goes on. Takes two minutes."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="branchline-demo-")))
        lab = stack.enter_context(Lab(rate=PROFILE.rate, rtt=PROFILE.rtt))
        todo = steps(lab, tars, cache, scratch, report)
        plain: dict[str, Cost] = {}
        for step in todo:
            if step.content not in plain:
                report(f"without Branchline: {step.what}")
                plain[step.content] = measure(lab, None, step.action)
        pair = stack.enter_context(Pair(lab))
        for step in todo:
            report(f"with Branchline: {step.what}")
            yield Result(step.what, step.content, plain[step.content], measure(lab, pair, step.action))


def sentences(results: Sequence[Result]) -> list[str]:
    """The three things a newcomer should know, with this run's figures."""
    next_release, again = results[5], results[4]
    total_plain = sum(result.plain.wan_bytes for result in results)
    total = sum(result.with_us.wan_bytes for result in results)
    return [
        f"The next release of a program crossed the WAN as {_mb(next_release.with_us.wan_bytes)} instead of "
        f"{_mb(next_release.plain.wan_bytes)}, in {next_release.with_us.seconds:.1f} s instead of "
        f"{next_release.plain.seconds:.0f} s, and what had crossed before as "
        f"{again.with_us.wan_bytes / again.plain.wan_bytes:.2%} of its bytes: only what is new travels.",
        f"Over the whole day's work above, {_mb(total)} crossed instead of {_mb(total_plain)} "
        f"({1 - total / total_plain:.0%} less), whatever the protocol; client, server and programs were told "
        "nothing, and every byte was compared.",
        "Encrypted traffic (HTTPS, SSH, encrypted SMB) looks new every time: it crosses as it is, and gains "
        "nothing until TLS optimisation exists.",
    ]


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} kB"
