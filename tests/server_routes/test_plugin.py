"""The plugin in a ComfyUI of its own, through HTTP, files and SIGKILL: stand-in in both shapes, and the real one."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from plugin_support import Comfy, Shared, Start, all_hosts, embedded, failing, picture, row, slow_save, stand_ins, until

from wfrecovery.demo.feishu_host.cells import Picture
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.launch import ComfyNotStartedError

# ------------------------------------------------------------------ the story


@all_hosts
def test_twenty_rows_survive_a_kill_and_stand_in_the_sheet_once(host: Any, start: Start, tmp_path: Path) -> None:
    numbers = range(2, 22)
    rows = [{"产品名": f"产品{n}", "模特名": "模特A", "图片是否已处理": "否"} for n in numbers]
    log, sdk = tmp_path / "renders.jsonl", tmp_path / "trap" / "lark_oapi"
    sdk.mkdir(parents=True)
    (sdk / "__init__.py").write_text("import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n")
    with FeishuStandIn(rows) as feishu:
        env = {**feishu.environment(), "PYTHONPATH": str(sdk.parent), "WFR_RENDER_LOG": str(log)}
        comfy = start(host, env=env)
        # the last ones are rendered after the kill, however late that comes
        gates = {n: "late" if n > 15 else None for n in numbers}
        prompts = {n: comfy.queue(picture(f"row{n}", seconds=0.3, gate=gates[n], color=n), row(n)) for n in numbers}
        until(lambda: sum(r["status"] == "已完成" for r in comfy.records()) >= 6)
        comfy.kill()
        comfy.open_gate("late")
        before = {r["comfyui_task_id"] for r in comfy.records() if r["status"] == "已完成"}
        assert 6 <= len(before) < 20
        boot = comfy.records()[0]["metadata"]["queue"]["boot"]
        comfy.start()
        state = comfy.recovered()
        assert state["total"] == 20 - len(before) == state["requeued"] + state["recovered"]
        until(lambda: all(r["status"] == "已完成" for r in comfy.records()))
        until(lambda: comfy.status()["feishu"]["pushed"] == 20, what="20 rows pushed")

        records = comfy.records()
        assert {r["row_number"]: r["comfyui_task_id"] for r in records} == prompts
        assert Counter(file.name.partition("_")[0] for file in comfy.pictures()) == {f"row{n}": 1 for n in numbers}
        ends = sorted(records, key=lambda r: r["metadata"]["finished_at"])
        assert [r["row_number"] for r in ends] == list(numbers)
        assert comfy.status()["boot_id"] != boot
        for number in numbers:
            cells = feishu.sheet.row(number)
            assert cells["产品名"] == f"产品{number}"
            assert cells["图片是否已处理"] == "已完成"
            assert isinstance(cells["产品模特合成图"], Picture)
            assert cells["产品模特合成图"].data == (comfy.output / f"row{number}_00001_.png").read_bytes()
        writes = [(write.row, write.title) for write in feishu.sheet.picture_writes]
        assert sorted(writes) == [(n, "产品模特合成图") for n in numbers]
        assert feishu.app_secret not in comfy.log()
        assert not (sdk / "imported").exists(), (
            "Feishu's SDK costs 2 s and 160 MB, and pictures and statuses need it not"
        )


# ------------------------------------------------------------------ the decision table after SIGKILL

_PACK = """
class Vanishing:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return (image,)


