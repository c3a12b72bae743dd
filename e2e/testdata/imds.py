"""Prints what boto3 finds when it is given nothing but an instance."""

import hashlib
import json

import boto3
from botocore.utils import IMDSRegionProvider

session = boto3.Session()
credentials = session.get_credentials()
keys = credentials.get_frozen_credentials()
print(json.dumps({
    "method": credentials.method,
    "keySHA256": hashlib.sha256(keys.access_key.encode()).hexdigest(),
    "hasSecret": bool(keys.secret_key),
    "hasToken": bool(keys.token),
    "expires": credentials._expiry_time.isoformat(),
    "region": IMDSRegionProvider(session._session).provide(),
}))
