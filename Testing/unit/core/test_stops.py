import os
import signal

import pytest

from InfantBrainSegLib.core.stops import noted_stops, stops_like_ctrl_c

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_stop_is_noted_and_the_second_obeyed_at_once(number):
    before = signal.getsignal(number)
    with noted_stops() as stops:
        assert not stops.asked
        signal.raise_signal(number)
        assert stops.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_request_to_end_tidies_up_like_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with stops_like_ctrl_c(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_stops() as stops:
            signal.raise_signal(signal.SIGHUP)
            assert not stops.asked
    finally:
        signal.signal(signal.SIGHUP, before)
