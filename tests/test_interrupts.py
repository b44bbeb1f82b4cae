"""Ctrl-C and SIGTERM: heard wherever they fall, by every long command, in bounded time, with the status of a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import weakref
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Outcome, outcome, start
from conftest import MOOD_TASK, Project

from harness import interrupts
from harness.background import Ahead, Background
from harness.limited import Limits, run_limited

BOTH = pytest.mark.parametrize("name", interrupts.SIGNALS, ids=lambda name: name.name)


def script(folder: Path, text: str) -> Outcome:
    """What a Python program leaves behind."""
    path = folder / "program.py"
    path.write_text(f"import os, signal, sys, threading, time\nfrom harness import interrupts\n{text}")
    return outcome(start([], folder, driver=path))


@BOTH
def test_a_signal_is_noted_and_raised_where_the_work_looks(name: signal.Signals) -> None:
    with interrupts.listening():
        interrupts.check()
        signal.raise_signal(name)  # raises nothing
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
        assert interrupts.status() == 128 + name
    interrupts.check()
    assert interrupts.status() == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_in_a_callback_that_cannot_raise_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    class Thing:
        pass

    class Deleted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    for strike in ("weak reference", "__del__"):
        with interrupts.listening():
            if strike == "__del__":
                Deleted()
            else:
                thing = Thing()
                kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
                del thing
                assert kept() is None
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
    assert "ignored" not in capfd.readouterr().err


def test_other_threads_are_left_alone() -> None:
    raised: list[BaseException] = []

    def look() -> None:
        try:
            interrupts.check()
        except KeyboardInterrupt as error:
            raised.append(error)

    with interrupts.listening():
        signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert not raised


def test_one_who_waits_for_a_thread_hears() -> None:
    go = threading.Event()
    value, ahead = Background(lambda: go.wait(20)), Ahead(iter(lambda: go.wait(20), True))
    value.start()
    for wait in (value, lambda: next(ahead)):
        with interrupts.listening():
            signal.raise_signal(signal.SIGINT)
            begin = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                wait()
            assert time.monotonic() - begin < 1
    go.set()


def test_a_listener_inside_another_is_that_one() -> None:
    with interrupts.listening():
        with interrupts.listening():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


@BOTH
@pytest.mark.parametrize("work", ["time.sleep(60)", "threading.Lock().acquire() and Locked.acquire()", "read(0, 1)"])
def test_work_that_does_not_look_is_ended(tmp_path: Path, name: signal.Signals, work: str) -> None:
    """Whether Python would go on with it after a handler, or lets no handler run before it is done."""
    found = script(
        tmp_path,
        f"interrupts.PATIENCE = 0.3\n"
        f"Locked = threading.Lock(); Locked.acquire()\n"
        f"ours, theirs = os.pipe(); read = lambda *_: os.read(ours, 1)\n"
        f"threading.Timer(0.2, os.kill, (os.getpid(), {int(name)})).start()\n"
        f"with interrupts.listening(), interrupts.ending(lambda: print('noted', flush=True)):\n"
        f"    {work}\n",
    )
    assert (found.status, found.out) == (128 + name, "noted\n")
    assert found.err == f"harness: {interrupts.MESSAGE}\n"
    assert found.seconds < 20


def test_asking_twice_ends_at_once_but_an_echo_is_no_second_time(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "interrupts.PATIENCE, interrupts.ECHO = 60, 0.4\n"
        "begin = time.monotonic()\n"
        "strike = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "for after in (0.1, 0.2, 0.9): threading.Timer(after, strike).start()\n"
        "end = lambda: print(time.monotonic() - begin, flush=True)\n"
        "with interrupts.listening(), interrupts.ending(end):\n"
        "    time.sleep(60)\n",
    )
    assert found.status == 130
    assert 0.8 < float(found.out) < 10


def test_what_is_stored_after_hearing_has_time(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "interrupts.PATIENCE = 0.3\n"
        "with interrupts.listening():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    try: interrupts.check()\n"
        "    except KeyboardInterrupt: time.sleep(1); print('stored')\n",
    )
    assert (found.status, found.out) == (0, "stored\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_signals_of_a_forked_process_are_its_own(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "interrupts.PATIENCE = 0.2\n"
        "with interrupts.listening():\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(20); os._exit(0)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM\n"
        "    time.sleep(0.5)\n"
        "    interrupts.check()\n"
        "    print('not asked')\n",
    )
    assert (found.status, found.out, found.err) == (0, "not asked\n", "")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.listening():
            signal.raise_signal(signal.SIGINT)
            interrupts.check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Commands

PROMPT = ("--tasks", "mood", "--data-dir", "data")
# A function that each command spends its time in, which gets the signal and never comes back.
STUCK = {
    "run": (("run", *PROMPT), "harness.runner.encode_cells", None),
    "run scoring": (("run", *PROMPT), "harness.scorers.tree.TreeScorer._compute", "interrupted"),
    "select": (("select", *PROMPT, "--budget", "40"), "harness.decide.label_scores", None),
    "baseline": (("baseline", *PROMPT, "--sizes", "8"), "harness.baselines.tfidf.choose", "interrupted"),
    "embedding": (
        ("baseline", *PROMPT, "--sizes", "8", "--methods", "probe"),
        "harness.embeddings.Embedder._forward",
        "interrupted",
    ),
    "predict": (("predict", "data/mood/test.jsonl", "--task", "mood", "--prompt", "plain"), "harness.predict.read_text",
                None),
    "leaderboard": (("leaderboard",), "harness.run_store.stored_runs", None),
    "breakeven": (("breakeven",), "harness.run_store.stored_runs", None),
    "compare": (("compare", "a", "b"), "harness.compare.find_run", None),
    "show": (("show", "mood", "--data-dir", "data"), "harness.preview.preview", None),
    "fetch": (("fetch", "--tasks", "sst2"), "harness.hub.reachable", None),
    "a library is imported": (("run", *PROMPT), "builtins.__import__", None),
}  # fmt: skip


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("stuck", STUCK)
def test_every_command_ends_soon_in_one_line(project: Project, stuck: str, name: signal.Signals) -> None:
    arguments, function, listed = STUCK[stuck]
    project.write("tasks/mood.yaml", MOOD_TASK.replace("report: test", 'select: "train[-16:]", report: test'))
    driver = project.write(
        "driver.py",
        f"""
