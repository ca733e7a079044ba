"""Every committed config parses, and each of its settings arrives."""

from pathlib import Path

import pytest
import yaml

from lit_rec.cli.main import main

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("**/*.yaml"))


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["lit_rec"])  # LightningCLI warns where pytest's is there too


def name_of(file):
    return file.relative_to(CONFIGS).as_posix()


def layers(file):
    """A preset is laid over the quickstart; any other config stands alone."""
    return [CONFIGS / "quickstart.yaml", file] if file.parent.name == "presets" else [file]


def missing(asked, parsed, path=""):
    """Where a config asks for something that is not in what was parsed of it."""
    if isinstance(asked, dict) and isinstance(parsed, dict):
        return [place for name in asked for place in missing(asked[name], parsed.get(name, ...), f"{path}.{name}")]
    if isinstance(asked, list) and isinstance(parsed, list) and len(asked) == len(parsed):
        return [place for a, b in zip(asked, parsed, strict=True) for place in missing(a, b, f"{path}[]")]
    return [] if asked == parsed else [path]


def parse(files, capsys, *words):
    """Parse as ``fit`` does, and return what it would run with, without running it."""
    options = [word for file in files for word in ("--config", str(file))]
    with pytest.raises(SystemExit) as caught:
        main(["fit", *options, *words, "--print_config"])
    printed = capsys.readouterr()
    assert caught.value.code == 0, printed.err
    return yaml.safe_load(printed.out)


def test_the_configs_are_there():
    assert {"quickstart.yaml", "presets/debug.yaml", "presets/overfit.yaml"} <= set(map(name_of, FILES))
    assert len(FILES) >= 5, "the quickstart, the presets, and one for each dataset"
    assert not list(CONFIGS.glob("**/*.yml")), "one ending for all, so that none is missed here"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_parses_and_every_setting_arrives(file, capsys):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content, "an empty config"
    assert missing(content, parse(layers(file), capsys)) == []


def test_a_flag_overrides_a_file(capsys):
    parsed = parse([CONFIGS / "quickstart.yaml"], capsys, "--model.learning_rate", "0.125", "--trainer.max_epochs=7")
    assert (parsed["model"]["learning_rate"], parsed["trainer"]["max_epochs"]) == (0.125, 7)


@pytest.mark.parametrize("line", ["model: {learning_rat: 1.0e-3}", "trainer: {max_epochs: many}", "surplus: 1"])
def test_a_mistake_in_a_config_is_refused(tmp_path, capsys, line):
    file = tmp_path / "wrong.yaml"
    file.write_text(line + "\n")
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--config", str(CONFIGS / "quickstart.yaml"), "--config", str(file), "--print_config"])
    assert caught.value.code == 2
    assert line.split(":")[-2].strip(" {") in capsys.readouterr().err