NODE_CLASS_MAPPINGS = {"WfrVanishing": Vanishing}
"""


@all_hosts
def test_each_line_of_the_decision_table_after_a_kill(host: Any, start: Start, tmp_path: Path) -> None:
    pack = tmp_path / "vanishing_nodes"
    pack.mkdir()
    (pack / "__init__.py").write_text(_PACK)
    comfy = start(host, plugins=[pack])
    broken = comfy.queue(failing("broken", "no such light"), row(2))
    comfy.until_stage(broken, "failed")
    done = comfy.queue(picture("done"), row(3))
    comfy.finished(done)
    running = comfy.queue(slow_save("running"), row(4))
    vanished_graph = picture("vanished")
    vanished_graph["5"] = {"class_type": "WfrVanishing", "inputs": {"image": ["1", 0]}}
    vanished_graph["9"]["inputs"]["images"] = ["5", 0]
    # numbers and ids in different orders: the queue's own counts
    waiting = [comfy.queue(picture(f"wait{n}", color=n), row(n, note=f"n{n}"), client_id="me") for n in (9, 7, 8)]
    front = comfy.queue(picture("front"), row(10), front=True)
    vanished = comfy.queue(vanished_graph, row(11))
    no_graph = comfy.queue(picture("nograph"), row(12))
    other = comfy.queue(picture("other"))
    deleted = comfy.queue(picture("deleted"), row(13))
    assert comfy.call("POST", "/queue", json={"delete": [deleted]}).status_code == 200
    comfy.until_stage(deleted, "cancelled")
    until(lambda: comfy.whole_pictures("running_*.png") and comfy.stage(running) == "running")
    graphs = {prompt: json.loads(comfy.graph_file(prompt).read_text("utf-8")) for prompt in waiting}
    comfy.kill()
    comfy.graph_file(no_graph).unlink()
    (comfy.base / "custom_nodes" / pack.name).unlink()
    comfy.plugins = comfy.plugins[:-1]
    comfy.start()
    state = comfy.recovered()
    wanted = {"total": 8, "done": 8, "recovered": 1, "requeued": 4, "failed": 2, "asking": 1, "waiting": 0}
    assert {key: state[key] for key in wanted} == wanted

    for prompt in (*waiting, front):
        assert comfy.finished(prompt)["output_files"], prompt
    order = sorted((front, *waiting), key=lambda prompt: comfy.record(prompt)["metadata"]["finished_at"])
    assert order == [front, *waiting]
    for prompt in waiting:
        again = json.loads(comfy.graph_file(prompt).read_text("utf-8"))
        assert again["prompt"] == graphs[prompt]["prompt"]
        assert again["extra_data"]["client_id"] == "me"
        for key in ("wfrecovery", "extra_pnginfo"):
            assert graphs[prompt]["extra_data"][key].items() <= again["extra_data"][key].items()
    adopted = comfy.record(running)
    assert adopted["status"] == "已完成"
    assert adopted["output_files"] == ["running_00001_.png"]
    assert adopted["metadata"]["attempts"] == 1
    lost = comfy.record(vanished)
    assert lost["status"] == "失败"
    assert "WfrVanishing" in lost["error_message"]
    assert comfy.graph_file(vanished).exists()
    assert comfy.record(no_graph)["status"] == "失败"
    assert "lost before it was submitted" in comfy.record(no_graph)["error_message"]
    assert comfy.stage(other) == "asking"
    assert comfy.stage(deleted) == "cancelled"
    assert "no such light" in comfy.record(broken)["error_message"]
    assert comfy.stage(done) == "finished"

    answer = comfy.act(comfy.record(other)["task_id"], "retry")
    assert answer.status_code == 202, answer.text
    assert comfy.finished(other)["metadata"]["feishu"]["state"] == "off"
    counts = Counter(file.name.partition("_")[0] for file in comfy.pictures())
    assert counts == dict.fromkeys(("done", "running", "wait7", "wait8", "wait9", "front", "other"), 1)

    comfy.call("POST", "/wfrecovery/recover", json={})
    again = comfy.recovered()
    assert again["total"] == 0
    assert Counter(file.name.partition("_")[0] for file in comfy.pictures()) == counts


# ------------------------------------------------------------------ other ends of a kill


@stand_ins
def test_a_partial_batch_and_a_cut_picture_are_rendered_again_and_a_whole_batch_is_not(host: Any, start: Start) -> None:
    comfy = start(host)

    def killed_while_saving(prefix: str, batch: int) -> str:
        prompt = comfy.queue(slow_save(prefix, batch=batch), row(2))
        until(lambda: len(comfy.whole_pictures(f"{prefix}_*.png")) == batch and comfy.stage(prompt) == "running")
        comfy.kill()
        return prompt

    whole = killed_while_saving("whole", 3)
    comfy.start()
    assert comfy.recovered()["recovered"] == 1
    assert comfy.record(whole)["output_files"] == [f"whole_0000{n}_.png" for n in (1, 2, 3)]

    partial = killed_while_saving("partial", 3)
    comfy.pictures("partial_*.png")[1].unlink()
    comfy.start()
    assert comfy.recovered()["requeued"] == 1
    until(lambda: comfy.record(partial)["metadata"]["attempts"] == 2)
    assert comfy.act(comfy.record(partial)["task_id"], "cancel").status_code == 202
    comfy.until_stage(partial, "cancelled")

    cut = killed_while_saving("cut", 1)
    file = comfy.pictures("cut_*.png")[0]
    file.write_bytes(file.read_bytes()[:-10])
    comfy.start()
    assert comfy.recovered()["requeued"] == 1
    until(lambda: comfy.record(cut)["metadata"]["attempts"] == 2)


def test_a_picture_of_another_prompt_or_task_is_not_adopted(start: Start) -> None:
    comfy = start()
    prompt = comfy.queue(slow_save("mine"), row(2))
    until(lambda: comfy.whole_pictures("mine_*.png") and comfy.stage(prompt) == "running")
    comfy.kill()
    (file,) = comfy.pictures("mine_*.png")
    data = file.read_bytes()
    with_other = data.replace(prompt.encode(), str(uuid.uuid4()).encode())
    assert with_other != data
    file.write_bytes(with_other)
    comfy.start()
    assert comfy.recovered()["requeued"] == 1


def test_three_kills_end_a_task_and_the_others_go_on(start: Start) -> None:
    comfy = start()
    deadly = comfy.queue(picture("deadly", seconds=600), row(2))
    after = comfy.queue(picture("after"), row(3))
    for attempt in (1, 2, 3):
        until(lambda n=attempt: comfy.record(deadly)["metadata"]["attempts"] == n)
        assert comfy.pending() == [deadly, after]
        comfy.crash()
    record = comfy.until_stage(deadly, "failed")
    assert record["status"] == "失败"
    assert "3 times" in record["error_message"]
    assert comfy.finished(after)["metadata"]["attempts"] == 1
    # because the user says so, and counted anew
    assert comfy.act(record["task_id"], "retry").status_code == 202
    until(lambda: comfy.stage(deadly) == "running")
    assert comfy.record(deadly)["metadata"]["attempts"] == 1
    assert comfy.record(deadly)["error_message"] is None


_FALLING = """
import os, time
import folder_paths


