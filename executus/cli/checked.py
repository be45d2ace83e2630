"""What people typed as plain data: what does not validate is a wrong call, in one line."""

from collections.abc import Generator
from contextlib import contextmanager

from pydantic import BaseModel, ValidationError

from executus.errors import ConfigError
from executus.explain import explain


@contextmanager
def checked(kind: type[BaseModel]) -> Generator[None]:
    """Make a `kind` inside.

    Raises:
        ConfigError: it does not validate; names the fields.
    """
    try:
        yield
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from None
