"""The routes for actions, described as OpenAPI has them."""

from __future__ import annotations

from typing import Any

ANSWERS = {
    "200": "The action, or the actions of a batch; in the form of the request",
    "400": "The request does not match the model's spaces, or cannot be read",
    "401": "The token is missing or wrong",
    "404": "No such model or version",
    "409": "The session is not known, or was started otherwise",
    "413": "The request is too large",
    "415": "Neither JSON nor raw arrays",
    "503": "Too many observations wait; Retry-After says when to try again",
}
BODY = {
    "type": "object",
    "required": ["obs"],
    "additionalProperties": False,
    "properties": {
        "obs": {"description": "An observation, or a batch [N, ...]; of a Dict an object, of a Tuple a list"},
        "action_mask": {
            "type": "array",
            "description": "1 for each allowed action, else 0; [A] or [N, A]",
        },
        "deterministic": {"type": "boolean", "default": True},
        "session": {"type": "string", "maxLength": 128, "description": "For recurrent models: whose memory it is"},
        "start": {"description": "Whether the observation begins an episode; a boolean, or one for each observation"},
    },
}


def _operation(*names: str) -> dict[str, Any]:
    body = {
        "application/json": {"schema": BODY},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {
        "post": {
            "summary": "Actions for observations",
            "operationId": "_".join(["act", *names]),
            "parameters": parameters,
            "requestBody": {"required": True, "content": body},
            "responses": {status: {"description": text} for status, text in ANSWERS.items()},
        }
    }


PATHS = {
    "/v1/models/{model}:act": _operation("model"),
    "/v1/models/{model}/versions/{version}:act": _operation("model", "version"),
}
"""The operations by path."""