class Falling:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "color": ("INT",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, color):
        falls = os.path.join(folder_paths.get_input_directory(), "falls")
        while os.path.exists(falls):
            if os.path.exists(os.path.join(os.path.dirname(falls), "row2.reached")):
                os._exit(1)
            time.sleep(0.01)
        return True

    def run(self, image, color):
        return (image,)


NODE_CLASS_MAPPINGS = {"WfrFalling": Falling}
"""


def test_a_recovery_that_is_broken_off_costs_no_row_its_turn(start: Start, tmp_path: Path) -> None:
    """It had queued some rows again and runs the first, and ComfyUI goes down once more."""
    pack = tmp_path / "falling_nodes"
    pack.mkdir()
    (pack / "__init__.py").write_text(_FALLING)
    comfy = start(plugins=[pack])
    falling = picture("row5", color=5)
    falling["2"] = {"class_type": "WfrFalling", "inputs": {"image": ["1", 0], "color": 5}}
    falling["9"]["inputs"]["images"] = ["2", 0]
    first = comfy.queue(picture("row2", gate="row2"), row(2))
    comfy.until_at_gate("row2")
    rest = [comfy.queue(falling if n == 5 else picture(f"row{n}", color=n), row(n)) for n in (3, 4, 5, 6)]
    front = comfy.queue(picture("row7", color=7), row(7), front=True)
    comfy.kill()
    falls = comfy.base / "input" / "falls"
    falls.touch()
    with contextlib.suppress(ComfyNotStartedError, OSError):  # it may go down before that is over
        comfy.start()
    comfy.wait()
    falls.unlink()
    boots = [comfy.record(prompt)["metadata"]["queue"]["boot"] for prompt in (first, front, *rest)]
    assert boots[0] == boots[3] != boots[4] == boots[5]
    comfy.start()
    comfy.recovered()
    assert comfy.pending() == [first, front, *rest]


@pytest.mark.parametrize(("setting", "stage"), [("auto", "finished"), ("off", "cancelled")])
def test_the_setting_says_what_happens_to_prompts_without_a_row(start: Start, setting: str, stage: str) -> None:
    comfy = start(env={"WFRECOVERY_LOST_PROMPTS": setting})
    blocker = comfy.queue(picture("blocker", seconds=600), row(2))
    lost = comfy.queue(picture("lost"))
    comfy.until_stage(blocker, "running")
    comfy.kill()
    graph = json.loads(comfy.graph_file(blocker).read_text("utf-8"))
    graph["prompt"]["2"]["inputs"]["seconds"] = 0.1
    comfy.graph_file(blocker).write_text(json.dumps(graph), "utf-8")
    comfy.start()
    comfy.recovered()
    comfy.finished(blocker)
    assert comfy.until_stage(lost, "finished", "cancelled", "failed")["metadata"]["stage"] == stage
    assert len(comfy.pictures("lost_*.png")) == (stage == "finished")


@stand_ins
def test_what_the_user_cancelled_stays_cancelled(host: Any, start: Start) -> None:
    comfy = start(host)
    running = comfy.queue(picture("running", seconds=600), row(2))
    deleted, cleared, other = (comfy.queue(picture(name), row(n)) for n, name in ((3, "a"), (4, "b"), (5, "c")))
    by_route = comfy.queue(picture("d"), row(6))
    comfy.until_stage(running, "running")
    assert comfy.call("POST", "/queue", json={"delete": [deleted]}).ok
    assert comfy.act(comfy.record(by_route)["task_id"], "cancel").status_code == 202
    comfy.until_stage(deleted, "cancelled")
    comfy.until_stage(by_route, "cancelled")
    assert comfy.call("POST", "/queue", json={"clear": True}).ok
    comfy.until_stage(cleared, "cancelled")
    comfy.until_stage(other, "cancelled")
    assert comfy.call("POST", "/interrupt").ok
    comfy.until_stage(running, "cancelled")
    assert comfy.crash()["total"] == 0
    assert comfy.pending() == []
    assert {comfy.stage(prompt) for prompt in (running, deleted, cleared, other, by_route)} == {"cancelled"}
    assert comfy.pictures() == []


# ------------------------------------------------------------------ recording


@all_hosts
def test_an_accepted_prompt_is_on_disk_when_the_answer_comes(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    graph = picture("accepted", seconds=0.5)
    prompt = comfy.queue(graph, row(67, feishu_row_data={"提示词": "x"}))
    record = comfy.record(prompt)  # without waiting
    stored = json.loads(comfy.graph_file(prompt).read_text("utf-8"))
    assert str(uuid.UUID(prompt)) == prompt
    assert stored["prompt"] == graph
    assert stored["prompt_id"] == prompt
    assert record["task_id"].startswith("img_")
    assert (record["row_number"], record["product_name"], record["model_name"]) == (67, "产品67", "模特A")
    assert (record["workflow_type"], record["status"]) == ("图片合成", "在处理中")
    assert record["metadata"]["feishu_row_data"] == {"提示词": "x"}
    done = comfy.finished(prompt)
    assert done["output_files"] == ["accepted_00001_.png"]
    assert done["metadata"]["attempts"] == 1
    assert done["metadata"]["feishu"]["state"] == "pending"
    assert embedded(comfy.output / "accepted_00001_.png") == {"task_id": done["task_id"], "prompt_id": prompt}
    assert comfy.tasks(comfyui_task_id=prompt) == [done]
    video = comfy.queue(picture("video"), row(68, workflow_type="图生视频"))
    assert comfy.record(video)["task_id"].startswith("vid_")


@all_hosts
def test_a_prompt_without_a_row_is_a_job_and_not_pushed(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    prompt = comfy.queue(picture("job"))
    record = comfy.finished(prompt)
    assert record["task_id"].startswith("job_")
    assert (record["row_number"], record["workflow_type"]) == (None, None)
    assert record["metadata"]["feishu"]["state"] == "off"
    until(lambda: list(comfy.table.glob(f"done/*/{record['task_id']}.json")), what="nothing is left to do for it")
    assert not (comfy.table / "active" / f"{record['task_id']}.json").exists()


@stand_ins
def test_attempts_are_counted_before_the_start_also_for_the_first_prompt(host: Any, start: Start) -> None:
    comfy = start(host)
    first = comfy.queue(picture("first", seconds=600), row(2))
    second = comfy.queue(picture("second", seconds=600), row(3))
    assert comfy.record(first)["metadata"]["attempts"] == 1
    assert comfy.record(second)["metadata"]["attempts"] == 0
    assert comfy.call("POST", "/interrupt").ok
    until(lambda: comfy.pending() == [second])
    until(lambda: comfy.record(second)["metadata"]["attempts"] == 1)
    assert comfy.record(first)["metadata"]["attempts"] == 1


@all_hosts
def test_a_refused_prompt_leaves_no_record_and_gives_its_id_back(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    before = comfy.finished(comfy.queue(picture("before"), row(2)))
    count = len(comfy.records())
    for graph in ({"1": {"class_type": "Nope", "inputs": {}}}, {}):
        assert comfy.post(graph, row(3)).status_code == 400
        until(lambda: not list((comfy.table / "ids").glob("*")), what="the claim is given back")
    assert len(comfy.records()) == count
    after = comfy.finished(comfy.queue(picture("after"), row(2)))
    assert int(after["task_id"][-3:]) == int(before["task_id"][-3:]) + 1


@stand_ins
@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        (row(2) | {"row_number": "x"}, "row_number"),
        (row(2) | {"row_number": 0}, "row_number"),
        (row(2) | {"row_number": True}, "row_number"),
        (row(2) | {"workflow_type": "文生图"}, "workflow_type"),
        (["row", 2], "not an object"),
        ("row 2", "not an object"),
    ],
)
def test_a_bad_tag_does_not_refuse_the_prompt(host: Any, shared: Shared, tag: Any, reason: str) -> None:
    comfy = shared(host)
    record = comfy.finished(comfy.queue(picture("badtag"), tag))
    assert record["row_number"] is None
    assert record["task_id"].startswith("job_")
    assert reason in record["metadata"]["error_message"]
    assert record["metadata"]["feishu"]["state"] == "off"


@all_hosts
def test_secrets_of_extra_data_appear_nowhere(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    secrets = {"api_key_comfy_org": "comfyui-S3CRETKEY", "auth_token_comfy_org": "eyJ-S3CRETTOKEN"}
    prompt = comfy.queue(picture("secret"), row(2), extra_data=secrets)
    task_id = comfy.finished(prompt)["task_id"]
    assert not [file for file, text in comfy.texts(comfy.output, "*").items() if b"S3CRET" in text]
    for path in ("status", "tasks", f"tasks/{task_id}"):
        assert "S3CRET" not in comfy.call("GET", f"/wfrecovery/{path}").text
    assert "S3CRET" not in comfy.log()
    # a node that puts its key into its message
    bad = comfy.queue(failing("secret", "refused comfyui-S3CRETKEY"), row(2), extra_data=secrets)
    message = comfy.until_stage(bad, "failed")["error_message"]
    assert "refused" in message
    assert "S3CRET" not in message
    assert not any("S3CRET" in line for line in comfy.log().splitlines() if "wfrecovery" in line)


@all_hosts
def test_secrets_of_any_name_and_shape_appear_nowhere(host: Any, shared: Shared) -> None:
    """Nested, in lists, as headers, in the row's cells; the cell's pictures, by which rows are told apart, stay."""
    comfy = shared(host)
    cells = {
        "产品图": {"type": "embed-image", "fileToken": "boxcnPICTURE"},
        "hf_token": "H1DDEN-in-a-row",
        "max_tokens": 77,
    }
    extra = {
        "cookie": "sid=H1DDEN-cookie",
        "service": {"calls": [{"headers": [{"name": "Authorization", "value": "Bearer H1DDEN-header"}], "retries": 3}]},
        "client": [{"refreshToken": "H1DDEN-refresh", "pairs": [["x-api-key", "H1DDEN-pair"]]}],
        "extra_pnginfo": {"workflow": {"nodes": [], "extra": {"jwt": "H1DDEN-jwt", "cookies_enabled": True}}},
    }
    tag = row(2, feishu_row_data=cells)
    prompt = comfy.queue(picture("named"), tag, extra_data=extra)
    comfy.finished(prompt)
    assert not [file for file, text in comfy.texts().items() if b"H1DDEN" in text]
    graph = json.loads(comfy.graph_file(prompt).read_text("utf-8"))
    assert graph["extra_data"]["service"]["calls"][0]["retries"] == 3
    assert graph["extra_data"]["extra_pnginfo"]["workflow"]["extra"] == {"cookies_enabled": True}
    assert graph["prompt"] == picture("named")
    data = comfy.record(prompt)["metadata"]["feishu_row_data"]
    assert (data["产品图"]["fileToken"], data["max_tokens"]) == ("boxcnPICTURE", 77)
    for quoted in ("H1DDEN-refresh", "H1DDEN-pair", "H1DDEN-cookie"):
        bad = comfy.queue(failing("named", f"refused {quoted}"), tag, extra_data=extra)
        assert "H1DDEN" not in comfy.until_stage(bad, "failed")["error_message"]


@all_hosts
def test_a_key_in_a_widget_stays_in_the_graph_and_out_of_messages(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    graph = failing("widget", "401: W1DGET-key-99 is no key")
    graph["2"]["inputs"]["api_key"] = "W1DGET-key-99"
    prompt = comfy.queue(graph, row(2))
    message = comfy.until_stage(prompt, "failed")["error_message"]
    assert "401" in message
    assert "W1DGET" not in message
    assert json.loads(comfy.graph_file(prompt).read_text("utf-8"))["prompt"] == graph


@all_hosts
def test_a_node_s_error_is_the_task_s(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    record = comfy.until_stage(comfy.queue(failing("fail", "灯坏了"), row(2)), "failed")
    assert record["status"] == "失败"
    assert "灯坏了" in record["error_message"]
    assert "WfrFail" in record["error_message"]
    assert record["output_files"] == []


@stand_ins
def test_a_sent_task_id_is_kept_where_it_is_free(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    wanted = f"img_20200101_{host}01"
    first = comfy.queue(picture("own"), row(2, task_id=wanted))
    assert comfy.finished(first)["task_id"] == wanted
    second = comfy.queue(picture("own"), row(3, task_id=wanted))
    assert comfy.finished(second)["task_id"] != wanted
    assert comfy.record(first)["row_number"] == 2
    odd = comfy.queue(picture("own"), row(4, task_id="../../x"))
    assert comfy.finished(odd)["task_id"].startswith("img_2")


@stand_ins
def test_a_prompt_id_is_made_canonical_and_a_good_one_kept(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    wanted = str(uuid.uuid4())
    assert comfy.queue(picture("id"), row(2), prompt_id=wanted) == wanted
    assert comfy.queue(picture("id"), row(2), prompt_id=str(uuid.uuid4()).upper()).islower()
    odd = comfy.queue(picture("id"), row(2), prompt_id="my prompt")
    assert str(uuid.UUID(odd)) == odd
    comfy.finished(odd)


@stand_ins
def test_the_same_body_sent_twice_is_two_tasks(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    prompts = [comfy.queue(picture("twice", color=host), row(2)) for _ in range(2)]
    tasks = [comfy.until_stage(prompt, "finished", "failed") for prompt in prompts]
    assert len({task["task_id"] for task in tasks}) == 2


# ------------------------------------------------------------------ trouble of our own


@stand_ins
def test_damaged_files_cost_only_their_own_tasks(host: Any, start: Start) -> None:
    comfy = start(host)
    blocker = comfy.queue(picture("blocker", gate="blocker"), row(2))
    prompts = [comfy.queue(picture(f"row{n}"), row(n)) for n in (3, 4, 5)]
    comfy.until_stage(blocker, "running")
    comfy.kill()
    comfy.open_gate("blocker")
    half, garbage = (comfy.record(prompt)["task_id"] for prompt in prompts[:2])
    file = comfy.table / "active" / f"{half}.json"
    file.write_bytes(file.read_bytes()[:40])
    (comfy.table / "active" / f"{garbage}.json").write_bytes(b"\0" * 300)
    (comfy.table / "graphs" / f"{garbage}.json").write_bytes(b"{")
    comfy.start()
    comfy.recovered()
    assert comfy.status()["corrupt"] >= 2
    assert list((comfy.table / "corrupt").iterdir())
    comfy.finished(blocker)
    comfy.finished(prompts[2])
    # rebuilt from its graph
    comfy.finished(prompts[0])
    comfy.finished(comfy.queue(picture("later"), row(6)))


@stand_ins
def test_without_a_table_comfyui_works_and_the_trouble_is_told(host: Any, start: Start, tmp_path: Path) -> None:
    output = tmp_path / "comfyui" / "output"
    output.mkdir(parents=True)
    (output / "wfrecovery").write_text("a file where the folder should be")
    comfy = start(host)
    prompt = comfy.queue(picture("works"), row(2))
    until(lambda: prompt in comfy.get("/history"))
    assert len(comfy.pictures("works_*.png")) == 1
    assert "[wfrecovery]" in comfy.log()
    answer = comfy.call("GET", "/wfrecovery/status")
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) in {
        (200, "application/json"),
        (503, "application/json"),
    }
    assert answer.json().get("last_error") or answer.json()["error"]["type"] == "disk"
    assert (output / "wfrecovery").read_text() == "a file where the folder should be"


_WRAPPING = """
from server import PromptServer

