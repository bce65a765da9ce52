"""The command line ``gradproof``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradproof import cli_bench, cli_train, cli_tune
from gradproof.cli_errors import InputError, told
from gradproof.cli_inputs import demo_model, load_data, load_model, rows, writable
from gradproof.cli_types import count, counts, positive

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

PASS, FAIL, USAGE, INCONCLUSIVE = range(4)
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
STATUS = {"pass": PASS, "inconclusive": INCONCLUSIVE}  # every other verdict: FAIL
PAGE = "gradproof-report.html"  # where the main job writes its page
OUTPUTS = ("save", "csv", "json", "junit", "html")  # options that name a file to write
WIDTH = 110  # of output that does not go to a terminal

DESCRIPTION = """\
Check the gradient of a network. Without a command: check a network on the digits data in
float32 and in float64, print the comparison and write it to gradproof-report.html.
"""
EPILOG = """\
MODEL is module:function (called without arguments; gives a model, or a model with X and y)
or a file written by model.save; without it, a network for the digits.
Exit status: 0 pass, 1 fail, 2 usage or bad input, 3 inconclusive, 130 interrupted.
A check interrupted while it measures reports what it knows: with 3, or 1 if that is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0].startswith("-") and given[0] not in ("-h", "--help", "--version"):
        given = ["compare", *given]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a sign gets "?", not an exception
    options = _parser().parse_args(given)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        print(f"gradproof {given[0]}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BaseException as error:  # SystemExit too: a user's module that leaves early has not passed
        if options.traceback:
            traceback.print_exception(error)
        print(f"gradproof {given[0]}: error: {told(error)}", file=sys.stderr)
        return USAGE
    return status


def _check(options: argparse.Namespace) -> int:
    from gradproof.check.networks import check_model

    model, X, y = _subject(options)
    if options.dtype:
        model = model.astype(options.dtype)
    report = check_model(
        model,
        X,
        y,
        after_steps=options.after_steps,
        dropout=options.dropout,
        scheme=options.scheme,
        step=options.step,
        seed=options.seed,
    )
    if options.junit:
        report.to_junit(options.junit)
    return _deliver(report, options)


def _compare(options: argparse.Namespace) -> int:
    from gradproof.check.precision import compare_precisions

    if options.model is None and options.html is None:
        options.html = PAGE
    model, X, y = _subject(options)
    label = options.model or f"a network on {len(X)} digits"
    report = compare_precisions(model, X, y, dropout=options.dropout, seed=options.seed, label=label)
    return _deliver(report, options)


def _sanity(options: argparse.Namespace) -> int:
    from gradproof.check.sanity import sanity_check

    report = sanity_check(*_subject(options))
    if not options.quiet:
        _print(str(report), soft_wrap=True)
    return PASS if report.ok else FAIL


def _train(options: argparse.Namespace) -> int:
    model, X, y = _subject(options)
    if options.dtype:
        model = model.astype(options.dtype)
    history = cli_train.train(options, model, X, y, _print)
    return {"interrupted": INTERRUPTED, "diverged": FAIL}.get(str(history.stopped), PASS)


def _tune(options: argparse.Namespace) -> int:
    _check_outputs(options)
    result = cli_tune.tune(options)
    if not options.quiet:
        _print(result)
        if options.html:
            _print(f"\nThe whole search: {options.html}")
    if result.stopped == "interrupted":
        return INTERRUPTED
    if result.best is None and result.trials:
        return FAIL
    return PASS if result.ok else INCONCLUSIVE


def _lecture(options: argparse.Namespace) -> int:
    from gradproof.check.render.text import new_table
    from gradproof.check.textbook import lecture_table

    _print("Error of the numeric derivative of θ³ at θ = 1, which is 3:\n")
    table = new_table("ε", "forward", "its order", "central", "its order")
    for row in lecture_table():
        orders = (row["forward_order"], row["central_order"])
        forward, central = (f"{order:.1f}" if order == order else "" for order in orders)
        table.add_row(f"{row['step']:.0e}", f"{row['forward']:.3g}", forward, f"{row['central']:.3g}", central)
    _print(table)
    _print(
        "\nThe forward difference, (f(θ+ε) − f(θ)) / ε, is off by a multiple of ε; the central one, "
        "(f(θ+ε) − f(θ−ε)) / 2ε, by a multiple of ε². The order is the power of ε by which the error falls from row "
        "to row; where it is no longer 1 or 2, rounding has taken over."
    )
    return PASS


def _bench(options: argparse.Namespace) -> int:
    _check_outputs(options)
    rows = cli_bench.bench(options)
    _print(cli_bench.table(rows))
    _print(
        "\nBest times. NumPy: the same mathematics in plain NumPy; its check is timed on some parameters, told for all."
    )
    return PASS


def _info(options: argparse.Namespace) -> int:
    from gradproof._config import config_text

    _print(config_text(), soft_wrap=True)
    return PASS


def _check_outputs(options: argparse.Namespace) -> None:
    taken: dict[str, str] = {}
    for name in OUTPUTS:
        path = getattr(options, name, None)
        if path is None:
            continue
        writable(f"--{name}", path)
        other = taken.setdefault(os.path.realpath(path), name)
        if other != name and (os.path.isfile(path) or not os.path.exists(path)):
            raise InputError(f"--{name}: {path!r} is what --{other} writes to")


def _subject(options: argparse.Namespace) -> tuple[Sequential, Any, Any]:
    """The model and the rows to check it on."""
    _check_outputs(options)
    model, X, y = (demo_model(), None, None) if options.model is None else load_model(options.model)
    if options.data is None and X is None:
        if options.model is not None:
            raise InputError("--data: missing; the model came without data")
        options.data = "digits"
    if options.data is not None:
        X, y = load_data(options.data, options.labels)
    elif options.labels is not None:
        raise InputError("--labels: only with --data FILE.npy")
    assert X is not None and y is not None
    return model, *rows(X, y, options.rows, options.seed)


def _deliver(report: Any, options: argparse.Namespace) -> int:
    """Print the report, write it where asked, and give the exit status of its verdict."""
    if options.json:
        report.to_json(options.json)
    if options.html:
        report.to_html(options.html)
    if not options.quiet:
        _print(report)
        if options.html:
            _print(f"\nThe whole report: {options.html}")
    return STATUS.get(report.verdict.value, FAIL)


def _print(renderable: Any, **options: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=WIDTH)
    try:
        console.print(renderable, **options)
    except (
        BrokenPipeError,
        SystemExit,
    ):  # the reader has gone (| head), and rich would leave with 1: the verdict stays
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    from gradproof import __version__

    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("gradproof", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"gradproof {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, epilog=EPILOG, formatter_class=formatter)
        added.add_argument("--traceback", action="store_true", help="show where an error came from")
        added.set_defaults(run=run)
        return added

    check = command("check", _check, "check every parameter of a network in its own precision")
    compare = command("compare", _compare, "check a network in float32 and in float64, side by side")
    sanity = command("sanity", _sanity, "ask whether a network starts sanely and can overfit 20 samples")
    train = command("train", _train, "train a network")
    tune = command("tune", _tune, "search for hyper-parameters")
    command("lecture", _lecture, "show the errors of forward and central differences for the lectures' example")
    cli_bench.add_arguments(command("bench", _bench, "time checks and training steps on this machine"))
    command("info", _info, "show versions, instruction set and platform")

    for parser_of_model in (check, compare, sanity):
        _add_subject(parser_of_model, 64)
    _add_subject(train, 0)
    cli_train.add_arguments(train)
    cli_tune.add_arguments(tune)
    for parser_of_report in (check, compare):
        parser_of_report.add_argument(
            "--dropout", choices=("frozen", "off"), default="frozen", help="masks held fixed, or none"
        )
        parser_of_report.add_argument("--html", metavar="PATH", help="write the report as a page")
        parser_of_report.add_argument("--json", metavar="PATH", help="write the report as JSON")
    check.add_argument("--junit", metavar="PATH", help="write the report as JUnit XML")
    check.add_argument(
        "--after-steps", type=counts, default=(0,), metavar="0,50", help="training steps before each check"
    )
    check.add_argument(
        "--scheme",
        choices=("difference", "tangent", "central", "forward"),
        default="difference",
        help="how slopes are measured",
    )
    check.add_argument("--step", type=positive, help="step of the scheme")
    check.add_argument("--dtype", choices=("float32", "float64"), help="convert the model first")
    return parser


def _add_subject(parser: argparse.ArgumentParser, rows_taken: int) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="module:function or a file")
    parser.add_argument("--data", metavar="DATA", help="digits, or a file: .npz (X, y), .npy, .csv (targets last)")
    parser.add_argument("--labels", metavar="FILE", help="targets (.npy) of data in a .npy file")
    parser.add_argument(
        "--rows",
        "--batch",
        type=count,
        default=rows_taken,
        metavar="N",
        help=f"rows to work on, drawn by the seed ({rows_taken or 'all'}; 0: all)",
    )
    parser.add_argument("--seed", type=count, default=0, help="of everything drawn at random (0)")
    parser.add_argument("--quiet", action="store_true", help="print nothing, only set the exit status")


if __name__ == "__main__":
    sys.exit(main())