import importlib, os, time
from functools import reduce
place = {function!r}.split(".")
def find(parts):
    for end in range(len(parts), 0, -1):
        try: return reduce(getattr, parts[end:], importlib.import_module(".".join(parts[:end])))
        except ImportError: pass
owner = find(place[:-1])
work = getattr(owner, place[-1])
def stuck(*args, **more):
    if place[-1] == "__import__" and args[0] != "torch":
        return work(*args, **more)
    print(time.time(), flush=True)
    os.kill(os.getpid(), {int(name)})
    while True: time.sleep(60)
setattr(owner, place[-1], stuck)
from harness.__main__ import main
main()
""",
    )
    begin = time.time()
    found = outcome(start(arguments, project.root, driver=driver))
    assert found.status == 128 + name, found.err
    assert found.err.splitlines()[-1] == f"harness: {interrupts.MESSAGE}"
    assert "Traceback" not in found.err
    struck = float(found.out.split()[0])
    assert begin + found.seconds - struck < interrupts.PATIENCE + 2
    runs = list((project.root / "results").glob("runs/*/manifest.json"))
    assert [json.loads(path.read_text())["status"] for path in runs] == ([listed] if listed else [])


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.9, 1.8, 3.0, 5.0])
def test_stopped_at_any_time(project: Project, tiny_gpt2: Path, name: signal.Signals, seconds: float) -> None:
    """From the first import to the end, whatever is being imported or built then."""
    script = "import sys\nfrom harness.__main__ import main\nprint('ready', file=sys.stderr, flush=True)\nmain()\n"
    arguments = ("run", *PROMPT, "--model", tiny_gpt2, "--shots", "0,2", "--engine", "rows")
    process = start(arguments, project.root, driver=project.write("driver.py", script))
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(name)
    stopped = outcome(process)
    assert "Traceback" not in stopped.err
    assert "ignored" not in stopped.err
    assert "terminate" not in stopped.err
    if "stored in" not in stopped.err and seconds > 0.02:  # a fast machine may be done
        assert stopped.status == 128 + name, stopped.err
        assert re.fullmatch("harness: interrupted.*", stopped.err.splitlines()[-1])


# Threads that are at work when Python ends


def test_the_end_waits_for_a_thread_at_work(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "from harness.background import Background\n"
        "Background(lambda: (time.sleep(0.5), print('done', flush=True))).start()\n"
        "raise SystemExit(3)\n",
    )
    assert (found.status, found.out, found.err) == (3, "done\n", "")


def test_a_command_does_not_wait_for_it(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "from harness.background import Background, leave_with\n"
        "Background(lambda: time.sleep(100)).start()\n"
        "print('said')\n"
        "leave_with(1)\n"
        "sys.exit(1)\n",
    )
    assert (found.status, found.out, found.err) == (1, "said\n", "")
    assert found.seconds < 30


def test_a_command_ends_without_taking_python_apart_under_the_threads_of_libraries(tmp_path: Path) -> None:
    """A thread of Arrow's that lets go of a stream of Python's while Python is taken apart aborts the process."""
    found = script(
        tmp_path,
        "from harness.background import leave_with\n"
        "class Kept:\n"
        "    def __del__(self): print('taken apart')\n"
        "kept = Kept()\n"
        "sys.stdout.write('said')\n"
        "leave_with(1)\n"
        "sys.exit(1)\n",
    )
    assert (found.status, found.out, found.err) == (1, "said", "")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_no_thread_reads_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "t.parquet")
    found = script(
        tmp_path,
        "from pathlib import Path\n"
        "import pyarrow.parquet\n"
        "from harness.row_files import read_rows\n"
        "from harness.stored_parquet import read_whole\n"
        "threads = len(os.listdir('/proc/self/task'))\n"
        "rows = read_rows([Path('t.parquet')]), read_whole(Path('t.parquet'), None).to_pylist()\n"
        "print(len(os.listdir('/proc/self/task')) - threads, *map(len, rows))\n",
    )
    assert (found.status, found.out, found.err) == (0, "0 2 2\n", "")


HOSTILE = {
    "list": "{{ text }} {{ [answer] }}",
    "loop": "{% for _ in range(10**4) %}{% for _ in range(10**4) %}{% endfor %}{% endfor %}{{ text }} {{ answer }}",
    "name": "{{ tezt }} {{ answer }}",
}


@pytest.mark.slow
@pytest.mark.parametrize("load", ["as it is", "slow", "never done", "torch again and again"])
@pytest.mark.parametrize("template", HOSTILE)
def test_a_mistake_while_the_model_loads_is_one_line(
    project: Project, tiny_gpt2: Path, template: str, load: str
) -> None:
    project.write("prompts/mood/plain.jinja", f"---\nanswers: [bad, good]\n---\n{HOSTILE[template]}\n")
    beside = {
        "as it is": "",
        "slow": "time.sleep(3); return load(*args)",
        "never done": "time.sleep(1000)",
        "torch again and again": "import torch\n    while True: torch.ones(50, 50) @ torch.ones(50, 50)",
    }[load]
    change = f"load = runner.load_model\ndef other(*args):\n    {beside}\nrunner.load_model = other\n" if beside else ""
    driver = project.write("driver.py", f"import time\nfrom harness import cli, runner\n{change}cli.main()\n")
    found = outcome(start(("run", *PROMPT, "--model", tiny_gpt2), project.root, driver=driver))
    assert found.status == 1
    assert "plain.jinja:4" in found.mistake
    assert "terminate" not in found.err
    assert found.seconds < 40


def test_a_script_that_ctrl_c_ends_too_has_not_crashed(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("import os, signal\nos.kill(os.getppid(), signal.SIGINT)\nos.kill(os.getpid(), signal.SIGINT)\n")
    with interrupts.listening(), pytest.raises(KeyboardInterrupt):
        run_limited(path, {}, Limits(cpu=10, memory=1_000, wall=30))