queue = PromptServer.instance.prompt_queue
put, get = queue.put, queue.get
queue.put = lambda item, *args, **kwargs: put(item, *args, **kwargs)
queue.get = lambda *args, **kwargs: get(*args, **kwargs)
NODE_CLASS_MAPPINGS = {}
"""
_HIDING = """
from server import PromptServer

queue = PromptServer.instance.prompt_queue
queue.get_current_queue = lambda: ([], [])
queue.get_current_queue_volatile = lambda: ([], [])
NODE_CLASS_MAPPINGS = {}
"""


def _other_plugin(folder: Path, name: str, source: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    return folder / name


@stand_ins
@pytest.mark.parametrize("name", ["a_queue_plugin", "zz_queue_plugin"])
def test_another_plugin_around_the_queue(host: Any, name: str, start: Start, tmp_path: Path) -> None:
    comfy = start(host, plugins=[_other_plugin(tmp_path, name, _WRAPPING)])
    prompts = [comfy.queue(picture(f"row{n}"), row(n)) for n in (2, 3, 4)]
    for prompt in prompts:
        assert comfy.finished(prompt)["metadata"]["attempts"] == 1
    assert len(comfy.pictures()) == 3


@stand_ins
@pytest.mark.parametrize("name", ["a_queue_plugin", "zz_queue_plugin"])
def test_where_another_plugin_hides_the_queue_recovery_asks(host: Any, name: str, start: Start, tmp_path: Path) -> None:
    comfy = start(host, plugins=[_other_plugin(tmp_path, name, _HIDING)])
    blocker = comfy.queue(picture("blocker", seconds=600), row(2))
    waiting = comfy.queue(picture("waiting"), row(3))
    comfy.until_stage(blocker, "running")
    state = comfy.crash()
    assert (state["asking"], state["requeued"]) == (2, 0)
    assert {comfy.stage(blocker), comfy.stage(waiting)} == {"asking"}
    assert comfy.act(comfy.record(waiting)["task_id"], "retry").status_code == 202
    comfy.finished(waiting)


def test_recovery_by_hand_in_a_running_queue_changes_nothing(start: Start) -> None:
    comfy = start()
    running = comfy.queue(picture("running", gate="running"), row(2))
    waiting = comfy.queue(picture("waiting"))
    comfy.until_stage(running, "running")
    for _ in range(2):
        answer = comfy.call("POST", "/wfrecovery/recover", json={})
        assert answer.status_code == 202
        assert set(answer.json()) == {"started", "recovery"}
        state = comfy.recovered()
        assert (state["total"], state["waiting"]) == (2, 2)
    comfy.open_gate("running")
    comfy.finished(running)
    comfy.finished(waiting)
    assert len(comfy.pictures()) == 2


def test_recovered_twice_in_a_row_is_rendered_once(start: Start) -> None:
    comfy = start()
    prompts = [comfy.queue(picture(f"row{n}", gate="row", color=n), row(n)) for n in (2, 3, 4)]
    comfy.until_stage(prompts[0], "running")
    comfy.restart()
    comfy.restart()  # without waiting for the first one's recovery
    comfy.recovered()
    comfy.open_gate("row")
    for prompt in prompts:
        comfy.finished(prompt)
    assert Counter(file.name[:4] for file in comfy.pictures()) == {"row2": 1, "row3": 1, "row4": 1}


# ------------------------------------------------------------------ routes


@all_hosts
def test_the_status_has_its_shape_and_each_route_is_under_api_too(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    task_id = comfy.finished(comfy.queue(picture("routes"), row(2)))["task_id"]
    status = comfy.status()
    assert {"version", "boot_id", "tasks", "corrupt", "recovery", "feishu"} <= set(status)
    assert set(status["tasks"]) == {"在处理中", "已完成", "失败"}
    assert set(status["recovery"]) == {
        *("state", "total", "done", "recovered", "requeued", "waiting", "failed", "asking"),
        *("started_at", "finished_at"),
    }
    assert set(status["feishu"]) == {"configured", "document", "pending", "pushed", "blocked", "last_error"}
    assert (status["feishu"]["configured"], status["feishu"]["document"]) == (False, None)
    assert (status["standstill"], status["tells_group"]) == (None, False)
    assert status["tasks"]["已完成"] >= 1
    for path in ("/wfrecovery/status", "/wfrecovery/tasks", f"/wfrecovery/tasks/{task_id}"):
        until(lambda path=path: _answer(comfy, path) == _answer(comfy, f"/api{path}"), what=f"the same of {path}")
    assert comfy.call("POST", "/api/wfrecovery/recover", json={}).status_code == 202
    assert comfy.call("POST", f"/api/wfrecovery/tasks/{task_id}/push", json={}).status_code == 202


def _answer(comfy: Comfy, path: str) -> Any:
    """What is told there now: a look at the records may be under way, which the status counts, or be over."""
    answer = comfy.call("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@stand_ins
def test_tasks_are_filtered_paged_and_searched(host: Any, start: Start) -> None:
    comfy = start(host)
    prompts = [comfy.queue(picture("page"), row(n, product_name=f"杯子{n}")) for n in range(2, 7)]
    video = comfy.queue(picture("page"), row(7, workflow_type="图生视频", model_name="Mia"))
    bad = comfy.queue(failing("page", "x"), row(8))
    comfy.until_stage(bad, "failed")
    until(lambda: comfy.stage(prompts[-1]) == comfy.stage(video) == "finished")
    everything = [task["task_id"] for task in comfy.tasks()]
    assert len(everything) == 7
    paged, cursor = [], None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        answer = comfy.call("GET", "/wfrecovery/tasks", params=query).json()
        paged += [task["task_id"] for task in answer["tasks"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        assert len(answer["tasks"]) == 2
    assert paged == everything

    def rows(**query: str) -> list[int]:
        return sorted(task["row_number"] for task in comfy.tasks(**query))

    assert rows(status="失败") == [8]
    assert rows(workflow_type="图生视频") == [7]
    assert rows(workflow_type="图生视频", status="失败") == []
    assert rows(q="杯子4") == [4]
    assert rows(q="mia") == [7]
    assert rows(q="nobody") == []
    assert rows(comfyui_task_id=video) == [7]
    assert rows(comfyui_task_id=str(uuid.uuid4())) == []


@stand_ins
@pytest.mark.parametrize(
    "query",
    [
        *("status=x", "workflow_type=x", "limit=0", "limit=-1", "limit=x", "limit=201", "limit=%C2%B2"),
        *("cursor=x", "cursor=..%2F..%2Fx", "unknown=1"),
    ],
)
def test_bad_queries_are_4xx(host: Any, shared: Shared, query: str) -> None:
    _refused(shared(host).call("GET", f"/wfrecovery/tasks?{query}"), 400)


@stand_ins
def test_unknown_tasks_and_paths_that_lead_out(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    secret = comfy.output / "outside.json"
    secret.write_text('{"schema": 1}')
    for name in (
        "img_20200101_001",
        "nope",
        "..%2F..%2Foutside",
        "%2e%2e%2foutside",
        "..%5Coutside",
        "x%00y",
        "a" * 300,
    ):
        _refused(comfy.call("GET", f"/wfrecovery/tasks/{name}"), 404)
        for action in ("retry", "push", "cancel"):
            _refused(comfy.act(name, action), 404)
    task_id = comfy.finished(comfy.queue(picture("paths"), row(2)))["task_id"]
    _refused(comfy.act(task_id, "explode"), 404)
    _refused(comfy.act(task_id, "retry"), 409)
    _refused(comfy.act(task_id, "cancel"), 409)
    failed = comfy.until_stage(comfy.queue(failing("paths", "x")), "failed")["task_id"]
    _refused(comfy.act(failed, "push"), 409)
    assert secret.exists()


@stand_ins
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
def test_what_a_foreign_page_could_send_is_refused(host: Any, shared: Shared, kind: str) -> None:
    comfy = shared(host)
    headers = {"Content-Type": kind}
    _refused(comfy.call("POST", "/wfrecovery/recover", headers=headers, data="a=1"), 415)
    task_id = comfy.tasks()[0]["task_id"] if comfy.tasks() else "img_20200101_001"
    _refused(comfy.call("POST", f"/wfrecovery/tasks/{task_id}/retry", headers=headers, data="a=1"), 415)
    answer = comfy.call("POST", "/wfrecovery/recover", json={})
    assert answer.status_code == 202


def _refused(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["type"]
    assert error["message"]
