"""``execution.validate_prompt``: what ComfyUI refuses, in its words, and the inputs it changes on the way."""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from typing import Any

from . import nodes
from .caching import Graph, is_link
from .options import options

Problem = dict[str, Any]
#: accepted · the error · outputs to execute · problems per node
Verdict = tuple[bool, Problem | None, list[str], dict[str, Any]]


def _problem(kind: str, message: str, details: str, extra_info: dict[str, Any]) -> Problem:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def full_type_name(class_: type) -> str:
    """``ValueError``, or ``package.module.Error``."""
    return class_.__qualname__ if class_.__module__ == "builtins" else f"{class_.__module__}.{class_.__qualname__}"


def input_kind(node_class: Any, name: str) -> tuple[Any, str | None, dict[str, Any]]:
    """Type, category (required, optional, hidden or None) and further facts of an input."""
    declared = node_class.INPUT_TYPES()
    for category in ("required", "optional", "hidden"):
        info = declared.get(category, {}).get(name)
        if info is not None:
            return info[0], category, info[1] if len(info) > 1 and isinstance(info, tuple) else {}
    return None, None, {}


async def validate_prompt(prompt_id: str, prompt: Graph, partial_execution_list: list[str] | None = None) -> Verdict:
    """Check a graph. Outputs that fail are left out; only when all fail the prompt is refused."""
    for node_id, node in prompt.items():
        unknown = _unknown_node(node_id, node)
        if unknown is not None:
            return False, unknown, [], {}
    outputs = [
        node_id
        for node_id, node in prompt.items()
        if getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False) is True
        and (partial_execution_list is None or node_id in partial_execution_list)
    ]
    if not outputs:
        return False, _problem("prompt_no_outputs", "Prompt has no outputs", "", {}), [], {}
    return await _validate_outputs(prompt, outputs)


def _unknown_node(node_id: str, node: dict[str, Any]) -> Problem | None:
    class_type = node.get("class_type")
    if class_type is not None and class_type in nodes.NODE_CLASS_MAPPINGS:
        return None
    details = f"Node ID '#{node_id}'"
    if not options.six:
        what = f"node {class_type} does not exist"
        if class_type is None:
            what = "a node is missing the class_type property"
        return _problem("invalid_prompt", f"Cannot execute because {what}.", details, {})
    # 0.33.0 names the node, so that the page can offer to install its pack.
    title = node.get("_meta", {}).get("title", class_type)
    extra_info = {"node_id": node_id, "class_type": class_type, "node_title": title}
    message = f"Node '{title}' not found. The custom node may not be installed."
    if class_type is None:
        name = title or f"ID #{node_id}"
        message = f"Node '{name}' has no class_type. The workflow may be corrupted or a custom node is missing."
    return _problem("missing_node_type", message, details, extra_info)


async def _validate_outputs(prompt: Graph, outputs: list[str]) -> Verdict:
    check = _Check(prompt)
    good: list[str] = []
    failures: list[Problem] = []
    node_errors: dict[str, Any] = {}
    for output in outputs:
        if await check.output(output):
            good.append(output)
            continue
        failures += check.problems[output]
        logging.error("Failed to validate prompt for output %s:", output)
        for node_id, problems in check.problems.items():
            # A node below a faulty one is invalid too, but has nothing to say for itself.
            if problems:
                class_type = prompt[node_id]["class_type"]
                empty = {"errors": problems, "dependent_outputs": [], "class_type": class_type}
                node_errors.setdefault(node_id, empty)["dependent_outputs"].append(output)
        logging.error("Output will be ignored")
    if good:
        return True, None, good, node_errors
    details = "\n".join(f"{failure['message']}: {failure['details']}" for failure in failures)
    error = _problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", details, {})
    return False, error, [], node_errors


