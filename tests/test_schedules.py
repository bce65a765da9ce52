"""Schedules of the learning rate: values by hand, off-by-ones pinned against PyTorch's, nonsense refused."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.schedules import by_batch, rate

S = gp.schedules
ALL = [
    S.Constant(),
    S.InverseTime(0.5),
    S.Exponential(0.9),
    S.InverseSqrt(2.0),
    S.Staircase(0.5, every=3),
    S.Manual({0: 0.5, 4: 0.1}),
    S.Cosine(10, final=0.01),
    S.OneCycle(10),
    S.WarmUp(3, then=S.Exponential(0.5)),
]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (S.Constant(), [1, 1, 1, 1]),
        (S.InverseTime(decay_rate=1), [1, 1 / 2, 1 / 3, 1 / 4]),
        (S.InverseTime(decay_rate=0.1), [1, 1 / 1.1, 1 / 1.2, 1 / 1.3]),
        (S.Exponential(), [1, 0.95, 0.95**2, 0.95**3]),
        (S.InverseSqrt(k=3), [3, 3, 3 / math.sqrt(2), 3 / math.sqrt(3)]),
        (S.Staircase(every=2), [1, 1, 0.5, 0.5, 0.25]),
        (S.Staircase(0.1, 1), [1, 0.1, 0.01]),
        (S.Cosine(4), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0, 0]),
        (S.Cosine(2, final=0.2), [1, 0.6, 0.2, 0.2]),
        (S.OneCycle(4, rise=0.5, start=0.2, final=0.1), [0.2, 0.6, 1, 0.55, 0.1, 0.1]),
        (S.OneCycle(2, rise=0), [1, (1 + 4e-6) / 2, 4e-6]),
        (S.OneCycle(2, rise=1), [0.04, 0.52, 4e-6]),
        (S.WarmUp(2, start=0.2), [0.2, 0.6, 1, 1, 1]),
        (S.WarmUp(2, then=S.Exponential(0.5)), [0.1, 0.55, 1, 0.5, 0.25]),
        (S.WarmUp(2, then=S.InverseSqrt(4), start=0), [0, 2, 4, 4, 4 / math.sqrt(2)]),
        (lambda epoch: 1 / (1 + epoch), [1, 1 / 2, 1 / 3]),
        (None, [1, 1, 1]),
    ],
    ids=lambda value: "a function" if callable(value) and not repr(value)[0].isupper() else repr(value),
)
def test_the_factor_of_every_epoch(schedule, expected):
    assert [rate(schedule, 1.0, epoch) for epoch in range(len(expected))] == pytest.approx(
        expected, rel=1e-14, abs=1e-16
    )
    assert rate(schedule, 0.25, 1) == pytest.approx(0.25 * expected[1], rel=1e-14)
    if schedule is not None:
        assert [schedule(epoch) for epoch in range(len(expected))] == pytest.approx(expected, rel=1e-14, abs=1e-16)


def test_a_table_gives_rates_not_factors():
    schedule = S.Manual({6: 0.01, 3: 0.1})
    assert [rate(schedule, 0.5, epoch) for epoch in range(8)] == [0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert schedule(5) == 0.1
    with pytest.raises(ValueError, match="epoch: got 2, expected one from 3"):
        schedule(2)


def test_warm_up_leads_to_the_first_rate_of_a_table():
    schedule = S.WarmUp(2, then=S.Manual({0: 0.2, 1: 0.1}), start=0)
    assert [rate(schedule, 7.0, epoch) for epoch in range(4)] == pytest.approx([0, 0.1, 0.2, 0.1])
    before_the_table = S.WarmUp(2, then=S.Manual({1: 0.1}), start=0)
    assert [rate(before_the_table, 8.0, epoch) for epoch in range(4)] == pytest.approx([0, 4, 8, 0.1])


def test_only_warm_up_and_one_cycle_go_on_within_an_epoch():
    assert {type(schedule).__name__ for schedule in ALL if by_batch(schedule)} == {"OneCycle", "WarmUp"}
    assert not by_batch(None) and not by_batch(lambda epoch: 1.0)
    assert rate(S.WarmUp(2, start=0), 1.0, 0, 0.5) == 0.25
    assert rate(S.WarmUp(0.5, start=0), 1.0, 0, 0.25) == 0.5
    assert rate(S.OneCycle(4, rise=0.5, start=0.2), 1.0, 0, 0.5) == pytest.approx(0.2 + 0.8 * (1 - math.sqrt(0.5)) / 2)
    assert rate(S.Exponential(0.5), 1.0, 1, 0.9) == rate(S.Exponential(0.5), 1.0, 1)
    assert rate(lambda epoch: [1.0, 0.5][epoch], 1.0, 1, 0.9) == 0.5
    # after a warm-up of half an epoch, epochs of what follows begin in the middle of an epoch
    assert [rate(S.WarmUp(0.5, S.Exponential(0.5)), 1.0, 1, p) for p in (0, 0.49, 0.5)] == [1, 1, 0.5]
    assert rate(S.WarmUp(1, S.OneCycle(2, rise=0.5)), 1.0, 1, 0.5) == rate(S.OneCycle(2, rise=0.5), 1.0, 0, 0.5)


# ---- Against PyTorch ----
N = 12


def peers(scheduler):
    return {
        "LambdaLR, inverse time": (S.InverseTime(0.3), lambda o: scheduler.LambdaLR(o, lambda e: 1 / (1 + 0.3 * e))),
        "ExponentialLR": (S.Exponential(0.95), lambda o: scheduler.ExponentialLR(o, 0.95)),
        "StepLR": (S.Staircase(0.5, every=4), lambda o: scheduler.StepLR(o, 4, 0.5)),
        "MultiStepLR": (
            S.Manual({3: 0.03, 7: 0.003}),
            lambda o: scheduler.MultiStepLR(o, [3, 7], 0.1),
        ),
        "CosineAnnealingLR": (S.Cosine(N), lambda o: scheduler.CosineAnnealingLR(o, N)),
        "CosineAnnealingLR, eta_min": (S.Cosine(N, 0.1), lambda o: scheduler.CosineAnnealingLR(o, N, 0.1 * 0.3)),
        "LinearLR": (S.WarmUp(5, start=0.25), lambda o: scheduler.LinearLR(o, 0.25, 1.0, 5)),
        "SequentialLR": (
            S.WarmUp(4, S.Exponential(0.9)),
            lambda o: scheduler.SequentialLR(
                o, [scheduler.LinearLR(o, 0.1, 1.0, 4), scheduler.ExponentialLR(o, 0.9)], [4]
            ),
        ),
        # PyTorch counts its steps to the last one, where the cycle is over; here it is over after the last one
        "OneCycleLR": (
            S.OneCycle(N, rise=0.25),
            lambda o: scheduler.OneCycleLR(o, 0.3, N + 1, pct_start=(0.25 * N + 1) / (N + 1), cycle_momentum=False),
        ),
    }


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # PyTorch's SequentialLR warns of itself
@pytest.mark.parametrize("name", peers(None))
def test_the_epochs_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; its schedulers are what is compared with")
    schedule, make = peers(torch.optim.lr_scheduler)[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler, theirs = make(optimizer), []
    for _ in range(N):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [rate(schedule, 0.3, epoch) for epoch in range(N)] == pytest.approx(theirs, rel=1e-12)


# ---- Objects ----
@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_schedules_are_frozen_comparable_picklable_and_written_as_code(schedule):
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule and hash(copy) == hash(schedule)
    assert eval(repr(schedule), vars(S)) == schedule
    for field in fields(schedule):
        with pytest.raises(FrozenInstanceError):
            setattr(schedule, field.name, 1)


def test_the_table_is_a_copy():
    table = {0: 0.1}
    schedule = S.Manual(table)
    table[0] = 5.0
    assert schedule(0) == 0.1


# ---- Bad input ----
REFUSED = {
    "decay": (lambda: S.InverseTime(-0.1), ValueError, "decay_rate: got -0.1, expected a finite number >= 0"),
    "nan": (lambda: S.InverseTime(float("nan")), ValueError, "decay_rate: got nan"),
    "base 0": (lambda: S.Exponential(0), ValueError, "base: got 0, expected a finite number > 0"),
    "base inf": (lambda: S.Exponential(math.inf), ValueError, "base: got inf"),
    "k": (lambda: S.InverseSqrt(-1), ValueError, "k: got -1"),
    "factor": (lambda: S.Staircase(0), ValueError, "factor: got 0"),
    "every 0": (lambda: S.Staircase(0.5, 0), ValueError, "every: got 0, expected a whole number from 1"),
    "every 1.5": (lambda: S.Staircase(0.5, 1.5), TypeError, "every: got 1.5, expected a whole number"),
    "no table": (lambda: S.Manual([0.1]), TypeError, r"rates: got \[0.1\], expected a dict"),
    "empty table": (lambda: S.Manual({}), TypeError, r"rates: got {}, expected a dict"),
    "table epoch": (lambda: S.Manual({-1: 0.1}), ValueError, "an epoch: got -1"),
    "table rate": (lambda: S.Manual({0: 0.1, 5: -1}), ValueError, r"rates\[5\]: got -1"),
    "epochs": (lambda: S.Cosine(0), ValueError, "epochs: got 0"),
    "epochs type": (lambda: S.Cosine("10"), TypeError, "epochs: got '10'"),
    "final": (lambda: S.Cosine(5, 2), ValueError, "final: got 2, expected a number from 0 to 1"),
    "rise": (lambda: S.OneCycle(5, rise=-0.1), ValueError, "rise: got -0.1"),
    "start": (lambda: S.WarmUp(5, start=1.1), ValueError, "start: got 1.1"),
    "then": (lambda: S.WarmUp(5, 0.1), TypeError, "then: got 0.1, expected a schedule"),
    "epoch": (lambda: S.Exponential()(-1), ValueError, "epoch: got -1"),
    "nan epoch": (lambda: S.Cosine(3)(float("nan")), ValueError, "epoch: got nan"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_named(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("value", [float("nan"), math.inf, -0.5, None, "0.1", True, [0.5], 1j], ids=repr)
def test_nonsense_from_a_schedule_names_epoch_and_value(value):
    def mine(epoch):
        return 1.0 if epoch < 2 else value

    assert rate(mine, 0.5, 1) == 0.5
    with pytest.raises(ValueError) as error:
        rate(mine, 0.5, 2)
    for part in ("schedule: <function", "mine", repr(value), "in epoch 2", "expected a finite number >= 0"):
        assert part in str(error.value)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1), np.array(0.5)], ids=repr)
def test_a_schedule_may_give_any_real_number(value):
    result = rate(lambda epoch: value, 0.5, 0)
    assert type(result) is float
    assert result == 0.5 * float(value)


def test_a_schedule_that_grows_beyond_all_numbers_is_refused_by_name():
    with pytest.raises(ValueError, match=r"schedule: Exponential\(base=10\) gives inf in epoch 400"):
        rate(S.Exponential(10), 1.0, 400)
