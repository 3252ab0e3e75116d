"""What a stage can see of its process, as plain JSON values: two kernels of one stage show the same."""

import asyncio
import builtins
import codecs
import decimal
import faulthandler
import gc
import json
import locale
import logging
import multiprocessing
import os
import random
import re
import signal
import site
import sys
import tempfile
import threading
import time
import warnings
from shutil import get_terminal_size

ITS_OWN = ("JPY_PARENT_PID", "MLNB_STAGE", "MLNB_ROOT")  # variables of one process


def unobserved(calls):
    "Callbacks but for that of the observer, which only a run has."
    return [call for call in calls if getattr(call, "__name__", "") != "end_cell"]


def shown(value):
    return re.sub(r"0x[0-9a-f]+|(?<=at )[0-9a-f]{8,}|Handler \d+|/\S+\.json", "", repr(value))


def of_pandas(pandas):
    from pandas._config import config

    options = [name for name in config._registered_options if name not in config._deprecated_options]
    return {name: shown(pandas.get_option(name)) for name in sorted(options)}


def of_matplotlib(matplotlib):
    settings = {name: shown(value) for name, value in dict.items(matplotlib.rcParams)}
    return [settings, matplotlib.is_interactive(), matplotlib.matplotlib_fname(), matplotlib.get_configdir()]


def of_numpy(numpy):
    return [shown(numpy.get_printoptions()), numpy.geterr(), shown(numpy.random.get_state())[:99]]


def of_arrow(pyarrow):
    return [pyarrow.cpu_count(), pyarrow.io_thread_count(), pyarrow.default_memory_pool().backend_name]


def of_duckdb(duckdb):
    return dict(duckdb.sql("SELECT name, value FROM duckdb_settings()").fetchall())


def of_plotly(plotly):
    return [plotly.io.renderers.default, plotly.io.templates.default, sorted(plotly.io.renderers)]


def of_threads(threadpoolctl):
    return sorted([pool["prefix"], pool["num_threads"]] for pool in threadpoolctl.threadpool_info())


def of_rich(rich):
    console = rich.get_console()
    return [console.is_jupyter, console.is_terminal, console.color_system, console.width, rich._IMPORT_CWD]


LIBRARIES = {
    "pandas": of_pandas,
    "matplotlib": of_matplotlib,
    "numpy": of_numpy,
    "pyarrow": of_arrow,
    "duckdb": of_duckdb,
    "plotly": of_plotly,
    "threadpoolctl": of_threads,
    "rich": of_rich,
    "sklearn": lambda sklearn: sklearn.get_config(),
}


def of_process():
    path = [sys.path, sys.argv[:2], sys.argv[3:], sys.path_hooks, sys.meta_path]
    handlers = [logging.root.level, logging.root.handlers, logging.raiseExceptions]
    names = {name: shown(type(value)) for name, value in vars(builtins).items() if name != "_"}
    threads = [t.name for t in threading.enumerate() if not t.name.startswith("Thread-")]
    return {
        "environment": {name: v for name, v in os.environ.items() if name not in ITS_OWN},
        "builtins": names,
        "path": shown(path),
        "places": [os.getcwd(), tempfile.gettempdir(), site.USER_SITE, sys.prefix, sys.executable],
        "flags": [str(sys.flags), sys.warnoptions, sys._xoptions, site.ENABLE_USER_SITE],
        "filters": sorted(map(str, warnings.filters)),
        "handlers": shown(handlers),
        "signals": {str(s): shown(signal.getsignal(s)) for s in sorted(signal.valid_signals())},
        "hooks": shown([sys.displayhook, sys.excepthook, threading.excepthook, sys.unraisablehook]),
        "warning hooks": shown([warnings.showwarning, warnings.formatwarning, sys.breakpointhook]),
        "loop": type(asyncio.get_event_loop_policy()).__name__,
        "threads": sorted(threads),
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), threading.stack_size()],
        "garbage": [gc.get_threshold(), gc.isenabled(), gc.get_debug(), gc.get_freeze_count()],
        "numbers": [shown(decimal.getcontext()), sys.get_int_max_str_digits(), hash("mlnb")],
        "random": shown(random.getstate())[:99],
        "locale": [
            locale.setlocale(locale.LC_ALL),
            locale.getpreferredencoding(),
            codecs.lookup("utf-8").name,
        ],
        "time": [time.tzname, time.localtime(0).tm_hour],
        "start": [multiprocessing.get_start_method(allow_none=True), multiprocessing.current_process().name],
        "start folder": multiprocessing.process.ORIGINAL_DIR,
        "faults": faulthandler.is_enabled(),
        "terminal": [str(get_terminal_size()), *(os.isatty(number) for number in range(3)), os.read(0, 1)],
        "streams": [stream_state(s) for s in (sys.stdout, sys.stderr, sys.stdin, sys.__stdout__)],
        "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("_i")),
        "prompts": [getattr(sys, name, None) for name in ("ps1", "ps2", "ps3")],
        "modules": sorted(name for name in sys.modules if "." in name and not name.startswith("mlnb.")),
        "priority": [os.nice(0), sorted(os.sched_getaffinity(0)), os.getpgrp() == os.getpid()],
    }


def stream_state(stream):
    return [shown(type(stream)), stream.encoding, stream.errors, stream.isatty()]


def of_shell(shell):
    from ipykernel.kernelapp import IPKernelApp

    formatters = shell.display_formatter.formatters
    traits = ("autocall", "automagic", "colors", "ast_node_interactivity", "xmode", "logstart")
    return {
        "config": shown(shell.config),
        "printers": {mime: sorted(map(str, f.type_printers)) for mime, f in formatters.items()},
        "deferred": {mime: sorted(map(str, f.deferred_printers)) for mime, f in formatters.items()},
        "magics": {kind: sorted(names) for kind, names in shell.magics_manager.magics.items()},
        "events": {event: shown(unobserved(calls)) for event, calls in shell.events.callbacks.items()},
        "extensions": sorted(shell.extension_manager.loaded),
        "traits": [shown(getattr(shell, name, None)) for name in traits],
        "transformers": shown([shell.ast_transformers, shell.input_transformers_post]),
        "loaded": shown(IPKernelApp.instance().loaded_config_files),
    }


def about(shell):
    "All of it."
    libraries = {name: of(sys.modules[name]) for name, of in LIBRARIES.items() if name in sys.modules}
    found = {"libraries": libraries, "process": of_process(), "shell": of_shell(shell)}
    return json.loads(json.dumps(found, default=shown))
