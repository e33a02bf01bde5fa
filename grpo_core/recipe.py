"""Recipes: reading, overriding, changing while a run goes on, and saying what is wrong."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from grpo_core.algorithms import row_of
from grpo_core.config import RunConfig, Section
from grpo_core.data_config import HUB, own_settings

S = TypeVar("S", bound=Section)


def parse_config(values: Any, source: str = "recipe") -> RunConfig:
    """Check `values` (nested dicts) against the schema.

    Raises ValueError with one sentence per problem, each naming the key and what would be right.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source}: expected a mapping of sections such as `model:` and `data:`")
    return checked(RunConfig, values, source)


def checked(kind: type[S], values: dict[str, Any], source: str) -> S:
    """Settings of one kind, checked; ValueError as `parse_config` raises it."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ValueError(f"{source}: " + "; ".join(lines)) from None


def load_recipe(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML recipe and apply `key.path=value` overrides (values parse as YAML).

    Relative reward and data paths of the recipe are taken from the recipe's own folder if they
    exist there, else from the current folder. Raises ValueError on anything that is not a recipe.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such recipe; `grpo-studio train bundled` always works"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not valid YAML: {_one_line(error)}") from None
    values = _change_task(_change_row(values, overrides or []), overrides or [])
    values = apply_overrides(values if values is not None else {}, overrides or [])
    return _with_absolute_paths(parse_config(values, path.name), path.parent)


def _change_row(values: Any, overrides: list[str]) -> Any:
    """The recipe without what only spells out its own row, where an override names another one.

    A complete recipe, such as a run's `config.yaml`, states every knob of its row; kept, they would
    make the new name a mere label. What differs from the old row was chosen, and stays.
    """
    names = [o.partition("=")[2].strip() for o in overrides if o.startswith("algorithm.name=")]
    algorithm = values.get("algorithm") if isinstance(values, dict) else None
    if not names or not isinstance(algorithm, dict):
        return values
    row = row_of(algorithm)
    if row is None or names[-1] == algorithm.get("name", "deepseekmath"):
        return values
    chosen = {k: v for k, v in algorithm.items() if k not in row.settings or v != row.settings[k]}
    kept = {key: value for key, value in values.items() if key != "critic"}
    return {**kept, "algorithm": {key: v for key, v in chosen.items() if v is not None}}


def _change_task(values: Any, overrides: list[str]) -> Any:
    """The recipe without what only spells out its own task (columns, prompt template), where an
    override names another one: as with the row of the algorithm."""
    names = [o.partition("=")[2].strip() for o in overrides if o.startswith("data.task=")]
    data = values.get("data") if isinstance(values, dict) else None
    if not names or not isinstance(data, dict) or names[-1] == data.get("task"):
        return values
    own = own_settings(str(data.get("task")))
    chosen = {key: v for key, v in data.items() if key not in own or v != own[key]}
    return {**values, "data": chosen}


def apply_overrides(values: Any, overrides: list[str]) -> Any:
    """A copy of `values` with each `key.path=value` set; lists by index (`rewards.0.weight`)."""
    values = yaml.safe_load(yaml.safe_dump(values))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ValueError(
                f"{override}: write key.path=value, for example optim.learning_rate=1e-4"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{key}: {text!r} is not valid YAML: {_one_line(error)}") from None
        _set_path(values, key.strip().split("."), value, key)
    return values


def _set_path(node: Any, path: list[str], value: Any, key: str) -> None:
    for part in path[:-1]:
        if isinstance(node, list):
            node = node[_index(node, part, key)]
        elif isinstance(node, dict):
            if node.get(part) is None:  # a section that is empty so far
                node[part] = {}
            node = node[part]
        else:
            raise ValueError(f"{key}: {part} has no settings inside")
    if isinstance(node, list):
        node[_index(node, path[-1], key)] = value
    elif isinstance(node, dict):
        node[path[-1]] = value
    else:
        raise ValueError(f"{key}: {path[-2]} has no settings inside")


def _index(items: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ValueError(f"{key}: expected a number below {len(items)} in place of {part!r}")
    return int(part)


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    def absolute(path: str | None) -> str | None:
        if path is None or path.startswith(HUB) or Path(path).is_absolute():
            return path
        beside = folder / path
        return str((beside if beside.exists() else Path(path)).resolve())

    rewards = [r.model_copy(update={"path": absolute(r.path)}) for r in config.rewards]
    data = config.data.model_copy(
        update={"path": absolute(config.data.path), "eval_path": absolute(config.data.eval_path)}
    )
    return config.model_copy(update={"rewards": rewards, "data": data})


def to_yaml(config: RunConfig) -> str:
    """The complete, resolved recipe as YAML text."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


# --- changing a running run ----------------------------------------------------------------------


def live_keys() -> list[str]:
    """The dotted keys that `grpo-studio set` may change while a run goes on."""
    keys = []
    for name, field in RunConfig.model_fields.items():
        section = section_of(field)
        if section is not None:
            keys += [
                f"{name}.{key}" for key, knob in section.model_fields.items() if _is_live(knob)
            ]
        elif _is_live(field):
            keys.append(name)
    return keys


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field of the recipe holds, None for a plain value."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)


def change_live(config: RunConfig, overrides: list[str]) -> RunConfig:
    """`config` with live knobs changed; ValueError names a knob that is fixed for the whole run."""
    allowed = live_keys()
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in allowed:
            raise ValueError(
                f"{key}: cannot be changed while the run goes on; these can: {', '.join(allowed)}"
            )
    return parse_config(apply_overrides(config.model_dump(mode="json"), overrides), "set")


def _is_live(field: Any) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("live"))


# --- messages ------------------------------------------------------------------------------------


def _explain(problem: Any) -> str:
    """One pydantic error as `key: what is wrong and what to do`."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        close = difflib.get_close_matches(location[-1], known, 1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    if problem["type"] == "model_type":  # pydantic names a class of ours
        return f"{key}: expected settings ({', '.join(_keys_at(location))}), got {given!r}"
    if problem["type"] == "value_error" or isinstance(given, dict | list):
        return f"{key}: {message}" if key else message
    return f"{key}: {message[0].lower()}{message[1:]}, got {given!r}"


def _keys_at(location: list[str]) -> list[str]:
    section: type[Section] = RunConfig
    for part in location:
        if part in section.model_fields:  # else the index of a reward in its list
            section = section_of(section.model_fields[part]) or section
    return list(section.model_fields)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
