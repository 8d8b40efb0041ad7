"""``/captionacc/pictures/…``: the pictures that events link, from the bucket, at Dagster's web server.

Only pictures: a name that :meth:`VideoKeys.picture` does not know is not found. A picture's name has the hash
of its content, so a browser keeps it.
"""

import logging
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from captionacc_dagster.assets.pictures.links import PICTURES_PATH
from captionacc_dagster.resources.opening import open_object_store
from modal_gpu.errors import CaptionAccError, InvalidIdError, InvalidKeyError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


def picture_routes() -> list[Route]:
    """Return the routes of Dagster's web server that this project adds."""
    return [Route(f"{PICTURES_PATH}/{{tenant_id}}/{{video_id}}/{{name}}", picture, methods=["GET"])]


def picture(request: Request) -> Response:
    """Answer with a picture, 404 if there is none, or 503 while the bucket does not answer."""
    parts = request.path_params
    try:
        name = parts["name"]
        data = _object_store().get(VideoKeys(parts["tenant_id"], parts["video_id"]).picture(name))
    except (InvalidIdError, InvalidKeyError, ObjectNotFoundError):
        return PlainTextResponse("There is no such picture.", 404)
    except CaptionAccError as error:
        _log.warning("a picture cannot be read: %s", error)
        return PlainTextResponse("The bucket does not answer.", 503, {"Retry-After": "10"})
    return Response(data, 200, _HEADERS, "image/png" if name.endswith(".png") else "image/jpeg")


@lru_cache(maxsize=1)
def _object_store() -> ObjectStore:
    return open_object_store()
