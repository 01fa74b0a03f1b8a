"""What schemathesis has to know beyond the descriptions: who calls, what passwords and pictures look like, and where a
well-formed request is refused for what it means."""

import atexit
import base64
import itertools
import json
import os
import re
import subprocess
import threading
import unicodedata

import schemathesis
from hypothesis import strategies as st

DIALECT = os.environ["GUILDHALL_FUZZ_DIALECT"]
ROLE = os.environ["GUILDHALL_FUZZ_ROLE"]
SCHEME = "Token" if DIALECT == "cadasta" else "Bearer"
LOCK = threading.Lock()
COUNT = itertools.count()
RESULT = {"requests": 0, "statuses": {}, "failures": [], "excused": []}

# The smallest picture there is.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
schemathesis.openapi.media_type("image/png", st.just(PNG), aliases=["image/jpeg", "image/gif", "image/webp"])
schemathesis.openapi.format("binary", st.just(PNG))
# One that is not among the commonest.
schemathesis.openapi.format("password", st.text("abcdefghijkmnpqrstuvwxyz 23456789", min_size=6, max_size=40).map("Xq7-{}".format))

# Refusals by which the form of a request is good and what it says is not: no schema can hold what is taken, who is
# known, or which link is over. Each is what the API's contract asks for.
MEANING = {
    "cadasta": [
        "Unable to login with provided credentials.",
        "The email has not been verified.",
        "Organization with this name already exists.",
        "Organization name cannot be",
        "A user with that username already exists.",
        "Another user is already registered with this email address",
        "does not exist",
        "The role already exists.",
        "cannot change their own permissions",
    ],
    "stormz": ["invalid_grant"],
    "pm415": ["Invitation token invalid or expired", "Email is incorrect", "Token invalid", "must match password", "is too common"],
    # A presenter who is no member; and a form is told in the same words.
    "bit": ["correct data to create a event", "correct data to update a event"],
}

# Where every form may have further parts, which are text.
OPEN_FORMS = ["stormz"]


class Session:
    """A token of the role, replaced when it has ended."""

    token = None

    @classmethod
    def current(cls):
        with LOCK:
            if cls.token is None:
                words = os.environ["GUILDHALL_FUZZ_TOKEN"].split()
                cls.token = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1]
            return cls.token

    @classmethod
    def ended(cls, authorization):
        if isinstance(authorization, bytes):
            authorization = authorization.decode("latin-1")
        with LOCK:
            if cls.token and cls.token in authorization:
                cls.token = None


if ROLE != "nobody":

    @schemathesis.auth(refresh_interval=None)
    class Caller:
        def get(self, case, context):
            return Session.current()

        def set(self, case, data, context):
            case.headers["Authorization"] = f"{SCHEME} {data}"


@schemathesis.hook
def map_body(context, body):
    """What has to be there twice is; and new names are new, so that more than the first request makes something."""
    if not isinstance(body, dict):
        return body
    number = f"{os.getpid()}-{next(COUNT)}"
    if "confirmation" in body and "password" in body:
        body["confirmation"] = body["password"]
    # Tries at one account's password come further and further apart: each is at another's.
    for login in ("email", "username"):
        typed = body.get(login)
        if "password" in body and "confirmation" not in body and isinstance(typed, str) and 0 < len(typed) < 40:
            body[login] = (number + typed)[: 30 if DIALECT == "cadasta" and login == "username" else None]
    if isinstance(body.get("name"), str) and 2 <= len(body["name"]) < 150 and DIALECT in ("cadasta", "pm415"):
        body["name"] = body["name"].rstrip() + number
    return body


@schemathesis.hook
def after_call(context, case, response):
    with LOCK:
        RESULT["requests"] += 1
        status = str(response.status_code)
        RESULT["statuses"][status] = RESULT["statuses"].get(status, 0) + 1
    if response.status_code == 401 or "logout" in case.operation.label:
        Session.ended(response.request.headers.get("Authorization", ""))


def is_username(body):
    username = body.get("username") if isinstance(body, dict) else None
    if not isinstance(username, str) or not 1 <= len(username) <= 30:
        return False
    if re.fullmatch("add|new|user-[0-9a-f]{24}", username, re.IGNORECASE):
        return False
    kinds = [unicodedata.category(char) for char in username if char not in "@.+_-"]
    return all(kind[0] == "L" or kind == "Nd" for kind in kinds)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    kind = type(failure).__name__
    text = response.text
    if kind == "RejectedPositiveData" and any(words in text for words in MEANING.get(DIALECT, [])):
        RESULT["excused"].append(case.operation.label)
        return False
    # Of a form with pictures schemathesis fills in an empty name and takes it for a good one: every description asks
    # for at least one character.
    if kind == "RejectedPositiveData" and isinstance(case.body, dict) and case.body.get("name") == "":
        return False
    # A machine that has other work may stand still: how long answers take is measured elsewhere.
    if kind == "ResponseTimeExceeded":
        return False
    # A form says everything as text: of another type nothing can be in it, nor in the further parts that an open one may have.
    untrue = ["violates `type`"] + (["violates `additionalProperties`"] if DIALECT in OPEN_FORMS else [])
    if kind == "AcceptedNegativeData" and case.media_type != "application/json" and any(rule in str(failure.message) for rule in untrue):
        return False
    # Of the letters that `\p{L}` means schemathesis knows some: of a username with others it says that it breaks the pattern.
    if kind == "AcceptedNegativeData" and "/properties/username" in str(failure.message) and is_username(case.body):
        return False
    try:
        sent = case.as_curl_command()
    except Exception:
        sent = ""
    with LOCK:
        told = {
            "dialect": DIALECT,
            "role": ROLE,
            "what": kind,
            "call": case.operation.label,
            "status": response.status_code,
            "told": str(failure.message)[:600],
            "sent": sent[:1500],
            "answer": text[:400],
            "body": repr(case.body)[:600],
        }
        same = [known for known in RESULT["failures"] if (known["what"], known["call"], known["status"]) == (kind, told["call"], told["status"])]
        if len(same) < 3:
            RESULT["failures"].append(told)
    return True


@atexit.register
def write():
    with open(os.environ["GUILDHALL_FUZZ_RESULT"], "w") as file:
        json.dump(RESULT, file)
