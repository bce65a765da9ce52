"""The command ``gradproof tune``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gradproof.cli_errors import InputError
from gradproof.cli_inputs import load_data, load_function
from gradproof.cli_types import count, positive

if TYPE_CHECKING:
    from gradproof.tune import Parameter, SearchResult

_KINDS = ("uniform", "log", "one_minus", "integer", "choice")
_SPACE = "space"  # what a module calls its space

EPILOG = """\
MODEL is module:function. With --data the function is called with a dict of parameters and gives
a gp.Sequential, or one and a dict of arguments of fit; without --data it gives the score itself.
Without MODEL: a network for the digits. What is searched are the --parameter options, such as
  -p learning_rate=log:1e-4:0.1 -p units=integer:16:256:log -p beta=one_minus:0.9:0.999
  -p keep_prob=uniform:0.5:1 -p activation=choice:relu:tanh
or what the module calls "space". Several processes with the same --storage share the work.
Exit status: 0 all trials done, 1 no trial has a score, 2 usage or bad input, 3 not all trials
done, 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.epilog = EPILOG
    parser.add_argument("model", nargs="?", metavar="MODEL", help="module:function")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=KIND:...", help="see below")
    parser.add_argument("--data", metavar="DATA", help="digits, or a file: .npz (X, y), .npy, .csv (targets last)")
    parser.add_argument("--labels", metavar="FILE", help="targets (.npy) of data in a .npy file")
    parser.add_argument("--validation", type=positive, default=0.2, metavar="SHARE", help="rows to score on (0.2)")
    parser.add_argument("--epochs", type=count, default=20, metavar="N", help="per trial (20)")
    parser.add_argument("--monitor", metavar="COLUMN", help="score, such as val_loss (accuracy or R2)")
    parser.add_argument("--trials", type=count, default=40, metavar="N", help="how many there are to be in all (40)")
    parser.add_argument(
        "--method", choices=("coarse_to_fine", "random", "tpe"), default="coarse_to_fine", help="(coarse_to_fine)"
    )
    parser.add_argument("--direction", choices=("maximize", "minimize"), help="what the score is to be")
    parser.add_argument("--pruning", choices=("median", "halving"), help="give up bad trials early")
    parser.add_argument("--storage", metavar="PATH|URL", help="journal file, or sqlite:///search.db")
    parser.add_argument("--study", default="search", metavar="NAME", help="name of the study in the storage (search)")
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="trials at the same time (1)")
    parser.add_argument("--timeout", type=positive, metavar="SECONDS", help="begin no more trials after that")
    parser.add_argument("--seed", type=count, default=0, help="of everything drawn at random (0)")
    parser.add_argument("--html", metavar="PATH", help="write the search as a page")
    parser.add_argument("--json", metavar="PATH", help="write the search as JSON")
    parser.add_argument("--csv", metavar="PATH", help="write the trials as a table")
    parser.add_argument("--quiet", action="store_true", help="print nothing, only set the exit status")


def tune(options: argparse.Namespace) -> SearchResult:
    """Search as the options say, and write what they ask for."""
    from gradproof.tune import search

    build, space = _subject(options)
    X = y = None
    if options.data is not None:
        X, y = load_data(options.data, options.labels)
    elif options.labels is not None:
        raise InputError("--labels: only with --data FILE.npy")
    result = search(
        build,
        X,
        y,
        space=space,
        trials=options.trials,
        method=options.method,
        direction=options.direction,
        validation=options.validation,
        epochs=options.epochs,
        monitor=options.monitor,
        seed=options.seed,
        storage=options.storage,
        study_name=options.study,
        pruning=options.pruning,
        n_jobs=options.jobs,
        timeout=options.timeout,
        progress=False if options.quiet else None,
    )
    for path, write in ((options.json, result.to_json), (options.csv, result.to_csv), (options.html, result.to_html)):
        if path:
            write(path)
    return result


def _subject(options: argparse.Namespace) -> tuple[Callable[..., Any], Mapping[str, Parameter]]:
    """What gives the score or the network, and the space."""
    from gradproof.tune import integer, log, uniform

    given: dict[str, Parameter] = {}
    for text in options.parameter:
        name, parameter = _parameter(text)
        if name in given:
            raise InputError(f"--parameter: got {name!r} twice, the second time as {text!r}")
        given[name] = parameter
    if options.model is None:
        options.data = options.data or "digits"
        demo: dict[str, Parameter] = {
            "learning_rate": log(1e-4, 1e-1),
            "units": integer(16, 128, log=True),
            "keep_prob": uniform(0.5, 1),
            "l2": log(1e-3, 10),
        }
        for name in given:
            if name not in demo:
                raise InputError(f"--parameter: got {name!r}, expected one of {', '.join(demo)} without MODEL")
        return _digits_network, demo | given
    module, colon, function = options.model.partition(":")
    if not colon or not module or not function:
        raise InputError(f"MODEL: got {options.model!r}, expected module:function")
    build = load_function(module, function, options.model)
    if given:
        return build, given
    space = getattr(sys.modules[module], _SPACE, None)
    if space is None:
        raise InputError(f"--parameter: missing; {module!r} has no {_SPACE!r} either")
    return build, space


def _parameter(text: str) -> tuple[str, Parameter]:
    """``NAME=KIND:ARGUMENT:ARGUMENT``."""
    from gradproof import tune

    name, equals, rest = text.partition("=")
    kind, *words = rest.split(":")
    if not equals or not name or kind not in _KINDS:
        raise InputError(f"--parameter: got {text!r}, expected NAME=KIND:..., KIND one of {', '.join(_KINDS)}")
    try:
        if kind == "choice":
            return name, tune.choice([_value(word) for word in words])
        options = {"log": True} if kind == "integer" and words[-1:] == ["log"] else {}
        ends = [_value(word) for word in (words[:-1] if options else words)]
        if len(ends) != 2:
            raise ValueError("expected two ends, such as log:1e-4:0.1")
        parameter: Parameter = getattr(tune, kind)(*ends, **options)
        return name, parameter
    except (ValueError, TypeError) as error:
        raise InputError(f"--parameter: {text!r}: {error}") from error


def _value(word: str) -> Any:
    """A number, if it is one."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _digits_network(parameters: Mapping[str, Any]) -> Any:
    from gradproof.nn.layers import Dense, Dropout, ReLU
    from gradproof.nn.model import Sequential
    from gradproof.train.optimizers import Adam

    layers = [Dense(parameters["units"]), ReLU(), Dropout(keep_prob=parameters["keep_prob"]), Dense(10)]
    model = Sequential(
        layers, input_size=64, loss="softmax_cross_entropy", l2=parameters["l2"], dtype="float32", seed=0
    )
    return model, {"optimizer": Adam(parameters["learning_rate"]), "batch_size": 64}
