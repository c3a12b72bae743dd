"""Prints which key boto3 holds, and again once it is another one.

Nothing is done about it here: to renew credentials is up to boto3.
"""

import hashlib
import json
import time

import boto3

credentials = boto3.Session().get_credentials()
last = None
deadline = time.monotonic() + 50
while time.monotonic() < deadline:
    keys = credentials.get_frozen_credentials()
    key = hashlib.sha256(keys.access_key.encode()).hexdigest()
    if key != last:
        print(json.dumps({
            "method": credentials.method,
            "keySHA256": key,
            "hasSecret": bool(keys.secret_key),
            "hasToken": bool(keys.token),
            "expires": credentials._expiry_time.isoformat(),
        }), flush=True)
        if last:
            break
    last = key
    time.sleep(0.5)
