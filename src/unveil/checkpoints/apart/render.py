"""A chat template's text for messages, in the environment that transformers gives templates: jinja2's sandbox."""

import json
from datetime import datetime
from functools import cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

LEAST = (3, 1, 6)  # older ones have ways out of the sandbox
REASONS = ("reasoning_content", "thinking", "reasoning")  # names of one thing


class Generation(jinja2.ext.Extension):
    """{% generation %}, around what an assistant wrote: only training looks at it."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        """Its body, as it is."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class Namespace(jinja2.utils.Namespace):
    """jinja's, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # as jinja's, so that namespace(self=...) works
        for name in dict(*args[1:], **kwargs):
            args[0]._check(name)
        jinja2.utils.Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        self._check(name)
        super().__setitem__(name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace takes no name with an underscore first: {name!r}")


class Dict:
    """`dict` as a template may have it: to be called, without the attributes of a type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """A new dict of what is given."""
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """A new dict with these keys."""
        return dict.fromkeys(*args)


def _refuse(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


def _tojson(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@cache
def _compiled(text: str) -> Any:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form), "dict": Dict(),
        "namespace": Namespace,
    }  # fmt: skip
    return environment.from_string(text)


def _message(given: dict[str, Any]) -> dict[str, Any]:
    """A message as templates see it: without fields that are null, what was reasoned under its usual names."""
    message = {name: value for name, value in given.items() if value is not None}
    reason = next((message[name] for name in REASONS if name in message), None)
    return message if reason is None else {"thinking": reason, **message, "reasoning_content": reason}


def answer(question: dict[str, Any]) -> dict[str, str]:
    """`text`, or why there is none: `syntax`, `refused` or `failed`."""
    if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < LEAST:
        return {"failed": f"jinja2 {jinja2.__version__} is too old: pip install -U jinja2"}
    try:
        pieces = _compiled(question["template"]).generate(
            messages=[_message(one) for one in question["messages"]], tools=None, documents=None,
            add_generation_prompt=question["ask"], **question["names"],
        )  # fmt: skip
        return {"text": "".join(pieces)}
    except jinja2.exceptions.TemplateSyntaxError as error:
        return {"syntax": f"line {error.lineno}: {error.message}"}
    except jinja2.exceptions.TemplateError as error:
        return {"refused": str(error)}
    except MemoryError:
        raise
    except Exception as error:  # whatever it computes
        return {"failed": f"{type(error).__name__}: {error}"}
