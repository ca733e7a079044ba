"""Settings of the service: environment variables, over a file of them, over defaults."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import limits
from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from lit_rec.artifacts.model_folder import own_processed_folder
from lit_rec.core import schema
from lit_rec.core.errors import LitRecError, SettingError
from lit_rec.core.former_names import VARIABLES, present_variables
from lit_rec.service.body_reader import ANY_ORIGIN
from lit_rec.service.limits import IN_MEMORY

SETTINGS_FILE = "LIT_REC_SETTINGS"
"""Environment variable that names the file of settings; without it, ``.env`` of the working folder."""

PREFIX = "LIT_REC_"
"""Of the variables; names without it are those of the seed, and may be another program's."""

DEFAULT_ARM = "default"
"""Name of the arm where there is one model."""


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"there is no {path}")
    return path


def _split(value: object) -> object:
    return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if value != ANY_ORIGIN and (not parts.netloc or value != f"{parts.scheme}://{parts.netloc}"):
        raise ValueError(f"'{value}' is no origin, as https://shop.example is: scheme and host, no path")
    return value


def _rate_limit(value: str) -> str:
    if value.strip().lower() in {"", "off"}:
        return ""
    if any(each.amount < 1 for each in limits.parse_many(value)):
        raise ValueError("a limit allows at least one request; `off` switches limits off")
    return value


def _rate_limit_storage(value: str) -> str:
    if value != IN_MEMORY and value.partition("://")[0] not in {"redis", "rediss"}:
        raise ValueError(f"must be {IN_MEMORY}, redis://host:port or rediss://host:port")
    return value


_ABSENT_IF_EMPTY = BeforeValidator(_absent_if_empty)
_COMMA_SEPARATED = BeforeValidator(_split)
_OF_JSON = BeforeValidator(lambda value: json.loads(value or "{}") if isinstance(value, str) else value)
_IN_CAPITALS = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)