class _Check:
    """One look at a graph; each node is looked at once."""

    def __init__(self, prompt: Graph) -> None:
        self.prompt = prompt
        self.valid: dict[str, bool] = {}
        #: only nodes that are not valid
        self.problems: dict[str, list[Problem]] = {}

    async def output(self, node_id: str) -> bool:
        try:
            return await self.node(node_id)
        except Exception as error:
            extra = {"exception_type": full_type_name(type(error)), "traceback": traceback.format_tb(sys.exc_info()[2])}
            problem = _problem("exception_during_validation", "Exception when validating node", str(error), extra)
            return self._note(node_id, [problem], False)

    def _note(self, node_id: str, problems: list[Problem], valid: bool) -> bool:
        self.valid[node_id] = valid
        if not valid:
            self.problems[node_id] = problems
        return valid

    async def node(self, node_id: str) -> bool:
        if node_id in self.valid:
            return self.valid[node_id]
        inputs = self.prompt[node_id]["inputs"]
        node_class: Any = nodes.NODE_CLASS_MAPPINGS[self.prompt[node_id]["class_type"]]
        custom = _CustomValidation(node_class)
        problems: list[Problem] = []
        upstream_valid = True
        received: dict[str, Any] = {}
        declared = node_class.INPUT_TYPES()
        for name in [*declared.get("required", {}), *declared.get("optional", {})]:
            input_type, category, info = input_kind(node_class, name)
            if name not in inputs:
                if category == "required":
                    message = "Required input is missing"
                    problems.append(_problem("required_input_missing", message, name, {"input_name": name}))
            elif isinstance(inputs[name], list):
                found, fine = await self._link(name, inputs[name], input_type, info, received, custom)
                problems += found
                upstream_valid = upstream_valid and fine
            else:
                problems += _constant(name, inputs, input_type, info, custom.handles(name))
        problems += await custom.run(inputs, received)
        return self._note(node_id, problems, not problems and upstream_valid)

    async def _link(
        self, name: str, link: list[Any], input_type: Any, info: dict[str, Any], received: dict[str, Any], custom: Any
    ) -> tuple[list[Problem], bool]:
        """Problems of the link itself, and whether the node at its other end is valid."""
        facts = {"input_name": name, "input_config": (input_type, info)}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_problem("bad_linked_input", message, name, {**facts, "received_value": link})], True
        origin, slot = link
        received_type = nodes.NODE_CLASS_MAPPINGS[self.prompt[origin]["class_type"]].RETURN_TYPES[slot]
        received[name] = received_type
        if not custom.takes_types and not _types_match(received_type, input_type):
            details = f"{name}, received_type({received_type}) mismatch input_type({input_type})"
            extra = {**facts, "received_type": received_type, "linked_node": link}
            return [_problem("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)], True
        try:
            return [], await self.node(origin)
        except Exception as error:
            extra = {
                **facts,
                "exception_message": str(error),
                "exception_type": full_type_name(type(error)),
                "traceback": traceback.format_tb(sys.exc_info()[2]),
                "linked_node": link,
            }
            message = "Exception when validating inner node"
            problem = _problem("exception_during_inner_validation", message, str(error), extra)
            self._note(origin, [problem], False)
            return [], False


def _types_match(received: Any, wanted: Any) -> bool:
    if not received != wanted:  # noqa: SIM202 - "any type" tricks of custom nodes override only __ne__
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    return bool({t.strip() for t in received.split(",")} & {t.strip() for t in wanted.split(",")})


_CONVERSIONS: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _constant(
    name: str, inputs: dict[str, Any], input_type: Any, info: dict[str, Any], by_node_itself: bool
) -> list[Problem]:
    """Convert a constant in place, then check it, unless the node's own function will."""
    value = inputs[name]
    facts: dict[str, Any] = {"input_name": name, "input_config": (input_type, info)}
    if isinstance(value, dict) and "__value__" in value:
        # How the page sends a list that is not a link.
        value = inputs[name] = value["__value__"]
    convert = _CONVERSIONS.get(input_type) if isinstance(input_type, str) else None
    if convert is not None:
        try:
            value = inputs[name] = convert(value)
        except Exception as error:
            message = f"Failed to convert an input value to a {input_type} value"
            extra = {**facts, "received_value": value, "exception_message": str(error)}
            return [_problem("invalid_input_type", message, f"{name}, {value}, {error}", extra)]
    if by_node_itself:
        return []
    facts["received_value"] = value
    if "min" in info and value < info["min"]:
        return [_problem("value_smaller_than_min", f"Value {value} smaller than min of {info['min']}", name, facts)]
    if "max" in info and value > info["max"]:
        return [_problem("value_bigger_than_max", f"Value {value} bigger than max of {info['max']}", name, facts)]
    choices = input_type if isinstance(input_type, list) else info.get("options") if input_type == "COMBO" else None
    if choices is not None and value not in choices:
        shown = str(choices)
        if len(choices) > 20:
            # Thousands of model files would drown the answer.
            shown = f"(list of length {len(choices)})"
            facts["input_config"] = None
        return [_problem("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", facts)]
    return []


class _CustomValidation:
    """A node's own ``VALIDATE_INPUTS``, for the inputs that it names."""

    def __init__(self, node_class: Any) -> None:
        self.node_class = node_class
        self.function = getattr(node_class, "VALIDATE_INPUTS", None)
        self.names: list[str] = []
        self.takes_all = False
        if self.function is not None:
            spec = inspect.getfullargspec(self.function)
            self.names = spec.args
            self.takes_all = spec.varkw is not None

    @property
    def takes_types(self) -> bool:
        """Whether the node checks the types of its links itself."""
        return "input_types" in self.names

    def handles(self, name: str) -> bool:
        """Whether the node checks this input itself."""
        return self.takes_all or name in self.names

    async def run(self, inputs: dict[str, Any], received: dict[str, Any]) -> list[Problem]:
        """Ask the node."""
        if self.function is None or not (self.names or self.takes_all):
            return []
        known = set().union(*self.node_class.INPUT_TYPES().values())
        arguments = {k: None if is_link(v) else v for k, v in inputs.items() if k in known and self.handles(k)}
        if self.takes_types:
            arguments["input_types"] = received
        answer = self.function(**arguments)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is True:
            return []
        reason = "" if answer is False else f" - {answer}"
        message = "Custom validation failed for node"
        return [
            _problem("custom_validation_failed", message, f"{name}{reason}", {"input_name": name}) for name in arguments
        ]
