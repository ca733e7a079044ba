"""What the documents say can be typed: commands and flags that exist, files that are there, calls that answer."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from lit_rec.cli.main import TRAINING_COMMANDS, parse
from lit_rec.core import schema
from lit_rec.service.settings import PREFIX, ServiceSettings

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "docs" / "serve.md"
READMES = [ROOT / "README.md", ROOT / "bento" / "README.md", ROOT / "deploy" / "README.md"]
DOCUMENTS = [*READMES, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

MODEL, CORPUS = "models/quickstart/final", "processed/complete_journey_p5_mp20_ef0.3_roll4/eval_corpus.json"


def blocks(document, language):
    return [text for found, text in FENCE.findall(document.read_text(encoding="utf-8")) if found == language]


def commands(text):
    """Lines of a block, joined where a backslash or an open quote continues them."""
    found, open_line = [], ""
    for line in text.splitlines():
        open_line += line
        if open_line.endswith("\\"):
            open_line = open_line[:-1]
            continue
        try:
            shlex.split(open_line, comments=True)
        except ValueError:
            open_line += "\n"
            continue
        if shlex.split(open_line, comments=True):
            found.append(open_line)
        open_line = ""
    assert not open_line, f"never closed: {open_line}"
    return found


OF_COMMANDS = [
    pytest.param(words, id=" ".join(words[3:6]))
    for document in DOCUMENTS
    for block in blocks(document, "bash")
    for command in commands(block)
    if (words := shlex.split(command, comments=True))[:3] == ["python", "-m", "lit_rec"]
    and not {"...", "--help"} & {*words}
]


@pytest.mark.parametrize("words", OF_COMMANDS)
def test_every_command_and_flag_is_one_that_there_is(words):
    if words[3] not in TRAINING_COMMANDS:
        parse(words[3:])
    for flag, value in pairwise(words):
        if flag == "--config":
            assert (ROOT / value).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_every_script_that_is_named_is_there(document):
    for name in re.findall(r"(?:bash|python) (scripts/[\w/.]+)", document.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name


def test_the_service_is_told_in_the_order_of_use():
    headings = re.findall("^## (.+)$", SERVE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:5] == ["Start", "curl", "Python client", "Containerize", "Deploy"]


def test_every_call_of_the_table_has_a_test_and_every_route_a_row(tmp_path):
    from lit_rec.service.app import create_app

    table = SERVE.read_text(encoding="utf-8").partition("## Every call")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    there = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "service").glob("test_*.py"))
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names or "`test_page*.py`" in row, row
        assert not [name for name in names if f"def {name}(" not in there]
    paths = create_app(ServiceSettings(_env_file=None, bundle=tmp_path)).openapi()["paths"]
    told = "\n".join(rows)
    assert not [path for path in paths if f"{path}`" not in told and not path.startswith("/page")]


def test_the_settings_that_are_named_are_settings():
    named = set(re.findall(r"\b([A-Z][A-Z_]{3,})=", SERVE.read_text(encoding="utf-8")))
    assert named <= {f"{PREFIX}{name.upper()}" for name in ServiceSettings.model_fields} | {"BENTOML_HOME"}


@contextmanager
def serving(command, folder, environment):
    """The command in a process group of its own, until it is ready; ended by SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (folder / "serve.log").open("w")
    server = subprocess.Popen(
        ["bash", "-c", f"exec env {command} --port {port}"],
        env=environment,
        cwd=ROOT,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/ready", server, Path(log.name))
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        log.close()


def _wait_until_ready(url, server, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture
def shop(tiny_model, processed_dir, tmp_path):
    """The tiny model with a ranker, and an environment with a BentoML of its own."""
    from lit_rec.cli.main import main

    folder = Path(shutil.copytree(tiny_model, tmp_path / "tiny" / "final"))
    (folder / schema.MODEL_RECORD).write_text(json.dumps({"data": {}}))
    small = ["--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "1"]
    main(["fit_ranker", "--model_dir", str(folder), "--processed_dir", str(processed_dir), *small])
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "LIT_REC_FEEDBACK_DB_PATH": str(tmp_path / "feedback.db"),
    }
    corpus = processed_dir / schema.EVAL_CORPUS
    return lambda command: command.replace(MODEL, str(folder)).replace(CORPUS, str(corpus)), environment


def run(command, environment):
    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


# What the first block of Serve begins with, which the environment that runs this has behind it.
BEFORE = ("bash scripts/quickstart.sh", "source .venv/bin/activate", "pip install ")


@pytest.mark.slow  # two servers, each a process that imports torch
@pytest.mark.timeout(600)
def test_the_commands_of_the_service_work_in_their_order(shop, tmp_path):
    ours, environment = shop
    serve, from_clone = blocks(SERVE, "bash")[:2]
    *made, served = [command for command in commands(serve) if not command.startswith(BEFORE)]
    for command in made:
        run(ours(command), environment)
    with serving(ours(served), tmp_path, environment) as port:
        here = lambda text: text.replace("localhost:3000", f"127.0.0.1:{port}")  # noqa: E731
        calls = [command for block in blocks(SERVE, "bash") for command in commands(block) if "curl" in command]
        answers = [run(here(command).replace("curl -s", "curl -sS --fail-with-body"), environment) for command in calls]
        assert len(answers) == 7
        recommended = [json.loads(answer)["recommendations"] for answer in answers[:3]]
        assert [len(each) for each in recommended] == [5, 5, 5]
        assert all("reason" in item for item in recommended[1])
        assert json.loads(answers[3])["count"] == 2
        assert 'feedback_events_total{event_type="click"} 1.0' in answers[-1]
        (client,) = blocks(SERVE, "python")
        (tmp_path / "client.py").write_text(here(client))
        assert len(run(f"python {tmp_path / 'client.py'}", environment).splitlines()) == 5
    (again,) = commands(from_clone)
    with serving(ours(again), tmp_path, environment) as port:
        answer = run(f"curl -sS --fail-with-body 127.0.0.1:{port}/ready", environment)
        assert json.loads(answer)["status"] == "ready"
