"""What is shipped: the task and template files, alone, in a wheel, and with the real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from harness.data import TaskData, limited, load_data
from harness.records import Example
from harness.render import Renderer
from harness.search_path import SearchPath, shipped_root
from harness.shots import Demonstrations
from harness.sources import FolderSource
from harness.tasks import Task, load_task
from harness.templates import Template, load_template, load_templates

ROOT = Path(__file__).resolve().parent.parent
SEARCH = SearchPath((ROOT,))
TASKS = sorted(path.stem for path in (ROOT / "tasks").glob("*.yaml"))
PROMPTS = sorted(f"{path.parent.name}/{path.stem}" for path in (ROOT / "prompts").glob("*/*.jinja"))

# Items of the reported split, and how many hold each label where the data's own table says so.
COUNTS: dict[str, tuple[int, list[int] | None]] = {
    "ag_news": (7600, [1900, 1900, 1900, 1900]),
    "arc_easy": (2376, None),
    "boolq": (3270, [1237, 2033]),
    "cb": (56, [23, 28, 5]),
    "chnsenticorp": (1200, None),
    "clue_tnews": (5000, None),
    "copa": (100, None),
    "rte": (277, [146, 131]),
    "sst2": (872, [428, 444]),
    "trec": (500, None),
}


def task_of(name: str) -> Task:
    return load_task(ROOT / "tasks" / f"{name}.yaml")


def test_the_shipped_tasks_are_these() -> None:
    assert sorted(COUNTS) == TASKS


def test_every_template_belongs_to_a_task() -> None:
    assert {name.split("/")[0] for name in PROMPTS} == {
        folder for task in TASKS for folder in task_of(task).prompt_folders
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_task_loads_and_says_what_it_is(name: str) -> None:
    task = task_of(name)
    assert task.source.hub is not None
    assert task.source.folder is not None
    assert set(task.splits) == {"pool", "select", "report"}
    assert all([task.description, task.licence, task.domain])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_at_least_five_templates_one_of_them_plain(name: str) -> None:
    stems = {template.name.split("/")[1] for template in load_templates(task_of(name), SEARCH)}
    assert len(stems) >= 5
    assert "plain" in stems


@pytest.mark.parametrize("name", PROMPTS)
def test_a_template_loads_for_its_task(name: str) -> None:
    template = load_template(ROOT / "prompts" / f"{name}.jinja", task_of(name.split("/")[0]))
    assert template.name == name


def test_a_checkout_finds_its_own_files() -> None:
    assert shipped_root() == ROOT


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without the network."""
    pytest.importorskip("hatchling", reason="building a wheel offline needs hatchling installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--wheel-dir", str(folder)]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--no-cache-dir"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The files of the wheel, unpacked."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "installed")
    return wheel.parent / "installed"


def test_the_wheel_carries_tasks_and_prompts(installed: Path) -> None:
    for folder in ("tasks", "prompts"):
        shipped, ours = installed / "harness/shipped" / folder, ROOT / folder
        files = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file()}
        assert {path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file()} == files
        assert all((shipped / path).read_bytes() == (ours / path).read_bytes() for path in files)


def test_the_wheel_carries_the_package_and_nothing_else(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"harness"}
    shipped, ours = (
        {path.relative_to(root) for path in root.joinpath("harness").rglob("*.py")} for root in (installed, ROOT)
    )
    assert shipped == ours


def test_an_installed_copy_lists_the_tasks_from_any_folder(installed: Path, tmp_path: Path) -> None:
    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    origin = python("-c", "import harness; print(harness.__file__)").stdout
    assert Path(origin.strip()).is_relative_to(installed)
    done = python("-m", "harness", "list", "tasks")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == TASKS
    assert "invalid" not in done.stdout


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment_does_the_main_job(wheel: Path, tmp_path: Path) -> None:
    """Installed with its dependencies alone, run from an empty folder, by a user with an empty home and no hub."""
    bin_ = tmp_path / "environment" / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([sys.executable, "-m", "venv", str(bin_.parent)], check=True)
    install = [str(bin_ / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--constraint", str(ROOT / "constraints.txt")]
    if subprocess.run([*install, "jinja2"], capture_output=True, check=False).returncode:
        pytest.skip("no package index can be reached")
    subprocess.run([*install, "torch"], check=True)
    subprocess.run([*install, str(wheel)], check=True)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "HF_ENDPOINT": "http://127.0.0.1:9",  # a hub that nobody answers at
        "OMP_NUM_THREADS": "1",
    }
    command = [str(bin_ / "harness"), "run", "--tasks", "sst2", "--shots", "0,4", "--prompts", "plain,terse", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["data"], row["model"], row["n"], row["templates"]) for row in rows] == [
        ("sample", "builtin", 300, 2)
    ] * 2
    assert {row["shots"] for row in rows} == {0, 4}
    assert max(row["accuracy"]["mean"] for row in rows) > 0.6
    assert "the small built-in sample is used" in done.stderr
    assert "Traceback" not in done.stderr


# With the real data


@pytest.fixture(scope="module", params=TASKS)
def data(request: pytest.FixtureRequest, shared_data: Path) -> TaskData:
    task = task_of(request.param)
    return load_data(task, FolderSource(shared_data, task), ["report", "pool"])


def test_the_reported_items_are_counted(data: TaskData) -> None:
    items = data.role("report")
    total, by_label = COUNTS[data.task.name]
    assert len(items) == total
    if by_label is not None:
        counts = Counter(example.gold for example in items)
        assert [counts[label] for label in range(len(by_label))] == by_label


def test_every_template_renders_on_real_items_with_demonstrations(data: TaskData) -> None:
    items = limited(data.role("report"), 20, 0)
    drawing = Demonstrations(data.task.name, data.role("pool"), "balanced", 0)
    seen = set()
    for template in load_templates(data.task, SEARCH):
        renderer = Renderer(template)
        prompts = [renderer.prompt(item, drawing.draw(item, 2)) for item in items]
        for item, prompt in zip(items, prompts, strict=True):
            assert len(prompt.demo_ids) == 2
            assert {answer.label for answer in prompt.answers} == set(range(len(item.options)))
            assert all(answer.scored.strip() for answer in prompt.answers)
            assert len({(answer.given, answer.scored) for answer in prompt.answers}) == len(prompt.answers)
        seen.add(tuple((prompt.text, prompt.answers) for prompt in prompts))
    assert len(seen) == len(load_templates(data.task, SEARCH)), "two templates give the same prompts"


def test_a_query_shows_the_item_and_not_its_gold(data: TaskData) -> None:
    """Whatever the gold label is, the model is given and scored on the same texts."""
    for template in load_templates(data.task, SEARCH):
        for item in limited(data.role("report"), 5, 0):
            found = {shown(template, item, gold) for gold in range(len(item.options))}
            assert len(found) == 1


def shown(template: Template, item: Example, gold: int) -> tuple[object, ...]:
    relabelled = Example(item.item_id, item.fields, item.options, gold, item.cluster, item.place)
    prompt = Renderer(template).prompt(relabelled, ())
    return prompt.text, prompt.answers