_ExistingPath = Annotated[Path, AfterValidator(_existing)]
_Origin = Annotated[str, AfterValidator(_origin)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ArmSettings(BaseModel):
    """One model behind the service.

    Args:
        bundle: folder that ``package`` wrote; or
        model_dir: model folder or hub id, and
        corpus_path: its catalogue, product id to text; by default that of the processed folder which the model records.
        weight: share of the users, relative to the other arms'.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    bundle: _ExistingPath | None = None
    model_dir: str | None = None
    corpus_path: _ExistingPath | None = None
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if self.bundle is not None and (self.model_dir or self.corpus_path):
            raise ValueError("name a bundle, or a model_dir with its corpus_path, not both")
        if self.bundle is None and not self.model_dir:
            raise ValueError("name a bundle or a model_dir")
        if self.model_dir and self.corpus_path is None:
            self.corpus_path = _own_corpus(self.model_dir)
        return self


def _own_corpus(model_dir: str) -> Path:
    try:
        folder = own_processed_folder(model_dir) if Path(model_dir).is_dir() else None
    except LitRecError as error:
        raise ValueError(f"the model's own catalogue cannot be taken, so name a corpus path: {error}") from error
    if folder is None:
        raise ValueError("the model records no catalogue of its own: name a corpus path, such as an eval_corpus.json")
    return folder.path / schema.EVAL_CORPUS


class ServiceSettings(BaseSettings):
    """All settings; each is an environment variable ``LIT_REC_NAME``, or a line of the settings file.

    ``LIT_REC_SETTINGS`` names the file; else ``.env`` of the working folder is read where there is one. A variable wins
    over the file. Names without the prefix are read too, where there is none with it. ``docs/settings.md`` is written
    from the descriptions below.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, protected_namespaces=())

    bundle: Annotated[_ExistingPath | None, _ABSENT_IF_EMPTY] = Field(
        None, description="Folder that `package` wrote: model, catalogue, index, users."
    )
    model_dir: Annotated[str | None, _ABSENT_IF_EMPTY] = Field(
        None, description="Model folder or hub id, instead of a bundle.", examples=["models/a/final"]
    )
    corpus_path: Annotated[_ExistingPath | None, _ABSENT_IF_EMPTY] = Field(
        None,
        description="Catalogue of `LIT_REC_MODEL_DIR`: JSON file, product id to text; by default that of the processed "
        "folder which the model records.",
    )
    arms: Annotated[dict[str, ArmSettings], NoDecode, _OF_JSON] = Field(
        default_factory=dict,
        description="Several models, split by user: JSON, name to `bundle` (or `model_dir`, `corpus_path`), `weight`.",
        examples=['{"a": {"bundle": "bundles/a"}, "b": {"bundle": "bundles/b", "weight": 0.5}}'],
    )
    users_path: Annotated[_ExistingPath | None, _ABSENT_IF_EMPTY] = Field(
        None,
        description="Users that are known by `user_id`; by default the bundle's, or `eval_queries.json` beside "
        "the catalogue.",
    )

    inference_device: Annotated[str | None, _ABSENT_IF_EMPTY] = Field(
        None, description="`cuda`, `mps` or `cpu`; by default the best there is."
    )
    encoder_threads: int = Field(2, ge=1, le=64, description="Threads that encode texts, of each arm, a core each.")
    ranking_threads: int = Field(2, ge=1, le=64, description="Threads that rank the catalogue, of each arm.")
    max_batch_size: int = Field(16, ge=1, le=1024, description="Texts encoded at a time, as many as wait.")
    max_waiting: int = Field(128, ge=1, description="Requests that may wait for a thread; more are refused with 503.")
    request_deadline_seconds: _Seconds = Field(10.0, description="A request that waited longer is refused with 503.")

    feedback_db_path: str = Field(
        "data/feedback.db", min_length=1, description="Feedback store: a file of SQLite, or a PostgreSQL URL."
    )
    store_exposures: bool = Field(True, description="Store what was recommended, so that feedback can be joined to it.")

    api_key: Annotated[tuple[SecretStr, ...], NoDecode, _COMMA_SEPARATED] = Field(
        (), description="Keys that are accepted, separated by commas; without one anybody may ask."
    )
    metrics_key: Annotated[SecretStr | None, _ABSENT_IF_EMPTY] = Field(
        None, description="Key that `/metrics` asks for, as a Bearer token; without it `/metrics` is open."
    )
    rate_limit: Annotated[str, AfterValidator(_rate_limit)] = Field(
        "600/minute",
        description="Requests of one caller (key, else address) to one route, such as `60/minute` or "
        "`5/second;1000/hour`; `off` for no limit.",
    )
    rate_limit_storage: Annotated[str, AfterValidator(_rate_limit_storage)] = Field(
        IN_MEMORY, description="Where they are counted: `memory://`, or `redis://host:6379` for several replicas."
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024, description="Larger bodies are refused with 413.")
    max_held_bytes: int = Field(
        33_554_432,
        ge=1_024,
        description="Bodies of all requests that are being answered; beyond it, more are refused with 503.",
    )
    body_timeout_seconds: _Seconds = Field(15.0, description="A body that takes longer to arrive is refused with 408.")
    max_connections: int = Field(
        1_000, ge=1, description="Connections of the server; beyond it, the one that has asked least lately is closed."
    )
    header_timeout_seconds: _Seconds = Field(
        10.0, description="A connection that takes longer to say what it wants is closed."
    )
    cors_origins: Annotated[tuple[_Origin, ...], NoDecode, _COMMA_SEPARATED] = Field(
        (),
        description="Web sites whose pages may call this service from a browser, separated by commas, or `*`; by "
        "default none.",
        examples=["https://shop.example"],
    )

    serve_page: bool = Field(True, description="Serve the page at `/`.")
    serve_users: bool = Field(
        True,
        description="Let the page, and the reasons of `/recommend` for a bare `user_id`, show what known users have "
        "bought: to anybody, where there is no `LIT_REC_API_KEY`.",
    )
    serve_docs: bool = Field(True, description="Serve `/docs`, `/redoc` and `/openapi.json`.")
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="After SIGTERM `/ready` says 503 for so long before the server closes its socket.",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _IN_CAPITALS] = Field(
        "INFO", description="Of the JSON lines on stderr."
    )

    @model_validator(mode="after")
    def _names_one_model(self) -> Self:
        ways = [bool(self.bundle), bool(self.model_dir), bool(self.arms)]
        if sum(ways) > 1:
            raise ValueError(
                "LIT_REC_BUNDLE, LIT_REC_MODEL_DIR and LIT_REC_ARMS are three ways to name a model: set one of them"
            )
        if not any(ways):
            raise ValueError("no model is named: set LIT_REC_BUNDLE, LIT_REC_MODEL_DIR or LIT_REC_ARMS")
        if self.model_dir and self.corpus_path is None:
            _own_corpus(self.model_dir)  # says so at the start where there is none
        return self

    def named_arms(self) -> dict[str, ArmSettings]:
        """The models by name; a single one is called ``default``."""
        if self.arms:
            return dict(self.arms)
        if self.bundle is not None:
            return {DEFAULT_ARM: ArmSettings(bundle=self.bundle)}
        return {DEFAULT_ARM: ArmSettings(model_dir=self.model_dir, corpus_path=self.corpus_path)}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, and that over the file; each name with the prefix over any without."""
        assert isinstance(dotenv_settings, DotEnvSettingsSource), "pydantic-settings makes it so"
        short = EnvSettingsSource(settings_cls, env_prefix="")
        file, encoding = dotenv_settings.env_file, dotenv_settings.env_file_encoding
        short_of_file = DotEnvSettingsSource(settings_cls, file, encoding, env_prefix="")
        assert isinstance(env_settings, EnvSettingsSource), "pydantic-settings makes it so"
        for source in (env_settings, dotenv_settings, short, short_of_file):
            source.env_vars = present_variables(source.env_vars, source.env_prefix.lower())
        return init_settings, env_settings, dotenv_settings, short, short_of_file


def load_settings(packaged_bundle: str | None = None) -> ServiceSettings:
    """Read the settings of this process.

    Args:
        packaged_bundle: is served where neither the environment nor the file names a model.

    Raises:
        SettingError: some are wrong; every one of them is in the message.
    """
    named = os.environ.get(SETTINGS_FILE)
    if named and not Path(named).is_file():
        raise SettingError(f"{SETTINGS_FILE} names a file of settings", f"there is no {named}", "Name one, or unset it")
    problems = [f"  {name}: there is no such setting" for name in _unknown(Path(named))] if named else []
    file = named or ".env"
    given: dict[str, Any] = {"_env_file": file, "_env_file_encoding": "utf-8"}
    present = {name.upper().removeprefix(PREFIX) for name, value in (dotenv_values(file) | os.environ).items() if value}
    if packaged_bundle is not None and not present & {"BUNDLE", "MODEL_DIR", "ARMS"}:
        given["bundle"] = packaged_bundle
    try:
        settings = ServiceSettings(**given)
    except ValidationError as error:
        problems += [_problem(each["loc"], each["msg"]) for each in error.errors(include_input=False)]
    if problems:
        count = f"{len(problems)} of the service's settings {'is' if len(problems) == 1 else 'are'} wrong"
        raise SettingError(count, "\n" + "\n".join(problems) + "\n", "docs/settings.md describes each")
    return settings


def _unknown(file: Path) -> list[str]:
    """Names in a file of ours alone that are no settings, as a misspelt one."""
    fields = ServiceSettings.model_fields.keys() | VARIABLES
    return [name for name in dotenv_values(file) if name.lower().removeprefix(PREFIX.lower()) not in fields]


def _problem(location: tuple[int | str, ...], message: str) -> str:
    """One line of the report: the variable, and what is wrong with it."""
    message = message.removeprefix("Value error, ")
    if not location:
        return f"  {message}"
    name = str(location[0]).upper().removeprefix(PREFIX)  # pydantic names the field or, of a variable, the variable
    return f"  {'.'.join([PREFIX + name, *map(str, location[1:])])}: {message}"
