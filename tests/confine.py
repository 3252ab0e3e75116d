"""Confine this process in a way that no program of the system offers, then run another one:
`confine.py WAY PROGRAM ARGUMENT…`. It ends with 99 where the system does not let it."""

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path

calls = ctypes.CDLL(None, use_errno=True)
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # of a filter: go on; end with EPERM
SYSCALL = {"sethostname": 170, "acct": 163}  # numbers of x86-64
NEW_SESSION_KEYRING, ADD_KEY, SESSION = 1, 248, -3


class Program(ctypes.Structure):
    "A filter of system calls, as the system takes it."

    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def must(result):
    "End when the system refused."
    if result < 0:
        sys.exit(99)


def filtered(name):
    "Allow every system call but one."
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, SYSCALL[name]), (0x06, 0, 0, REFUSE), (0x06, 0, 0, ALLOW)]
    program = Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    must(calls.prctl(38, 1, 0, 0, 0))
    must(calls.prctl(22, 2, ctypes.byref(program)))


def bound_to_node():
    "Take memory of the first node only."
    mask = ctypes.c_ulong(1)
    must(calls.syscall(238, 2, ctypes.byref(mask), 64))


def with_key():
    "Have a session keyring of one's own that holds a key."
    must(calls.syscall(250, NEW_SESSION_KEYRING, None, 0, 0, 0))
    must(calls.syscall(ADD_KEY, b"user", b"mlnb-test", b"x", 1, SESSION))


def landlocked():
    "Bind no TCP port any more, by Landlock."
    rules = calls.syscall(444, ctypes.create_string_buffer(struct.pack("QQ", 0, 1)), 16, 0)
    must(rules)
    must(calls.prctl(38, 1, 0, 0, 0))
    must(calls.syscall(446, rules, 0))


def kept_in_folders():
    "Write everywhere and move no file from one folder to another, by Landlock."
    writing = 1 << 1  # and nothing is said of moving, which Landlock refuses then
    rules = calls.syscall(444, ctypes.create_string_buffer(struct.pack("Q", writing)), 8, 0)
    must(rules)
    below = struct.pack("=Qi", writing, os.open("/", os.O_PATH))
    must(calls.syscall(445, rules, 1, ctypes.create_string_buffer(below), 0))
    must(calls.prctl(38, 1, 0, 0, 0))
    must(calls.syscall(446, rules, 0))


def traced():
    "Be the child of a process that traces it."
    child = os.fork()
    if child:
        return parent_of_traced(child)
    must(calls.ptrace(0, 0, 0, 0))
    return None


def parent_of_traced(child):
    "Let a traced child go on at every stop, and end as it does."
    while True:
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            sys.exit(os.waitstatus_to_exitcode(status))
        number = os.WSTOPSIG(status)
        calls.ptrace(7, child, 0, 0 if number == signal.SIGTRAP else number)


def control(number, value):
    "Set something of this process."
    return lambda: must(calls.prctl(number, value, 0, 0, 0))


WAYS = {
    "no-sethostname": lambda: filtered("sethostname"),
    "no-acct": lambda: filtered("acct"),
    "node": bound_to_node,
    "key": with_key,
    "landlock": landlocked,
    "no-moving": kept_in_folders,
    "traced": traced,
    "mdwe": control(65, 1),
    "no-huge-pages": control(41, 1),
    "slack": control(29, 70_000),
    "merged-pages": control(67, 1),
    "no-root": control(28, 1),
    "blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
    "ignored": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "dump-all": lambda: Path("/proc/self/coredump_filter").write_text("0x7f"),
}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
    os.execvp(sys.argv[2], sys.argv[2:])
