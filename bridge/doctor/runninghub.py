"""`doctor`'s questions to RunningHub: the key, the account, each workflow and the nodes that take a row. None of them
costs anything or changes anything there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests

from ..engines.runninghub import KEY_UNKNOWN, WORKFLOW_UNKNOWN, CloudWorkflow, RunningHubClient
from ..redact import redact
from ..settings import SettingsError
from ..table.records import WorkflowType
from ..wording import Wording
from .checks import Findings, after
from .comfyui import no_answer

#: Seconds to connect, and between two bytes: one that hangs costs their sum, once.
_TIMEOUT: Final = (3.0, 7.0)
_NODES_SHOWN: Final = 8

#: By workflow type the checks of its workflow and of that one's nodes.
_CHECKS: Final = {
    WorkflowType.IMAGE_COMPOSITION: ("image_workflow", "image_inputs"),
    WorkflowType.IMAGE_TO_VIDEO: ("video_workflow", "video_inputs"),
}
TITLES: Final = {
    "cloud": Wording("connection to RunningHub", "连接 RunningHub"),
    "cloud_key": Wording("RunningHub's key", "RunningHub 密钥"),
    "cloud_account": Wording("RunningHub's account", "RunningHub 账户"),
    "image_workflow": Wording("workflow for 图片合成", "图片合成 的工作流"),
    "image_inputs": Wording("its input nodes", "它的输入节点"),
    "video_workflow": Wording("workflow for 图生视频", "图生视频 的工作流"),
    "video_inputs": Wording("its input nodes", "它的输入节点"),
}
_TRY_AGAIN: Final = Wording("try again in a minute", "请过一分钟再试")

#: Makes a call and gives its code, its data, and the service's words.
_Ask = Callable[[str, Mapping[str, str]], tuple[int, Any, str]]


class _OtherServiceError(Exception):
    """Something answers that is not RunningHub."""


def examine(found: Findings, client: RunningHubClient, *, by_settings: bool) -> None:
    """All questions, as far as the answers allow the next one. `by_settings`: the client is made of them alone, so that
    they have to name its workflows; a team's own program may do so itself."""
    found.secrets = (*found.secrets, client.api_key)
    with requests.Session() as session:

        def ask(path: str, body: Mapping[str, str]) -> tuple[int, Any, str]:
            return _answer(session.post(f"{client.base_url}{path}", json=body, timeout=_TIMEOUT))

        try:
            if _account(found, client, ask):
                for kind in _CHECKS:
                    if kind in client.workflows:
                        _workflow(found, client, client.workflows[kind], kind, ask)
                    else:
                        _unset(found, kind, needed=by_settings and not client.workflows)
        except requests.RequestException as error:
            _broke_off(found, client, no_answer(error))
        except _OtherServiceError as error:
            status = error.args[0]
            _broke_off(
                found,
                client,
                Wording(
                    f"something answers, but not as RunningHub does (HTTP {status})",
                    f"有程序响应，但不是 RunningHub（HTTP {status}）",
                ),
            )


def _answer(response: requests.Response) -> tuple[int, Any, str]:
    try:
        answer = response.json()
        code = int(str(answer["code"]))
    except (ValueError, TypeError, KeyError) as error:
        raise _OtherServiceError(response.status_code) from error
    return code, answer.get("data"), redact(f"{answer.get('msg') or 'no message'} (code {code})")


def _broke_off(found: Findings, client: RunningHubClient, why: Wording) -> None:
    """The first question without an answer is the one that could not be asked."""
    asked = {check.id for check in found.checks()}
    name = next(name for name in TITLES if name not in asked)
    where = Wording(f"{client.base_url}: ", f"{client.base_url}：")
    advice = Wording(
        "look at this computer's network, at a proxy in the environment, and at RUNNINGHUB_URL where it is set; then "
        "try again",
        "请检查本机网络、环境变量里的代理，以及 RUNNINGHUB_URL（如果设置了）；然后再试",
    )
    found.wrong(name, where + why, advice, blocks=after(name, TITLES))


def _account(found: Findings, client: RunningHubClient, ask: _Ask) -> bool:
    """Whether it can be asked on."""
    code, data, said = ask("/uc/openapi/accountStatus", {"apikey": client.api_key})
    found.well("cloud", client.base_url)
    if code in KEY_UNKNOWN:
        found.wrong(
            "cloud_key",
            Wording(f"RunningHub does not know it: {said}", f"RunningHub 不认识这个密钥：{said}"),
            Wording(
                "RunningHub, your picture at the top right, API: copy the key into RUNNINGHUB_API_KEY",
                "RunningHub 右上角头像 → API 控制台，复制密钥到 RUNNINGHUB_API_KEY",
            ),
            blocks=after("cloud_key", TITLES),
        )
        return False
    if code != 0:
        found.unknown("cloud_key", Wording("RunningHub does not say", "RunningHub 没有说明"))
        found.wrong(
            "cloud_account",
            Wording(f"RunningHub says of it: {said}", f"RunningHub 的回答：{said}"),
            Wording(
                "look at the account on RunningHub (blocked, or without the right to use the API?), or try again in a "
                "minute",
                "请在 RunningHub 查看账户状态（是否被停用、是否有 API 权限），或过一分钟再试",
            ),
            blocks=after("cloud_account", TITLES),
        )
        return False
    found.well("cloud_key", Wording("known there", "有效"))
    _money(found, data if isinstance(data, Mapping) else {})
    return True


