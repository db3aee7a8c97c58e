"""When lanes are opened anew for a peer's new key."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance import identity
from appliance.lanes.link import Role
from appliance.rotation import AGAIN_S, Rotation


def test_each_new_key_is_redialled_for_at_once_and_then_now_and_then(tmp_path: Path) -> None:
    old, *others = (identity.create(tmp_path / name).certificate for name in ("old", "first", "second"))
    redialled: list[float] = []
    loop = SimpleNamespace(now=100.0)
    lanes = {role: SimpleNamespace(certificate=old) for role in Role}
    attachment = SimpleNamespace(lanes=lanes, redial=lambda: redialled.append(loop.now))
    said = SimpleNamespace(next_key="", accepts="")
    peer: Any = SimpleNamespace(id="dc", loop=loop, attachment=attachment, sites=SimpleNamespace(said=said))
    keys, told = [old], []
    rotation = Rotation(
        identity.create(tmp_path / "box.key").path, lambda _: tuple(keys), lambda kind, *_: told.append(kind)
    )
    for key in others:
        keys.append(key)
        began = loop.now
        for later in (0.0, 1.0, AGAIN_S - 1.0, AGAIN_S + 1.0):
            loop.now = began + later
            rotation.check([peer])
        assert redialled == [began, began + AGAIN_S + 1.0]
        redialled.clear()
        for lane in lanes.values():
            lane.certificate = key
        rotation.check([peer])
        assert told.pop() == "key.proved"
        del keys[0]
    assert told == []
