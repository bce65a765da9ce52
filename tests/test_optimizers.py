"""Optimizers against arithmetic of 50 digits, against PyTorch, and the compiled updates against their NumPy twins."""

from __future__ import annotations

import copy
import pickle
import platform
from dataclasses import FrozenInstanceError, replace

import mpmath
import numpy as np
import pytest

import gradproof as gp
from gradproof import _core, kernels, reference
from gradproof.train.optimizers import OptimizerState, runs

OPTIMIZERS = {
    "sgd": gp.SGD(0.05),
    "momentum": gp.Momentum(0.05, beta=0.8),
    "rmsprop": gp.RMSprop(0.01, beta=0.95, epsilon=1e-6),
    "adam": gp.Adam(0.01, beta1=0.85, beta2=0.99),
    "adam defaults": gp.Adam(),
}
SLOTS = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}


def exact(optimizer, theta, gradients, rates=None):
    """The trajectory's end and slots in 50 digits, from the definitions in the papers."""
    with mpmath.workdps(50):
        number = mpmath.mpf
        theta = [number(float(x)) for x in theta]
        first, second = ([number(0)] * len(theta) for _ in range(2))
        b1 = number(getattr(optimizer, "beta1", getattr(optimizer, "beta", 0)))
        b2 = number(getattr(optimizer, "beta2", getattr(optimizer, "beta", 0)))
        epsilon = number(getattr(optimizer, "epsilon", 0))
        for t, row in enumerate(gradients, 1):
            a = number(optimizer.learning_rate if rates is None else rates[t - 1])
            g = [number(float(x)) for x in row]
            norm = mpmath.sqrt(sum(x * x for x in g))
            if optimizer.clip_norm is not None and norm > optimizer.clip_norm:
                g = [x * optimizer.clip_norm / norm for x in g]
            first = [b1 * m + (1 - b1) * x for m, x in zip(first, g, strict=True)]
            second = [b2 * s + (1 - b2) * x * x for s, x in zip(second, g, strict=True)]
            if isinstance(optimizer, gp.SGD):
                direction = g
            elif isinstance(optimizer, gp.Momentum):
                direction = first
            elif isinstance(optimizer, gp.RMSprop):
                direction = [x / (mpmath.sqrt(s) + epsilon) for x, s in zip(g, second, strict=True)]
            else:
                direction = [
                    m / (1 - b1**t) / (mpmath.sqrt(s / (1 - b2**t)) + epsilon)
                    for m, s in zip(first, second, strict=True)
                ]
            shrink = 1 - a * number(optimizer.weight_decay)
            theta = [shrink * x - a * d for x, d in zip(theta, direction, strict=True)]
        slots = {"velocity": first, "first_moment": first, "second_moment": second}
        return theta, slots


def close(actual, expected, tolerance):
    """Every entry, relative to itself."""
    for a, e in zip(actual, expected, strict=True):
        assert abs(mpmath.mpf(float(a)) - e) <= tolerance * abs(e), (float(a), mpmath.nstr(e, 17))


