"""The service's settings: read once from the environment and `.env`, validated, then frozen."""

from pathlib import Path
from typing import Any

import hardpoint.settings
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

__all__ = ["Settings", "load_settings"]


class Settings(hardpoint.settings.Settings):
    """What `hardpoint.settings` has and the service adds; a variable is a field's name in capitals after the prefix."""

    model_config = SettingsConfigDict(env_prefix="HARDPOINT_")

    # There is none to fall back on.
    database_url: SecretStr
    data_dir: Path = Path(".hardpoint")
    smtp_from: str = "hardpoint@localhost"


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment and `.env`; `overrides` win over both.

    Raises:
        SettingsError: At least one is refused; all faults are in it.
    """
    return Settings.load(**overrides)
