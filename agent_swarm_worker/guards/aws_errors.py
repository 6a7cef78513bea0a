"""What is wrong when a model is reached through AWS."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class AwsClass(StrEnum):
    """The kinds of AWS failures an operator acts upon differently."""

    AUTH = "aws-auth"
    THROTTLE = "aws-throttle"
    ACCESS = "aws-access"
    MODEL = "aws-model"

    @property
    def advice(self) -> str:
        """What the operator can do about it, as one sentence."""
        return _ADVICE[self]


_ADVICE: Final = {
    AwsClass.AUTH: (
        "The AWS credentials are missing, expired or wrong: renew them, or the role or profile "
        "they come from, and start the task again."
    ),
    AwsClass.THROTTLE: (
        "AWS is throttling this account: wait a little, run fewer tasks at once, or ask for a "
        "higher Bedrock quota in this region."
    ),
    AwsClass.ACCESS: (
        "The AWS identity may not do this: allow it bedrock:InvokeModel and "
        "bedrock:InvokeModelWithResponseStream, and enable the model for the account."
    ),
    AwsClass.MODEL: (
        "Bedrock does not serve this model as asked: check the model id, its inference profile "
        "and the region."
    ),
}

_RULES: Final = (
    (
        AwsClass.AUTH,
        re.compile(
            r"\bExpiredToken(?:Exception)?\b|CredentialsProviderError"
            r"|Unable to locate credentials|InvalidSignatureException|UnrecognizedClientException"
            r"|(?i:security token\b[^\n]{0,80}\bexpired|\bexpired\b[^\n]{0,80}\bsecurity token)"
        ),
    ),
    (
        AwsClass.THROTTLE,
        re.compile(
            r"ThrottlingException|TooManyRequestsException|ServiceQuotaExceededException"
            r"|\bRate exceeded\b"
        ),
    ),
    (AwsClass.ACCESS, re.compile(r"AccessDeniedException|(?i:not authorized to perform)")),
    (
        AwsClass.MODEL,
        re.compile(
            r"\b(?:ValidationException|ResourceNotFoundException|ModelTimeoutException"
            r"|ModelNotReadyException)\b"
        ),
    ),
)


def classify_aws(text: str) -> AwsClass | None:
    """Return what kind of AWS failure a text tells of, or ``None`` if of none. First rule wins."""
    return next((kind for kind, pattern in _RULES if pattern.search(text)), None)
