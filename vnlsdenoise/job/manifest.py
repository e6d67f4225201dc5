"""What a job is: of what, into what, and everything that decides its bytes."""

import json
import os
from typing import Any

from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.report import versions

_NAMES = {"input": "the input was changed", "decides": "the settings are others", "versions": "it is another version"}


def manifest_of(plan: Plan, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a plan, as plain values for JSON."""
    request = plan.request.to_json()
    return {
        "versions": versions(plan.settings is not None),
        "input": identity,
        "decides": json.loads(json.dumps(_decides(plan), default=str)),
        "request": request,
        "cores": len(os.sched_getaffinity(0)),
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Why pieces of the job `found` are no pieces of the job `wanted`, in words; empty where they are."""
    told = []
    for part, words in _NAMES.items():
        before, now = found.get(part), wanted[part]
        if before != now:
            changed = sorted(key for key in now if not isinstance(before, dict) or before.get(key) != now[key])
            told.append(f"{words} ({', '.join(changed)})")
    return told


def _decides(plan: Plan) -> dict[str, Any]:
    request, encoder = plan.request, plan.encoder
    settings = dict(vars(plan.settings)) if plan.settings is not None else None
    if settings is not None:
        settings.pop("max_memory")
        settings["device"] = settings["device"].partition(":")[0]
    return {
        "input": str(request.input.absolute()),
        "output": str(request.output.absolute()) if request.output is not None else None,
        **({f"--{key}": value for key, value in settings.items()} if settings is not None else {}),
        "denoise": settings is not None,
        "--encoder": encoder and [encoder.container, encoder.encoder, encoder.layout.name, encoder.options],
        "--piece": request.piece,
        "--streams": request.streams,
        "--interlaced": request.interlaced,
        "--on-damage": request.on_damage,
        "--video-stream": plan.info.index,
        "--gaps": request.gaps,
        "--start, --end or --frames": plan.info.cut and vars(plan.info.cut),
        "--roi": request.roi and vars(request.roi),
    }
