"""Write docs/settings.md from the settings of the service: ``python scripts/write_settings.py``."""

from pathlib import Path

from pydantic.fields import FieldInfo

from lit_rec.service.settings import PREFIX, SETTINGS_FILE, ServiceSettings

_PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = f"""\
# Settings of the service

Each is an environment variable, or a line `NAME=value` of a file: the one that `{SETTINGS_FILE}` names, else `.env` of
the working folder. A variable wins over the file. The names of earlier releases, without `{PREFIX}`, are read where
there is none with it, in the environment and then in the file. Wrong ones are refused at the start, all in one report.
This page is written by `python scripts/write_settings.py`.

| name | default | |
|---|---|---|
"""
_TAIL = """
BentoML and uvicorn have a few of their own that matter here:

| name | |
|---|---|
| `FORWARDED_ALLOW_IPS` | Addresses of proxies whose `X-Forwarded-For` is believed. Without it none is, and callers \
behind a proxy share one rate limit: set it to the proxy's address there. |
| `BENTOML_HOME` | Where BentoML keeps models and bentos; one a running server. |
| `BENTOML_DO_NOT_TRACK` | `True`: BentoML reports no use. |

With several workers or replicas set `LIT_REC_RATE_LIMIT_STORAGE` to a Redis and `LIT_REC_FEEDBACK_DB_PATH` to a
PostgreSQL: in memory, limits hold for each process alone. Copies of one service share nothing else.
"""


def settings_page() -> str:
    """The page."""
    rows = [f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_about(field)} |" for name, field in _FIELDS.items()]
    return _HEAD + "\n".join(rows) + "\n" + _TAIL


_FIELDS = ServiceSettings.model_fields


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return f"`{value}`" if value not in (None, (), {}) else ""


def _about(field: FieldInfo) -> str:
    examples = "".join(f" `{example}`" for example in field.examples or [])
    return f"{field.description}{examples}".replace("|", "\\|")


if __name__ == "__main__":
    _PAGE.write_text(settings_page(), encoding="utf-8")
