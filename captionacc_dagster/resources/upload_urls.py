"""Presigned URLs for uploads, which bind what was registered: the object's key, size and type.

The object store's own signatures cover the host alone. These also cover the headers ``Content-Length`` and
``Content-Type`` (Signature Version 4 with query parameters), so that a server refuses any other file.
"""

from urllib.parse import urlsplit

from modal_gpu.errors import StorageAccessError
from modal_gpu.storage import ObjectStore

_REGION = "us-east-1"  # the object store's default too


def upload_url(store: ObjectStore, key: str, seconds: int, *, size: int, content_type: str) -> str | None:
    """Return a URL to which ``size`` bytes of this type may be ``PUT`` for ``seconds``; ``None``: a folder.

    The request must have the header ``Content-Type`` with this value. Raises ``StorageAccessError`` without
    credentials.
    """
    own = store.presigned_put(key, seconds)
    if own is None:
        return None
    # Loaded for buckets only.
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from botocore.session import Session

    settings = store.settings
    if settings.access_key_id and settings.secret_access_key:
        credentials = Credentials(settings.access_key_id, settings.secret_access_key)
    else:
        credentials = Session().get_credentials()
    if credentials is None:
        raise StorageAccessError(f"cannot sign an upload to {store.name}: there are no credentials")
    # The store knows the bucket's address.
    address = urlsplit(own)._replace(query="").geturl()
    headers = {"Content-Length": str(size), "Content-Type": content_type}
    request = AWSRequest("PUT", address, headers=headers)
    S3SigV4QueryAuth(credentials, "s3", settings.region or _REGION, expires=seconds).add_auth(request)
    url: str = request.url
    return url
