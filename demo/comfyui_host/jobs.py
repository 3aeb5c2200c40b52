"""``/api/jobs``: queue and history as one list (0.5.1 on; newer pages read nothing else)."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from aiohttp import web

Job = dict[str, Any]
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_ENDINGS = ("execution_success", "execution_error", "execution_interrupted")
_MEDIA = {".mp4": "video", ".webm": "video", ".mov": "video", ".mp3": "audio", ".wav": "audio", ".flac": "audio"}


def add_routes(routes: web.RouteTableDef, queue: Any) -> None:
    """Register them. The paths begin with /api themselves: /jobs does not exist."""

    async def listing(request: web.Request) -> web.Response:
        query = request.rel_url.query
        wanted = [one.strip().lower() for one in query.get("status", "").split(",") if one.strip()]
        unknown = [one for one in wanted if one not in STATUSES]
        if unknown:
            text = f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}"
            return web.json_response({"error": text}, status=400)
        try:
            limit = int(query["limit"]) if "limit" in query else None
            offset = max(int(query.get("offset", 0)), 0)
        except ValueError:
            return web.json_response({"error": "limit and offset must be integers"}, status=400)
        jobs = [job for job in _all_jobs(queue) if not wanted or job["status"] in wanted]
        if "workflow_id" in query:
            jobs = [job for job in jobs if job.get("workflow_id") == query["workflow_id"]]
        _sort(jobs, query.get("sort_by", "created_at"), query.get("sort_order", "desc") == "desc")
        page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
        more = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": offset + len(page) < len(jobs)}
        return web.json_response({"jobs": page, "pagination": more})

    async def one(request: web.Request) -> web.Response:
        prompt_id = request.match_info["job_id"]
        found = _one_job(queue, prompt_id)
        if found is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(found)

    async def cancel(request: web.Request) -> web.Response:
        return web.json_response({"cancelled": _cancel(queue, request.match_info["job_id"])})

    async def cancel_many(request: web.Request) -> web.Response:
        body = await request.json()
        cancelled = [_cancel(queue, job_id) for job_id in body.get("job_ids", [])]
        return web.json_response({"cancelled": any(cancelled)})

    routes.get("/api/jobs")(listing)
    routes.post("/api/jobs/cancel")(cancel_many)
    routes.get("/api/jobs/{job_id}")(one)
    routes.post("/api/jobs/{job_id}/cancel")(cancel)


def _all_jobs(queue: Any) -> list[Job]:
    running, pending = queue.get_current_queue_volatile()
    jobs = [_queued(item, "in_progress") for item in running] + [_queued(item, "pending") for item in pending]
    return jobs + [_finished(prompt_id, entry) for prompt_id, entry in queue.get_history().items()]


def _queued(item: tuple[Any, ...], status: str) -> Job:
    # As strict as ComfyUI's: an item of another length, or an extra_pnginfo of None, is a 500 for everybody.
    priority, prompt_id, _prompt, extra_data, _outputs = item[:5]
    return _without_none(
        {
            "id": prompt_id,
            "status": status,
            "priority": priority,
            "create_time": extra_data.get("create_time"),
            "workflow_id": _workflow_id(extra_data),
        },
        outputs_count=0,
        previewable_outputs_count=0,
    )


def _workflow_id(extra_data: dict[str, Any]) -> Any:
    return extra_data.get("extra_pnginfo", {}).get("workflow", {}).get("id")


def _without_none(job: Job, **further: Any) -> Job:
    return {key: value for key, value in {**job, **further}.items() if value is not None}


def _finished(prompt_id: str, entry: dict[str, Any]) -> Job:
    priority, _, _prompt, extra_data, _outputs = entry["prompt"][:5]
    messages = dict(entry["status"]["messages"]) if entry.get("status") else {}
    files = [
        {**file, "nodeId": node_id, "mediaType": _media_type(key, file)}
        for node_id, shown in entry["outputs"].items()
        for key, listed in shown.items()
        for file in listed
        if isinstance(file, dict)
    ]
    end: dict[str, Any] = next((messages[event] for event in _ENDINGS if event in messages), {})
    # Saved files before temporary ones.
    preview = next((file for file in files if file.get("type") == "output"), files[0] if files else None)
    return _without_none(
        {
            "id": prompt_id,
            "status": _status(entry, messages),
            "priority": priority,
            "create_time": extra_data.get("create_time"),
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": end.get("timestamp"),
            "execution_error": messages.get("execution_error"),
            "outputs_count": len(files),
            "previewable_outputs_count": len(files),
            "preview_output": preview,
            "workflow_id": _workflow_id(extra_data),
        }
    )


def _media_type(key: str, file: dict[str, Any]) -> str:
    return _MEDIA.get(PurePath(file.get("filename", "")).suffix.lower(), key)


def _status(entry: dict[str, Any], messages: dict[str, Any]) -> str:
    if (entry.get("status") or {}).get("status_str") == "success":
        return "completed"
    return "cancelled" if "execution_interrupted" in messages else "failed"


def _sort(jobs: list[Job], sort_by: str, descending: bool) -> None:
    def key(job: Job) -> float:
        if sort_by == "execution_duration":
            return float(job.get("execution_end_time", 0) - job.get("execution_start_time", 0))
        return float(job.get("create_time", 0))

    jobs.sort(key=key, reverse=descending)


def _one_job(queue: Any, prompt_id: str) -> Job | None:
    running, pending = queue.get_current_queue_volatile()
    for items, status in ((running, "in_progress"), (pending, "pending")):
        for item in items:
            if item[1] == prompt_id:
                return _queued(item, status)
    entry = queue.get_history(prompt_id=prompt_id).get(prompt_id)
    if entry is None:
        return None
    workflow = {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
    further = {"outputs": entry["outputs"], "execution_status": entry["status"], "workflow": workflow}
    return {**_finished(prompt_id, entry), **further}


def _cancel(queue: Any, prompt_id: str) -> bool:
    """0.25.0 on: drop it from the queue, or interrupt it; what is in neither is not looked for."""
    if all(item[1] != prompt_id for items in queue.get_current_queue_volatile() for item in items):
        return False
    if queue.interrupt_if_running(prompt_id):
        return True
    return bool(queue.delete_queue_item(lambda item: item[1] == prompt_id))
