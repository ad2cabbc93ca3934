"""The realtime HTTP endpoints in the OpenAPI document: they are no REST framework views, so it cannot find them."""

from typing import Any

from messaging.realtime import polls

_STRING: dict[str, Any] = {"type": "string"}
_EPOCH = {"type": "string", "description": "As a frame or answer named it; opaque."}
_OFFSET = {"type": "string", "description": "As a frame or answer named it; opaque."}
_MESSAGES = {"type": "array", "items": {"$ref": "#/components/schemas/InboxMessage"}}

_SCHEMAS: dict[str, Any] = {
    "InboxMessage": {
        "type": "object",
        "description": "A message as the WebSocket sends it.",
        "properties": {
            "type": {"type": "string", "enum": ["message"]},
            "offset": _OFFSET,
            "id": {"type": "string", "example": "msg_..."},
            "content": {"type": "object", "additionalProperties": {}},
            "group": _STRING,
            "collapse_key": _STRING,
            "version": {"type": "integer", "description": "Grows from message to message of a collapse_key."},
            "sent_at": {"type": "string", "format": "date-time"},
            "test": {"type": "boolean"},
        },
        "required": ["type", "offset", "id", "content", "sent_at"],
    },
    "InboxPlace": {
        "type": "object",
        "properties": {"epoch": _EPOCH, "offset": _OFFSET},
        "required": ["epoch", "offset"],
    },
    "InboxPoll": {
        "type": "object",
        "properties": {
            "epoch": _EPOCH,
            "offset": _OFFSET,
            "recovered": {"type": "boolean", "description": "false: there may be a hole, read the history."},
            "messages": _MESSAGES,
        },
        "required": ["epoch", "offset", "recovered", "messages"],
    },
    "InboxHistory": {
        "type": "object",
        "properties": {
            "epoch": _EPOCH,
            "next_before": {"type": "string", "nullable": True, "description": "before of the next page."},
            "messages": _MESSAGES,
        },
        "required": ["epoch", "next_before", "messages"],
    },
}


def add(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    components = result["components"]
    components["schemas"] |= _SCHEMAS
    components["securitySchemes"]["receiverToken"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A receiver's token, of POST /receivers/{receiver}/tokens. Also taken as the query's `token`.",
    }
    resume = [_query("epoch", _STRING, "Together with offset."), _query("offset", _STRING, "Go on after it.")]
    result["paths"] |= {
        "/api/v1/inbox": {"get": _poll(resume)},
        "/api/v1/inbox/ack": {"post": _post("acknowledge_inbox", "Everything up to an offset has arrived")},
        "/api/v1/inbox/history": {"get": _history()},
        "/api/v1/inbox/read": {"post": _post("read_inbox_message", "The message at an offset was read")},
        "/api/v1/inbox/stream": {"get": _stream(resume)},
    }
    result["paths"] = dict(sorted(result["paths"].items()))
    return result


def _operation(name: str, summary: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "description": "For a receiver's own clients.",
        "tags": ["Realtime"],
        "security": [{"receiverToken": []}],
        "responses": answers,
        **more,
    }


def _poll(resume: list[dict[str, Any]]) -> dict[str, Any]:
    wait = {"type": "integer", "minimum": 0, "maximum": polls.MAX_WAIT, "default": polls.DEFAULT_WAIT}
    connection = _query("connection", _STRING, "Of a welcome frame: what excludes this connection is left out.")
    parameters = [*resume, _query("wait", wait, "Seconds to wait for a message."), connection]
    summary = "Long poll: what waits, at once or when the first message arrives; acknowledges up to offset"
    return _operation("poll_inbox", summary, _json("InboxPoll"), parameters=parameters)


def _history() -> dict[str, Any]:
    limit = {"type": "integer", "minimum": 1, "maximum": polls.MAX_LIMIT, "default": polls.DEFAULT_LIMIT}
    before = _query("before", _STRING, "Only what is older than this offset.")
    parameters = [before, _query("limit", limit, "Messages at most.")]
    summary = "What the inbox holds, newest first, acknowledged or not"
    return _operation("read_inbox_history", summary, _json("InboxHistory"), parameters=parameters)


def _stream(resume: list[dict[str, Any]]) -> dict[str, Any]:
    last = {"name": "Last-Event-ID", "in": "header", "schema": _STRING, "description": "Go on after this event."}
    answers = {"200": {"description": "Events.", "content": {"text/event-stream": {"schema": _STRING}}}}
    summary = "Server-sent events: the frames of the WebSocket, each the data of one event"
    return _operation("stream_inbox", summary, answers, parameters=[*resume, last])


def _post(name: str, summary: str) -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/InboxPlace"}}
    body = {"required": True, "content": {"application/json": schema}}
    return _operation(name, summary, {"204": {"description": "Taken."}}, requestBody=body)


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _json(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"200": {"description": "", "content": content}}
