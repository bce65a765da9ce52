from __future__ import annotations

import threading

from gradproof._cached import cached_property


class Slow:
    """Its value takes until it is told to go on."""

    def __init__(self) -> None:
        self.asked, self.go_on, self.times = threading.Event(), threading.Event(), 0

    @cached_property
    def value(self) -> int:
        """What it is worth."""
        self.times += 1
        self.asked.set()
        assert self.go_on.wait(30)
        return 7


def test_it_is_computed_once_and_can_be_assigned():
    slow = Slow()
    slow.go_on.set()
    assert (slow.value, slow.value, slow.times) == (7, 7, 1)
    slow.value = 8
    assert slow.value == 8
    assert Slow.value.__doc__ == "What it is worth."


def test_one_instance_does_not_wait_for_another():
    """As a forked child would wait forever for a thread that it does not have."""
    first, second = Slow(), Slow()
    second.go_on.set()
    found: list[int] = []
    threads = [threading.Thread(target=lambda slow=slow: found.append(slow.value)) for slow in (first, second)]
    threads[0].start()
    assert first.asked.wait(30)
    threads[1].start()
    threads[1].join(30)
    assert found == [7] and not first.go_on.is_set()
    first.go_on.set()
    threads[0].join(30)
    assert found == [7, 7]
