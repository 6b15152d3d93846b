"""The one shape of an error, as the models that OpenAPI shows."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PROBLEM_MEDIA_TYPE", "ErrorEnvelope", "FieldError", "Problem"]

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """What is wrong with one field. Never contains the value that was sent."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="The dotted path of the field, empty for the whole body", examples=["email"])
    message: str = Field(description="One sentence for a human", examples=["Field required"])
    code: str = Field(description="What a program checks", examples=["missing"])


class ErrorEnvelope(BaseModel):
    """Every error from every layer."""

    detail: str = Field(description="One sentence for a human")
    code: str = Field(description="What a program checks")
    request_id: str | None = Field(description="The request's id, also in the `X-Request-ID` header and in the log")
    field_errors: list[FieldError] | None = Field(default=None, description="With status 422 alone: each fault")


class Problem(BaseModel):
    """The same facts as RFC 9457 problem details, for a client that accepts `application/problem+json`."""

    type: str = Field(default="about:blank", description="RFC 9457, section 3.1.1")
    title: str = Field(description="The status code's phrase")
    status: int = Field(description="The HTTP status code")
    detail: str = Field(description="One sentence for a human")
    code: str = Field(description="What a program checks")
    request_id: str | None = Field(description="The request's id, also in the `X-Request-ID` header and in the log")
    field_errors: list[FieldError] | None = Field(default=None, description="With status 422 alone: each fault")
