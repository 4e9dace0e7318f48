"""Claims: a volume is given or taken away, never both at once."""

import pytest

from havre.engine.claims import Claims
from havre.errors import Conflict


def test_what_is_held_cannot_go_and_what_goes_cannot_be_held() -> None:
    claims = Claims()
    with claims.hold(["a", "b"]), claims.hold(["a"]):
        with pytest.raises(Conflict, match="remove a: volume is in use"), claims.removing("a"):
            pass
        with claims.removing("c"):
            with pytest.raises(Conflict, match="volume c is being removed"), claims.hold(["b", "c"]):
                pass
            with pytest.raises(Conflict), claims.removing("c"):
                pass
    with claims.removing("a"), claims.removing("b"), claims.removing("c"):
        pass
