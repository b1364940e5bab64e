from __future__ import annotations

import pytest

from service.admission import Admission
from service.errors import Overloaded


def test_images_are_taken_up_to_the_bound_and_given_back() -> None:
    admission = Admission(max_images=3, max_bytes=10)
    with admission.admit() as hold:
        hold.add_images(2)
        with pytest.raises(Overloaded), admission.admit():
            pass
    assert (admission.images, admission.bytes) == (0, 0)


def test_bytes_are_taken_up_to_the_bound_and_given_back() -> None:
    admission = Admission(max_images=3, max_bytes=10)
    with admission.admit(10) as hold:
        hold.add_bytes(10)
        with pytest.raises(Overloaded):
            hold.add_bytes(1)
        with pytest.raises(Overloaded), admission.admit(1):
            pass
    assert (admission.images, admission.bytes) == (0, 0)


def test_what_is_only_announced_keeps_nobody_out() -> None:
    admission = Admission(max_images=3, max_bytes=10)
    with admission.admit(10), admission.admit(10):
        assert admission.bytes == 0


def test_a_failing_request_gives_back_what_it_held() -> None:
    admission = Admission(max_images=3, max_bytes=10)
    with pytest.raises(KeyboardInterrupt), admission.admit() as hold:
        hold.add_bytes(5)
        raise KeyboardInterrupt
    assert (admission.images, admission.bytes) == (0, 0)
