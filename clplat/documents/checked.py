"""Plain data against a schema: a document that is none is one line that says where and what is allowed."""

from __future__ import annotations

import re
import reprlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from clplat.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

__all__ = ["AS_LIST", "Number", "checked"]


class _Finite:
    """A mark of a number that is neither NaN nor infinite; pydantic loads when it is used."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "allow_inf_nan": False}


class _AsList:
    """A mark of a tuple, which JSON writes as a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        made = core_schema.no_info_before_validator_function
        return made(lambda value: tuple(value) if isinstance(value, list) else value, handler(source))


Number: TypeAlias = Annotated[float, _Finite()]
AS_LIST = _AsList()


def checked(content: Any, schema: Any, path: Path | str, what: str) -> Any:
    """``content`` as it is, if it is what the schema says.

    Args:
        content: plain data; what the schema does not name may be there as well.
        schema: a type that pydantic knows: a typed dict, ``dict[str, int]``, a dataclass.
        path: of the file, or where else it is from, for the error.
        what: it should hold: ``"result of a run"``.

    Raises:
        UserError: it is something else.

    Example:
        >>> checked({"seed": "x"}, dict[str, int], Path("seeds.json"), "list of seeds")
        Traceback (most recent call last):
        clplat.errors.UserError: seeds.json is no list of seeds: 'seed' should be a valid integer, not 'x'
    """
    from pydantic import ValidationError

    try:
        _adapter(schema).validate_python(content, strict=True)
    except (ValidationError, RecursionError) as error:
        why = _said(error.errors()[0]) if isinstance(error, ValidationError) else "it is nested too deeply"
        raise UserError(f"{path} is no {what}: {why}") from None
    return content


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import is_typeddict

    tensors = None if is_typeddict(schema) else ConfigDict(arbitrary_types_allowed=True)  # it says so itself
    return TypeAdapter(schema, config=tensors)


def _said(error: ErrorDetails) -> str:
    """The first thing that is wrong, in words."""
    place = ".".join(re.sub(r"\s+", " ", str(step)) for step in error["loc"])[:100]
    if error["type"] == "missing":
        return f"it lacks '{place}'"
    said = re.sub(r"^Input ", "", error["msg"])
    said = f"{said}, not {reprlib.repr(error['input'])}"
    return f"'{place}' {said}" if place else f"it {said}"
