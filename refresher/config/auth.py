"""The tables of `auth`: how requests to an upstream are authenticated."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator
from pydantic.json_schema import SkipJsonSchema

from refresher.config import types as v


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAuth:
    """No authentication: takes an inherited one back."""

    __pydantic_config__ = v.STRICT

    type: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerAuth:
    """A bearer token (RFC 6750)."""

    __pydantic_config__ = v.STRICT

    type: Literal["bearer"] = "bearer"
    token: v.Visible = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has it in (RFC 6750, section 2.1)."""
        return "Authorization", f"Bearer {self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """A user name and a password (RFC 7617)."""

    __pydantic_config__ = v.STRICT

    type: Literal["basic"] = "basic"
    username: v.UserName
    password: v.Password = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has them in, as UTF-8 (RFC 7617, section 2.1)."""
        pair = b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        return "Authorization", f"Basic {pair}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderAuth:
    """A header of the request, such as X-Api-Key."""

    __pydantic_config__ = v.STRICT

    type: Literal["header"] = "header"
    name: v.FieldName
    value: v.Credential = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has it in."""
        return self.name, self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAuth:
    """A parameter of the request's query."""

    __pydantic_config__ = v.STRICT

    type: Literal["query"] = "query"
    name: v.Word
    value: v.Word = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Auth:
    """A token of an OAuth 2.0 server, for the client's own credentials (RFC 6749, section 4.4)."""

    __pydantic_config__ = v.STRICT

    type: Literal["oauth2"] = "oauth2"
    token_url: v.TokenUrl = field(repr=False)
    """The server's token endpoint."""
    client_id: v.Word
    """The client's identifier."""
    client_secret: v.ClientSecret = field(repr=False)
    """The client's password; it goes to the token endpoint alone."""
    scope: v.Word | None = None
    """What the token is asked for, words separated by spaces; none: as the server decides."""
    audience: v.Word | None = None
    """Whom the token is for, where the server wants to know."""
    client_auth: Literal["basic", "body"] = "basic"
    """Where the client's credentials go: as basic authentication, or into the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomAuth:
    """An `httpx.Auth` of the program that this package is embedded in."""

    type: Literal["custom"] = "custom"
    auth: v.HttpxAuth = field(repr=False)


def _custom(auth: object) -> object:
    """What is no table and can authenticate, as one that says so."""
    can = hasattr(auth, "async_auth_flow") and not isinstance(auth, type)
    return CustomAuth(auth=auth) if can else auth


Auth = Annotated[
    NoAuth
    | BearerAuth
    | BasicAuth
    | HeaderAuth
    | QueryAuth
    | OAuth2Auth
    | SkipJsonSchema[CustomAuth],
    Discriminator("type"),
    BeforeValidator(_custom),
]
