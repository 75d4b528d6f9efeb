"""How a registered model is named: `models:/NAME@ALIAS` or `models:/NAME/VERSION`, as in MLflow."""

import re

from contracts.errors import RegistryError

__all__ = ["parse_model_uri"]

_URI = re.compile(r"models:/(?P<name>[A-Za-z0-9._-]+)(@(?P<alias>[\w-]+)|/(?P<version>\d+))")


def parse_model_uri(uri: str) -> tuple[str, str]:
    """Name and alias or version. A version is digits alone.

    Raises:
        RegistryError: neither form.

    >>> parse_model_uri("models:/wafer-map@champion")
    ('wafer-map', 'champion')
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise RegistryError(
            f"{uri!r} is no model: use models:/wafer-map@champion, models:/wafer-map/3 or a file"
        )
    return match["name"], match["alias"] or match["version"]
