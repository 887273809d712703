"""Configuration files are checked strictly, and the messages name file and key."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from latentsync.config import dump_config, load_config, read_yaml, save_config
from latentsync.errors import ConfigError


@dataclass
class Run:
    steps: int = 20
    guidance: float = 1.5


@dataclass
class Sample:
    name: str = "a"
    run: Run = field(default_factory=Run)


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_values_and_defaults(tmp_path):
    config = load_config(write(tmp_path, "a.yaml", "run:\n  steps: 5\n"), Sample)
    assert config == Sample(run=Run(steps=5))


def test_base_gives_what_the_file_leaves_out(tmp_path):
    write(tmp_path, "base.yaml", "name: b\nrun:\n  steps: 5\n")
    config = load_config(write(tmp_path, "a.yaml", "base: base.yaml\nrun:\n  guidance: 2\n"), Sample)
    assert config == Sample(name="b", run=Run(steps=5, guidance=2.0))


def test_a_base_of_a_base_is_refused(tmp_path):
    write(tmp_path, "c.yaml", "name: c\n")
    write(tmp_path, "b.yaml", "base: c.yaml\n")
    with pytest.raises(ConfigError, match="base of its own"):
        read_yaml(write(tmp_path, "a.yaml", "base: b.yaml\n"))


def test_overrides_come_last(tmp_path):
    assert load_config(write(tmp_path, "a.yaml", "run: {steps: 5}"), Sample, ["run.steps=7"]).run.steps == 7


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("run: {step: 5}", "step"),
        ("run: {steps: many}", "run.steps"),
        ("- 1\n- 2", "mapping"),
        ("a: [1", "not a YAML"),
        ("name: ${nowhere}", "nowhere"),
        ("base: missing.yaml", "missing.yaml"),
        ("name: ${a", "at 'name'"),
        ("name: a\nname: b", "line 2: found duplicate key name"),
        ("run:\n\tsteps: 1", "line 2"),
    ],
)
def test_mistakes_are_named(tmp_path, text, named):
    path = write(tmp_path, "wrong.yaml", text)
    with pytest.raises(ConfigError, match=named):
        load_config(path, Sample)


@pytest.mark.parametrize("override", ["run.step=7", "run.steps=[1", "run.steps=${x", "run.steps=many", "steps", "=1"])
def test_a_wrong_override_is_named(tmp_path, override):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "a.yaml", "run: {steps: 5}"), Sample, [override])
    assert override in error.value.message


def test_a_saved_config_reads_back_equal(tmp_path):
    config = Sample(name="x", run=Run(steps=3))
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml", Sample) == config
    assert "guidance: 1.5" in dump_config(config)
