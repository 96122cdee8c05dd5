"""deploy/: what its files say is what the command line, the settings and each other say; without a container."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from headgate.cli import app
from headgate.serve import read_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SERVE = typer.main.get_command(app).commands["serve"]
CONTAINERFILE = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text("utf-8"))
UNIT = (DEPLOY / "headgate.service").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def instructions(name):
    return [words for said, words in re.findall(r"^([A-Z]+) +(.*)$", CONTAINERFILE, re.MULTILINE) if said == name]


def exec_form(words):
    return yaml.safe_load(words[words.index("[") :])


def options(words):
    """What the command line understands of them; it refuses what it does not have."""
    assert [Path(words[0]).name, words[1]] == ["headgate", "serve"]
    return SERVE.make_context("serve", list(words[2:])).params


@pytest.fixture(scope="module")
def unit():
    return dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line and not line.startswith("#"))


@pytest.fixture(scope="module")
def settings():
    return read_settings(DEPLOY / "serve.yaml")


def test_the_example_of_settings_can_be_read(settings):
    assert list(settings.routers) == ["desk"]
    assert settings.keys is None


def test_containers_start_what_there_is():
    given = exec_form(instructions("ENTRYPOINT")[0]) + COMPOSE["services"]["headgate"]["command"]
    said = options(given)
    assert said["host"] == "0.0.0.0"
    assert not said["anybody"], "keys are asked for"
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["headgate"]["volumes"]]
    assert str(said["config"]) in mounted


def test_ports_agree(unit):
    (port,) = instructions("EXPOSE")
    assert options(exec_form(instructions("ENTRYPOINT")[0]))["port"] == int(port)
    assert f"127.0.0.1:{port}/ready" in instructions("HEALTHCHECK")[0]
    assert [one.split(":")[-1] for one in COMPOSE["services"]["headgate"]["ports"]] == [port]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == [f"headgate:{port}"]
    assert options(shlex.split(unit["ExecStart"]))["port"] == int(port)


def test_the_health_check_is_python():
    compile(exec_form(instructions("HEALTHCHECK")[0])[2], "HEALTHCHECK", "exec")


def test_there_is_time_to_drain(settings, unit):
    needed = settings.limits.linger + settings.limits.drain
    assert int(unit["TimeoutStopSec"]) > needed
    assert int(COMPOSE["services"]["headgate"]["stop_grace_period"].removesuffix("s")) > needed


def test_the_image_is_built_from_what_is_there_and_sent():
    sent = (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").split()
    for words in instructions("COPY"):
        sources = words.split()[:-1]
        for source in [] if sources[0].startswith("--from") else sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in sent
    metadata = (ROOT / "pyproject.toml").read_text("utf-8")
    extras = re.search(r"\.\[([\w,]+)\]", CONTAINERFILE)[1].split(",")
    assert all(re.search(rf"^{extra} = \[", metadata, re.MULTILINE) for extra in extras)


def test_the_image_runs_without_root():
    last = CONTAINERFILE[CONTAINERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE)
    assert last.index("\nUSER ") < last.index("\nENTRYPOINT ")
    writable = re.search(r"^VOLUME (\S+)$", last, re.MULTILINE)[1]
    assert set(re.findall(r"(?:HEADGATE_CACHE|HF_HOME)=([^\s/]*/\w+)", last)) == {writable}
    assert COMPOSE["services"]["headgate"]["read_only"] is True


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.y*ml")), ids=lambda path: path.name)
def test_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


def test_gpus_build_another_torch():
    added = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text("utf-8"))["services"]["headgate"]
    assert set(added["build"]["args"]) <= {words.split("=")[0] for words in instructions("ARG")}


def test_the_unit_reloads_and_gives_up_on_a_file_that_is_wrong(unit):
    assert unit["ExecReload"].endswith("kill -HUP $MAINPID")
    assert unit["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_understands_the_unit(tmp_path):
    path = tmp_path / "headgate.service"
    path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_cannot_be_served_ends_with_status_2(tmp_path):
    wrong = tmp_path / "serve.yaml"
    wrong.write_text("headgate: 1\nrerankers: {default: /nowhere/at/all}\n")
    done = subprocess.run(
        [sys.executable, "-c", "from headgate.cli import app; app()", "serve", "--config", wrong, "--port", "0"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
