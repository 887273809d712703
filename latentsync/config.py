"""Strict YAML configuration: a dataclass says which keys there are, of which type, with which default.

A file may name one other file as ``base:`` (relative to itself) and then gives only what differs; the base may not have
a base of its own. An unknown key, a wrong type or a missing value is a ``ConfigError`` that names file and key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from latentsync.atomic import write_text
from latentsync.errors import ConfigError
from latentsync.places import find

Schema = TypeVar("Schema")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file with its ``base:`` merged in, interpolations resolved, no schema applied.

    Files that come with the program, as configs/unet/stage1.yaml, are found from any folder. Raises ``ConfigError`` if
    the file is missing, is not YAML, is not a mapping, or chains more than one base.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    path = find(path)
    config = _load_mapping(path)
    base_name = config.pop("base", None)
    if base_name is not None:
        base_path = path.parent / str(base_name)
        base = _load_mapping(base_path)
        if "base" in base:
            raise ConfigError(
                f"{path}: its base {base_path} has a base of its own.",
                remedy="Bases go one level deep: name the first file and repeat the lines that differ.",
            )
        config = OmegaConf.merge(base, config)
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_reason(error)}.", remedy="Mend the interpolation in that file.") from error


def load_config(path: str | Path, schema: type[Schema], overrides: Sequence[str] = ()) -> Schema:
    """Read ``path`` into an instance of the dataclass ``schema``; ``overrides`` are ``section.key=value`` strings.

    Raises ``ConfigError`` as ``read_yaml`` does, and for unknown keys, wrong types and missing values.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    mapping: Any = read_yaml(path)
    if not overrides:
        return build_config(mapping, schema, source=str(path))
    given = " ".join(overrides)
    try:
        mapping = OmegaConf.merge(mapping, OmegaConf.from_dotlist(list(overrides)))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"{given} cannot be read: {_reason(error)}.", remedy="Give section.key=value, in quotes if it has blanks."
        ) from error
    return build_config(mapping, schema, source=f"{path} with {given}")


def build_config(mapping: Any, schema: type[Schema], source: str) -> Schema:
    """An instance of the dataclass ``schema`` from a mapping; ``source`` names it in the ``ConfigError``."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.merge(OmegaConf.structured(schema), mapping)
        _find_files(config)
        return cast(Schema, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"{source}: {_reason(error)}.",
            remedy="Compare with the files under configs/: keys are checked strictly.",
        ) from error


def dump_config(config: object) -> str:
    """YAML text of a configuration object, every default spelled out."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def save_config(config: object, path: str | Path) -> None:
    """Write ``dump_config`` beside the run that used it."""
    write_text(Path(path), dump_config(config))


def _find_files(config: Any) -> None:
    """Have files that come with the program, such as checkpoints/vae, found from any folder (``places.find``)."""
    from omegaconf import DictConfig, OmegaConf

    for key in config:
        if OmegaConf.is_missing(config, key):
            continue
        value = config[key]
        if isinstance(value, DictConfig):
            _find_files(value)
        elif isinstance(value, str) and value.startswith(("configs/", "checkpoints/", "assets/")):
            config[key] = str(find(value))


def _load_mapping(path: Path) -> Any:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        raise ConfigError(f"There is no configuration file {path}.", remedy="The shipped ones are under configs/.")
    try:
        config = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a YAML file: {_reason(error)}.", remedy="Mend it there.") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_reason(error)}.", remedy="Mend the interpolation in that file.") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path} holds no mapping of keys to values.", remedy="See the files under configs/.")
    return config


def _reason(error: BaseException) -> str:
    """What is wrong, in one line, with the key or the line of the file if the library says which."""
    from yaml import MarkedYAMLError

    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    key = getattr(error, "full_key", None)  # OmegaConf's
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{text} at '{key}'" if key else text