def _money(found: Findings, account: Mapping[str, Any]) -> None:
    known = {name: _number(account.get(key)) for name, key in (("coins", "remainCoins"), ("money", "remainMoney"))}
    amounts = {name: amount for name, amount in known.items() if amount is not None}
    if not amounts:
        found.unknown("cloud_account", Wording("RunningHub does not say what is left", "RunningHub 没有说明余额"))
        return
    chinese = {"coins": "RH 币", "money": "余额"}
    left = Wording(
        ", ".join(f"{name} {amount:g}" for name, amount in amounts.items()),
        "，".join(f"{chinese[name]} {amount:g}" for name, amount in amounts.items()),
    )
    running = _number(account.get("currentTaskCounts"))
    if running is not None:
        left = left + Wording(f"; tasks under way {running:g}", f"；进行中的任务 {running:g}")
    if max(amounts.values()) <= 0:
        found.wrong("cloud_account", left, Wording("recharge the account on RunningHub", "请在 RunningHub 充值"))
    else:
        found.well("cloud_account", left)


def _number(text: Any) -> float | None:
    try:
        return None if text is None else float(text)
    except (TypeError, ValueError):
        return None


def _workflow(
    found: Findings, client: RunningHubClient, workflow: CloudWorkflow, kind: WorkflowType, ask: _Ask
) -> None:
    name, inputs = _CHECKS[kind]
    body = {"apiKey": client.api_key, "workflowId": workflow.workflow_id}
    code, data, said = ask("/api/openapi/getJsonApiFormat", body)
    if code in WORKFLOW_UNKNOWN:
        found.wrong(
            name,
            Wording(
                f"RunningHub does not know {workflow.workflow_id}: {said}",
                f"RunningHub 找不到 {workflow.workflow_id}：{said}",
            ),
            Wording(
                f"open the workflow on RunningHub, run it there once, and compare the number in its address with "
                f'workflow_id under [runninghub."{kind.value}"]',
                f"请在 RunningHub 打开该工作流并运行一次，再核对网址里的数字与 "
                f'[runninghub."{kind.value}"] 的 workflow_id',
            ),
            blocks=[inputs],
        )
    elif code != 0:
        found.wrong(name, f"{workflow.workflow_id}: {said}", _TRY_AGAIN, blocks=[inputs])
    else:
        found.well(name, workflow.workflow_id)
        _inputs(found, workflow, kind, _nodes(data))


def _unset(found: Findings, kind: WorkflowType, *, needed: bool) -> None:
    """Whoever renders only the other kind needs none."""
    said = Wording("no workflow is set", "没有设置工作流")
    advice = Wording(
        f'in config.toml: [runninghub."{kind.value}"] with workflow_id, the long number in the address of the '
        'workflow, and for each input the node that takes it, such as prompt = "6.text"',
        f'在 config.toml 写 [runninghub."{kind.value}"]：workflow_id 是工作流网址里的那串数字，再为每个输入写明接收它的'
        '节点，例如 prompt = "6.text"',
    )
    name, inputs = _CHECKS[kind]
    if needed:
        found.wrong(name, said, advice, blocks=[inputs])
    else:
        found.unknown(
            name, said, Wording(f"if main.py renders {kind.value} there, ", f"如果要在云端生成{kind.value}，") + advice
        )


def _nodes(data: Any) -> Mapping[str, Mapping[str, Any]] | None:
    """The workflow's nodes by id; None where RunningHub does not tell them."""
    try:
        nodes = json.loads(data["prompt"])
        return {str(name): node for name, node in nodes.items() if isinstance(node, Mapping)}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _inputs(
    found: Findings, workflow: CloudWorkflow, kind: WorkflowType, nodes: Mapping[str, Mapping[str, Any]] | None
) -> None:
    """Whether each input of the settings has its node and field there."""
    name, table = _CHECKS[kind][1], f'[runninghub."{kind.value}"]'
    if nodes is None:
        found.unknown(name, Wording("RunningHub does not tell them", "RunningHub 没有说明"))
        return
    there = ", ".join(_takes_texts(nodes)[:_NODES_SHOWN]) or "–"
    advice = Wording(
        f"in config.toml under {table}, write for each input the node that takes it, as node.field; this workflow has: "
        f"{there}",
        f"在 config.toml 的 {table} 下，为每个输入写明接收它的“节点.字段”；该工作流有：{there}",
    )
    problems = [problem for problem in (_missing(workflow, name, nodes) for name in workflow.inputs) if problem]
    if problems:
        english, chinese = ("; ".join(item.en for item in problems), "；".join(item.zh for item in problems))
        found.wrong(name, Wording(english, chinese), advice)
    elif not workflow.inputs:
        nothing = Wording(
            f"{table} names none: every row would give the same", f"{table} 没有写任何输入：每一行的结果都会一样"
        )
        found.unknown(name, nothing, advice)
    else:
        found.well(name, ", ".join(f"{name} → {place}" for name, place in workflow.inputs.items()))


def _missing(workflow: CloudWorkflow, name: str, nodes: Mapping[str, Mapping[str, Any]]) -> Wording | None:
    """What is wrong with where the settings say that an input goes."""
    try:
        node, field = workflow.node_of(name)
    except SettingsError:
        place = workflow.inputs[name]
        return Wording(f"{name} = {place!r} is no node.field", f"{name} = “{place}” 不是“节点.字段”")
    if node not in nodes:
        return Wording(f"{name}: there is no node {node}", f"{name}：没有节点 {node}")
    if field not in _fields(nodes[node]):
        kind = nodes[node].get("class_type")
        return Wording(f"{name}: node {node} ({kind}) has no {field}", f"{name}：节点 {node}（{kind}）没有 {field}")
    return None


def _fields(node: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = node.get("inputs")
    return fields if isinstance(fields, Mapping) else {}


def _takes_texts(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What may take a picture or a text: a picture is named by a text, too."""
    return [
        f"{name}.{field}"
        for name, node in nodes.items()
        for field, value in _fields(node).items()
        if isinstance(value, str)
    ]
