"""A SQLite database and the folder that it is in."""

from pathlib import Path

from hardpoint.errors import ServiceUnavailable
from hardpoint.settings import SettingsError
from sqlalchemy import URL, make_url

from hardpoint.service.settings import Settings

__all__ = ["prepare_folder"]


def prepare_folder(settings: Settings) -> None:
    """Make the data folder, when the embedded database is in it; look for the folder of any other SQLite file.

    Raises:
        SettingsError: The data folder cannot be made.
        ServiceUnavailable: The folder of a SQLite file does not exist.
    """
    if settings.is_embedded_database:
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            variable, reason = settings.variable("data_dir"), type(error).__name__
            raise SettingsError([f"{variable}: {settings.data_dir} cannot be used: {reason}"]) from error
    elif not _has_folder(make_url(settings.resolved_database_url)):
        # The driver would find out in a thread, which may outlive a command's event loop and complain about that.
        raise ServiceUnavailable("The database's folder does not exist")


def _has_folder(url: URL) -> bool:
    return url.get_backend_name() != "sqlite" or not url.database or Path(url.database).absolute().parent.is_dir()