# Far apart in size, with zeros; in float32 the smallest have a square of zero.
SIZES = [0.0, 1.0, -3.0, 1e-4, 1e4, 1e-9, 1e15, -1e-25]


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"clip_norm": 2.0}, {"weight_decay": 0.02, "clip_norm": 1e3}], ids=str
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hundreds_of_steps_follow_the_exact_trajectory(name, options, dtype, tolerance, rng):
    optimizer = replace(OPTIMIZERS[name], **options)
    gradients = (np.array(SIZES) * rng.normal(1, 1, (300, len(SIZES)))).astype(dtype)
    theta = rng.uniform(1, 2, len(SIZES)).astype(dtype)
    start, state = theta.copy(), optimizer.init(theta)
    for gradient in gradients:
        optimizer.update(theta, gradient, state)
    expected, slots = exact(optimizer, start, gradients)
    assert state.step == len(gradients)
    close(theta, expected, tolerance)
    # What is added to an average may be below the normal numbers, and so be lost, in each of 1 / (1 - b2) steps.
    smallest = float(np.finfo(dtype).tiny) / 1e-3 / tolerance
    for name, values in state.slots.items():
        assert values.dtype == dtype
        keep = [i for i, e in enumerate(slots[name]) if abs(e) >= smallest]
        close(values[keep], [slots[name][i] for i in keep], tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_may_change_at_every_step(name, dtype, tolerance, rng):
    optimizer = replace(OPTIMIZERS[name], weight_decay=0.3)
    rates = [gp.schedules.rate(gp.schedules.InverseTime(0.1), 0.2, e) for e in range(50)] + [0.0]
    gradients = rng.normal(size=(len(rates), 4)).astype(dtype)
    theta = rng.uniform(1, 2, 4).astype(dtype)
    start, state = theta.copy(), optimizer.init(theta)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.update(theta, gradient, state, rate)
    close(theta, exact(optimizer, start, gradients, rates)[0], 5 * tolerance)


def test_the_second_moment_keeps_its_digits_in_float32(rng):
    """0.999 and 0.001 rounded to float32 do not add up to 1; averages would be too large by 1.3e-5 in the end."""
    optimizer, single, double = gp.Adam(), np.ones(50, "float32"), np.ones(50)
    states = optimizer.init(single), optimizer.init(double)
    for gradient in rng.normal(size=(5000, 50)).astype("float32"):
        optimizer.update(single, gradient, states[0])
        optimizer.update(double, gradient.astype("float64"), states[1])
    ours, expected = (state.slots["second_moment"] for state in states)
    assert abs(np.mean(ours / expected) - 1) < 5e-6


# ---- Against PyTorch ----
PEERS = {
    "sgd": (gp.SGD(0.05), "SGD", {"lr": 0.05}),
    "coupled decay is a penalty": (gp.SGD(0.05, weight_decay=0.1), "SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "momentum": (gp.Momentum(0.05, beta=0.8), "SGD", {"lr": 0.05 * (1 - 0.8), "momentum": 0.8, "dampening": 0}),
    "rmsprop": (gp.RMSprop(0.01, beta=0.95), "RMSprop", {"lr": 0.01, "alpha": 0.95}),
    "adam": (gp.Adam(0.01, beta1=0.85), "Adam", {"lr": 0.01, "betas": (0.85, 0.999)}),
    "adamw": (gp.Adam(0.01, weight_decay=0.1), "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("case", PEERS)
def test_makes_the_steps_of_pytorch(case, dtype, rng, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; its optimizers are what is compared with")
    optimizer, peer, options = PEERS[case]
    theta, gradients = rng.normal(size=20).astype(dtype), rng.normal(size=(200, 20)).astype(dtype)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    peer, state = getattr(torch.optim, peer)([parameter], **options), optimizer.init(theta)
    for gradient in gradients:
        optimizer.update(theta, gradient, state)
        parameter.grad = torch.tensor(gradient)
        peer.step()
    # PyTorch rounds b and 1 - b apart: up to 3e-5 in the root of float32's second moment, of steps that add up to 2
    assert_close(theta, parameter.detach().numpy())


def test_dampened_momentum_of_pytorch_is_another_rule(rng):
    """Its first average is the whole gradient, not the share 1 - beta of it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; its optimizers are what is compared with")
    optimizer, theta = gp.Momentum(0.1, beta=0.9), np.zeros(1)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    parameter.grad = torch.ones(1, dtype=torch.float64)
    torch.optim.SGD([parameter], lr=0.1, momentum=0.9, dampening=0.9).step()
    optimizer.update(theta, np.ones(1), optimizer.init(theta))
    assert (theta[0], parameter.item()) == pytest.approx((-0.01, -0.1))


# ---- The compiled updates and their twins ----
NUMBERS = {
    "sgd": {},
    "momentum": {"beta": 0.8},
    "rmsprop": {"beta": 0.8, "epsilon": 1e-5},
    "adam": {"t": 3, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-5},
}


def arrays(name, size, dtype, rng):
    """theta, slots, gradient."""
    slots = [rng.uniform(0, 1, size) for _ in range(SLOTS[name])]
    return [array.astype(dtype) for array in (rng.normal(size=size), *slots, rng.normal(size=size))]


@pytest.mark.parametrize("decay", [0.0, 0.4])
@pytest.mark.parametrize("size", [0, 1, 7, 1001, 200_003], ids=str)
@pytest.mark.parametrize("name", SLOTS)
def test_matches_the_reference(name, size, decay, dtype, rng, assert_close):
    ours = arrays(name, size, dtype, rng)
    twins, before = copy.deepcopy(ours), copy.deepcopy(ours)
    for module, values in ((kernels, ours), (reference, twins)):
        update = getattr(module, f"{name}_update")
        assert update(*values, learning_rate=0.1, weight_decay=decay, **NUMBERS[name]) is None
    for actual, expected in zip(ours, twins, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, expected)
    np.testing.assert_array_equal(ours[-1], before[-1])  # the gradient
    if size:
        assert all((a != b).all() for a, b in zip(ours[:-1], before[:-1], strict=True))


@pytest.mark.parametrize("name", SLOTS)
def test_kernels_take_any_shape_and_gradients_of_any_layout(name, dtype, rng, assert_close):
    ours = [array.reshape(4, 6) for array in arrays(name, 24, dtype, rng)]
    twins = copy.deepcopy(ours)
    ours[-1] = np.asfortranarray(ours[-1])
    for module, values in ((kernels, ours), (reference, twins)):
        getattr(module, f"{name}_update")(*values, learning_rate=0.1, **NUMBERS[name])
    for actual, expected in zip(ours, twins, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam"])
def test_one_bit_pattern_for_any_number_of_threads_and_any_split(name, dtype, rng):
    """Every element is computed by itself; the whole equals its parts."""
    optimizer, size = replace(OPTIMIZERS[name], weight_decay=0.1), 300_001
    theta, gradient = rng.normal(size=size).astype(dtype), rng.normal(size=size).astype(dtype)
    before = _core.thread_count()
    results = []
    try:
        for threads in (1, 3):
            _core.set_thread_count(threads)
            mine, state = theta.copy(), optimizer.init(theta)
            for _ in range(2):
                optimizer.update(mine, gradient, state)
            results.append(mine)
    finally:
        _core.set_thread_count(before)
    np.testing.assert_array_equal(*results)
    parts = theta.copy()
    for part in (slice(0, 77), slice(77, 150_000), slice(150_000, None)):
        state = optimizer.init(parts[part])
        for _ in range(2):
            optimizer.update(parts[part], gradient[part], state)
    np.testing.assert_array_equal(parts, results[0])


# ---- Runs ----
def test_what_is_frozen_stays_and_what_decays_decays(dtype):
    optimizer = gp.Adam(0.1, weight_decay=0.5)
    theta, gradient = np.ones(10, dtype), np.zeros(10, dtype)
    state = optimizer.init(theta)
    gradient[8] = 1
    optimizer.update(theta, gradient, state, decayed=[(0, 4), (6, 8)], frozen=[(2, 3), (7, 9)])
    assert theta.tolist() == pytest.approx([0.95, 0.95, 1, 0.95, 1, 1, 0.95, 1, 1, 1], rel=1e-6)
    assert state.slots["first_moment"][8] == 0  # nor does its average move
    assert state.step == 1


@pytest.mark.parametrize(
    ("decayed", "frozen", "expected"),
    [
        (None, None, [[0, 9, 1]]),
        ((), None, [[0, 9, 0]]),
        ([(0, 3), (3, 9)], (), [[0, 9, 1]]),
        ([(0, 6), (2, 4)], [(0, 0)], [[0, 6, 1], [6, 9, 0]]),
        ([(1, 8)], [(0, 2), (1, 3), (5, 6)], [[3, 5, 1], [6, 8, 1], [8, 9, 0]]),
        (None, [(0, 9)], []),
    ],
)
def test_runs(decayed, frozen, expected):
    rows = runs(9, decayed, frozen)
    assert rows.shape == (len(expected), 3)
    assert rows.tolist() == expected


def test_the_core_refuses_runs_that_overlap_or_leave_the_vector():
    for rows in ([[0, 5, 1], [4, 6, 1]], [[0, 7, 1]], [[-1, 2, 1]], [[3, 2, 1]]):
        with pytest.raises(ValueError, match="runs: expected ascending ranges in 0 to 6"):
            _core.gradient_norm(np.zeros(6), np.array(rows))


# ---- Clipping ----
def test_clipping_scales_to_the_norm_and_leaves_smaller_gradients(dtype, tolerance):
    for gradient, expected in (([3, 4], [-0.6, -0.8]), ([0.3, 0.4], [-0.3, -0.4]), ([0, 0], [0, 0])):
        theta = np.zeros(2, dtype)
        gp.SGD(1.0, clip_norm=1.0).update(theta, np.array(gradient, dtype), OptimizerState())
        np.testing.assert_allclose(theta, expected, rtol=tolerance)


def test_the_norm_to_clip_is_that_of_what_is_trained():
    theta = np.zeros(3)
    gp.SGD(1.0, clip_norm=1.0).update(theta, np.array([100.0, 3.0, 4.0]), OptimizerState(), frozen=[(0, 1)])
    np.testing.assert_allclose(theta, [0, -0.6, -0.8], rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-320, 1e-200, 1e-30, 1.0, 1e30, 1e200, 1e307])
def test_the_norm_neither_overflows_nor_underflows(unit, dtype):
    if not float(np.finfo(dtype).smallest_subnormal) < unit < float(np.finfo(dtype).max) / 10:
        pytest.skip("not a number of this type")
    gradient = (np.array([3.0, -4.0, 0.0]) * unit).astype(dtype)
    expected = np.hypot(*gradient[:2].astype(np.longdouble))
    assert _core.gradient_norm(gradient, runs(3)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, np.isnan), (np.inf, np.isinf)])
def test_the_norm_of_what_is_not_finite_is_not_finite(bad, shown, dtype):
    assert shown(_core.gradient_norm(np.array([1, bad, 0], dtype), runs(3)))


def test_the_norm_of_nothing_is_zero(dtype):
    assert _core.gradient_norm(np.ones(3, dtype), runs(3, frozen=[(0, 3)])) == 0
    assert _core.gradient_norm(np.zeros(3, dtype), runs(3)) == 0


# ---- Numeric trouble ----
def test_a_gradient_that_is_zero_moves_nothing(dtype):
    for optimizer in OPTIMIZERS.values():
        theta = np.ones(5, dtype)
        state = optimizer.init(theta)
        for _ in range(3):
            optimizer.update(theta, np.zeros(5, dtype), state)
        assert (theta == 1).all()


@pytest.mark.parametrize("kind", [gp.RMSprop, gp.Adam])
def test_roots_and_quotients_are_accurate_up_to_the_ends_of_the_range(kind, dtype, tolerance):
    """Whatever computes them: second moments from the smallest normal number to the largest, and a small epsilon."""
    optimizer = kind(1.0, epsilon=1e-37)
    ends = np.log10(np.sqrt([1e5 * np.finfo(dtype).tiny, 0.9 * np.finfo(dtype).max]))
    gradient = np.logspace(*ends, 101).astype(dtype) * np.resize([1, -1], 101).astype(dtype)
    theta = np.zeros(101, dtype)
    optimizer.update(theta, gradient, optimizer.init(theta))
    close(theta, exact(optimizer, np.zeros(101), [gradient])[0], tolerance)


@pytest.mark.parametrize("kind", [gp.RMSprop, gp.Adam])
def test_second_moments_of_zero_or_infinity_are_no_trouble(kind, dtype):
    optimizer = kind(1.0)
    theta = np.ones(3, dtype)
    gradient = np.array([0, np.finfo(dtype).max / 2, np.sqrt(np.finfo(dtype).tiny) / 64], dtype)
    optimizer.update(theta, gradient, optimizer.init(theta))
    np.testing.assert_array_equal(theta[:2], 1)  # 0 / epsilon and g / infinity
    assert np.isfinite(theta[2])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_moves_alike_wherever_it_stands(name, dtype, rng):
    theta = np.full(53, 0.7, dtype)
    state = OPTIMIZERS[name].init(theta)
    for gradient in rng.normal(size=20):
        OPTIMIZERS[name].update(theta, np.full(53, gradient, dtype), state)
    assert (theta == theta[0]).all() and theta[0] != np.asarray(0.7, dtype)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 is slow with subnormal numbers")
@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adam"])
def test_averages_of_zeros_never_become_subnormal(name, dtype):
    """With such numbers every later step would take many times as long."""
    optimizer, theta = OPTIMIZERS[name], np.ones(33, dtype)
    state = optimizer.init(theta)
    smallest = np.finfo(dtype).tiny
    for values in state.slots.values():
        values[:] = 1.5 * smallest
    for _ in range(20):
        optimizer.update(theta, np.zeros(33, dtype), state)
    for values in state.slots.values():
        assert ((values == 0) | (values >= smallest)).all()
    assert smallest / np.asarray(2, dtype) > 0  # elsewhere such numbers are what they were


def test_the_first_step_of_adam_has_the_size_of_the_rate(dtype):
    for size in (1e-4, 1.0, 1e12):
        theta = np.zeros(2, dtype)
        optimizer = gp.Adam(0.5)
        optimizer.update(theta, np.array([size, -size], dtype), optimizer.init(theta))
        np.testing.assert_allclose(theta, [-0.5, 0.5], rtol=2e-4)


# ---- Objects ----
def test_optimizers_are_frozen_comparable_picklable_and_written_as_code():
    optimizer = gp.Adam(1, beta1=0.8, clip_norm=np.float32(2))
    assert optimizer == gp.Adam(learning_rate=1.0, beta1=0.8, clip_norm=2) == pickle.loads(pickle.dumps(optimizer))
    assert hash(optimizer) == hash(pickle.loads(pickle.dumps(optimizer)))
    assert type(optimizer.learning_rate) is type(optimizer.clip_norm) is float
    assert eval(repr(optimizer), {"Adam": gp.Adam}) == optimizer
    with pytest.raises(FrozenInstanceError):
        optimizer.learning_rate = 2
    with pytest.raises(TypeError):
        gp.Adam(1e-3, 0.9, 0.999, 1e-8, 0.1)  # weight decay goes by name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copied_state_goes_on_alike(name, dtype, rng):
    optimizer, theta = OPTIMIZERS[name], rng.normal(size=9).astype(dtype)
    state = optimizer.init(theta)
    optimizer.update(theta, np.ones(9, dtype), state)
    theta2, state2 = theta.copy(), pickle.loads(pickle.dumps(state))
    for vector, own in ((theta, state), (theta2, state2)):
        optimizer.update(vector, np.full(9, 2, dtype), own)
    np.testing.assert_array_equal(theta, theta2)
    assert state.step == state2.step == 2


# ---- Bad input ----


@pytest.mark.parametrize("optimizer", [gp.Adam(1e-3), gp.RMSprop(1e-3)])
def test_squares_that_overflow_stop_a_parameter_and_spoil_nothing(optimizer: gp.Adam | gp.RMSprop) -> None:
    theta = np.ones(37, np.float32)
    gradient = np.full(37, 1e25, np.float32)
    state = optimizer.init(theta)
    for _ in range(3):
        optimizer.update(theta, gradient, state)
    assert np.array_equal(theta, np.ones(37, np.float32))
