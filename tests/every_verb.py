"""Every verb of the command line, each with the words it needs, spoken inside this process through the very
streams that the command uses."""

import contextlib
import io
import os
import pty
import signal
import sys
import tempfile
import threading
import tty

import typer

from mlnb.cli import import_verbs, run_command
from mlnb.terminal.frame import app
from mlnb.terminal.streams import careful

# verb -> command lines; RUN is the run of the project, URL a remote, DIGEST one of its objects
COMMANDS = {
    "run": ["run demo", "run demo --dry-run", "run demo --grid kind=a,b --dry-run"],
    "reproduce": ["reproduce RUN"],
    "status": ["status", "status demo"],
    "why": ["why kept", "why fails"],
    "params": ["params demo", "params demo --resolved"],
    "dag": ["dag demo", "dag demo --format mermaid"],
    "check": ["check"],
    "runs": ["runs", "runs demo", "runs --compare", "runs --compare RUN"],
    "show": ["show RUN", "show RUN --follow"],
    "diff": ["diff RUN RUN"],
    "lineage": ["lineage demo/kept", "lineage demo/kept@RUN", "lineage demo/kept --up"],
    "artifacts": ["artifacts", "artifacts demo/kept"],
    "get": [
        "get demo/kept",
        "get demo/text@RUN",
        "get kept@1 --as mlflow --out made",
        "get RUN --as slsa --out made",
    ],
    "gc": ["gc --dry-run", "gc"],
    "overlay": ["overlay", "overlay drop kept"],
    "erase": ["erase demo/kept --reason why --dry-run"],
    "verify": ["verify", "verify --remote URL"],
    "push": ["push URL"],
    "pull": ["pull URL"],
    "publish": ["publish"],
    "drift": ["drift raw.csv raw.csv"],
    "quality": ["quality raw.csv"],
    "fairness": ["fairness raw.csv --label paid --prediction score --group shop"],
    "model": ["model"],
    "model list": ["model list", "model list kept"],
    "model show": ["model show kept@1"],
    "model card": ["model card kept@1"],
    "model diff": ["model diff kept@1 kept@candidate"],
    "model inventory": ["model inventory", "model inventory --csv"],
    "model register": ["model register kept@RUN"],
    "model alias": ["model alias kept@1 shadow"],
    "model revoke": ["model revoke kept@1 --reason why"],
    "approve": ["approve kept@1"],
    "promote": ["promote kept", "promote kept -n"],
    "rollback": ["rollback kept"],
    "init": ["init made"],
    "kernels": ["kernels"],
    "audit": ["audit"],
    "audit events": ["audit events", "audit events --last 3"],
    "audit init": ["audit init"],
    "audit anchor": ["audit anchor anchors/", "audit anchor URL"],
    "audit tell": ["audit tell --why moved"],
    "audit checkpoint": ["audit checkpoint"],
    "audit verify": ["audit verify"],
    "audit trust": ["audit trust ana ed25519:xU1X4XOmfmSJq1pGQcT/KtJi3vOoC4YbjyEbJbrjR4s="],
    "audit distrust": ["audit distrust ana"],
    "audit report": ["audit report", "audit report v1 --what gone --owner me"],
}


def verbs_of_app():
    "What the command line offers, sub-verbs with the name of their group."
    import_verbs([])
    found, groups = [], [("", typer.main.get_command(app))]
    while groups:
        before, group = groups.pop()
        for name, command in group.commands.items():
            found.append((before + name).strip())
            if hasattr(command, "commands"):
                groups.append((f"{name} ", command))
    return found


def lines_for(run="latest", url="remote/", verbs=tuple(COMMANDS), names=()):
    "The command lines of verbs, their placeholders filled in, with and without --json."
    for verb in verbs:
        for line in COMMANDS.get(verb, ()):
            words = [
                {"RUN": run, "URL": url}.get(word, word.replace("@RUN", f"@{run}")) for word in line.split()
            ]
            yield words
            yield [*words, "--json"]
    yield from (list(words) for words in names)


@contextlib.contextmanager
def sinks(out, err):
    "Standard output and error through the streams of the command, to two open files."
    before, handler = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGINT)
    others = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    sys.stdout, sys.stderr = careful(None, out), careful(None, err)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
        for number, old in (others | {signal.SIGINT: handler}).items():
            signal.signal(number, old)


def spoken(words, cwd):
    "Exit code, and the bytes of stdout and stderr; no terminal anywhere."
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with contextlib.chdir(cwd), sinks(out.fileno(), err.fileno()):
            code = run_command(list(words))
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return code, *texts


def spoken_at_terminal(words, cwd):
    "Exit code, and the bytes that a terminal was sent."
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    held = io.BytesIO()

    def drain():
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                held.write(data)

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        with contextlib.chdir(cwd), sinks(theirs, theirs):
            code = run_command(list(words))
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return code, held.getvalue()
