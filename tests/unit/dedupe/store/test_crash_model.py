"""The rules of the logs explored once more, with both caches on disks that lose power.

To the model of two peers in memory this adds: the background step, a disk that is set aside and brought back, crashes
of one side or both (the process killed, the power cut, in the middle of a step too), orderly stops, and damage done to
the files meanwhile. The oracle forgets
nothing here, so an offset that is used twice is found out as well.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from dedupe import Cache, Effort, open_cache
from tests.unit.dedupe.store.power import Cut, ShadowedFiles
from tests.unit.dedupe.store.reading import agreed
from tests.unit.dedupe.test_model import SIDES, Peer, Sent, TwoPeers

SIZES = (4096, 20_000, 200_000)
DAMAGE = ("", "", "", "flip", "delete")


class TwoDisks(TwoPeers):
    @initialize(
        left=st.sampled_from(SIZES),
        right=st.sampled_from(SIZES),
        gap=st.sampled_from((9000, 60_000, 300_000)),
        seed=st.integers(0, 1 << 32),
    )
    def start(self, left: int, right: int, gap: int, seed: int = 0) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="branchline-crash-"))
        self.files = [ShadowedFiles(seed), ShadowedFiles(seed + 1)]
        self.ready_s = 10.0
        self.damaged = self.aside = False
        super().start(left, right, gap)

    def fresh(self, side: int) -> Cache:
        names = ("left", "right")
        return open_cache(
            self.root / names[side],
            box=names[side],
            peer=names[1 - side],
            capacity=self.sizes[side],
            gap=self.gap,
            index=1 << 16,
            files=self.files[side],
            ready_s=self.ready_s,
        )

    def meet(self) -> None:
        super().meet()
        if not self.damaged:
            for writer, reader in (self.peers, self.peers[::-1]):
                agreed(writer.cache, reader.cache)

    def send(self, side: int, raw: bytes, flow: int, effort: Effort, store: bool, literal: bool) -> None:
        super().send(side, raw, flow, effort, store, literal)
        self.peers[1 - side].mail[-1].excused |= self.damaged or self.aside  # type: ignore[union-attr]
        for peer in self.peers:
            if peer.cache.wants_sync:
                peer.cache.sync()
                assert not peer.cache.wants_sync

    @rule(side=SIDES)
    def sync(self, side: int) -> None:
        self.peers[side].cache.sync(1 << 13)

    @rule(side=SIDES)
    def set_aside(self, side: int) -> None:
        self.aside = True
        for item in self.peers[side].mail:
            if isinstance(item, Sent):
                item.excused = True
        self.peers[side].cache.set_aside()

    @rule(side=SIDES)
    def bring_back(self, side: int) -> None:
        self.peers[side].cache.bring_back()

    @rule(side=SIDES)
    def restart(self, side: int) -> None:
        self.crash([side], "kill", 0, "", True)

    @rule(
        sides=st.sampled_from(([0], [1], [0, 1])),
        how=st.sampled_from(("stop", "kill", "cut", "cut")),
        fuse=st.integers(0, 12),
        damage=st.sampled_from(DAMAGE),
        verified=st.booleans(),
    )
    def crash(self, sides: list[int], how: str, fuse: int, damage: str, verified: bool) -> None:
        self.ready_s = 10.0 if verified else 0.0
        for side in sides:
            self.stop(side, how, fuse)
            if damage:
                self.harm(side, damage, fuse)
        for side in sides:
            self.peers[side] = Peer(self.fresh(side), self.peers[side].log)
        self.meet()

    def stop(self, side: int, how: str, fuse: int) -> None:
        files, cache = self.files[side], self.peers[side].cache
        if how == "stop":
            cache.close()
        else:
            files.fuse = fuse
            try:
                while cache.sync(1 << 13):
                    pass
            except Cut:
                pass
        if how == "cut":
            files.cut()
        else:
            files.kill()

    def harm(self, side: int, how: str, which: int) -> None:
        self.damaged = True
        names = sorted(path for path in self.root.glob(f"{('left', 'right')[side]}/**/*") if path.is_file())
        path = names[which % len(names)]
        if how == "delete":
            path.unlink()
        elif path.stat().st_size:
            content = bytearray(path.read_bytes())
            content[which * 977 % len(content)] ^= 16
            with path.open("r+b") as file:
                file.write(content)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for files in getattr(self, "files", []):
                files.kill()
            if hasattr(self, "root"):
                shutil.rmtree(self.root)


TestTwoDisks = TwoDisks.TestCase
TestTwoDisks.settings = settings(max_examples=20, stateful_step_count=40)
