"""Tags that every run of a video carries, so that the UI and the run queue can tell runs apart."""

TENANT = "captionacc/tenant"
VIDEO = "captionacc/video"
TRIGGER = "captionacc/trigger"


def run_tags(tenant_id: str, video_id: str, trigger: str) -> dict[str, str]:
    """Tags of one run; ``trigger`` is the sensor or command that asked for it."""
    return {TENANT: tenant_id, VIDEO: video_id, TRIGGER: trigger}
